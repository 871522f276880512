"""A grading as JUnit's XML, which every continuous integration reads: a test case for each check."""

import re
from typing import Any
from xml.etree import ElementTree

from forklab.grade.outcome import Outcome
from protocol import verdicts

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, not even escaped (2.2)."""

_KINDS = {verdicts.FAIL: "failure", verdicts.ERROR: "error", verdicts.SKIP: "skipped", verdicts.INCONCLUSIVE: "skipped"}
"""Verdicts that are no plain success. JUnit has no word for what nobody knows: such a case is skipped, and says why."""


def document(outcome: Outcome) -> str:
    """The whole file."""
    results = outcome.results
    counts = {kind: sum(_KINDS.get(each["verdict"]) == kind for each in results) for kind in set(_KINDS.values())}
    suite = ElementTree.Element(
        "testsuite",
        name=_fit(outcome.subject),
        tests=str(len(results)),
        failures=str(counts["failure"]),
        errors=str(counts["error"]),
        skipped=str(counts["skipped"]),
        time=f"{sum(each['seconds'] for each in results):.3f}",
    )
    for result in outcome.in_order():
        suite.append(_case(outcome, result))
    whole = ElementTree.Element("testsuites")
    whole.append(suite)
    ElementTree.indent(whole)
    return ElementTree.tostring(whole, encoding="unicode", xml_declaration=True) + "\n"


def _case(outcome: Outcome, result: dict[str, Any]) -> ElementTree.Element:
    group = outcome.group(result) or "build"
    case = ElementTree.Element("testcase", classname=group, name=result["id"], time=f"{result['seconds']:.3f}")
    words = _fit("\n".join(f"{name:<9} {line}" for name, line in outcome.told(result)))
    kind = _KINDS.get(result["verdict"], "system-out")
    about = {} if kind == "system-out" else {"message": _fit(f"{result['verdict']}: {result['actual']}")}
    ElementTree.SubElement(case, kind, about).text = words
    return case


def _fit(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)
