"""What a check says of itself, and what came of one."""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from examiner._exam import TOLD, Exam, Outcome
from protocol import verdicts

CORE, HIGH, BREADTH, ADVISORY, CLIENT = "core", "high", "breadth", "advisory", "client"

FOLDER = Path(__file__).parent / "checks"


@dataclass(frozen=True)
class Check:
    """One requirement and how it is examined. All but ``run`` are literals in its file: the host reads them there.

    Attributes:
        requirement: what a server must do, as one sentence.
        reference: where that is said: man page, RFC, section of a book.
        expected: what is to be seen in this examination.
        cause: what in the code most likely brings a FAIL about.
        mend: how to mend it; the call, in C and in Python.
        run: examines; returns what the subject did, the words of PASS, or raises an ``Outcome``.
        group: ``core``, ``high``, ``breadth``; ``advisory``, which never lowers a score; ``client``: of clients only.
        models: those it applies to; empty: all.
        services: those it applies to; empty: all.
        where: a regular expression for the lines in the source to look at after a FAIL.
        follows: checks whose FAIL explains one of this, too.
    """

    requirement: str
    reference: str
    expected: str
    cause: str
    mend: str
    run: Callable[[Exam], str]
    group: str = CORE
    models: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    where: str = ""
    follows: tuple[str, ...] = ()


@dataclass
class Result:
    """What a check found, with the keys of ``grade --json``.

    ``cause`` and ``mend`` only where something is wrong, ``moments`` (``_moments.py``) also where it is not known.
    """

    id: str
    verdict: str
    requirement: str
    expected: str
    actual: str
    evidence: list[str] = field(default_factory=list)
    cause: str = ""
    mend: str = ""
    seconds: float = 0.0
    moments: list[dict[str, Any]] = field(default_factory=list)


def load(check: str) -> Check:
    """A check by its id."""
    found: Any = import_module(f"examiner.checks.{check.replace('-', '_')}")
    made: Check = found.CHECK
    return made


def ids() -> list[str]:
    """The ids of all checks, sorted."""
    return sorted(file.stem.replace("_", "-") for file in FOLDER.glob("*.py") if not file.stem.startswith("_"))


def examine(check_id: str, check: Check, exam: Exam) -> Result:
    """Run one check, if it applies, to its result.

    Raises:
        _jail.StillThere: processes of the subject are left.
    """
    verdict, said = _verdict(check, exam)
    result = Result(check_id, verdict, check.requirement, check.expected, str(said), exam.evidence)
    if verdict in (verdicts.FAIL, verdicts.WARN):
        result.cause = getattr(said, "cause", "") or check.cause
        result.mend = getattr(said, "mend", "") or check.mend
    if verdict in TOLD:
        result.moments = exam.moments.told()
    return result


def _verdict(check: Check, exam: Exam) -> tuple[str, Outcome | str]:
    if (check.group == CLIENT) != (exam.service == CLIENT):
        return verdicts.SKIP, "it examines clients" if check.group == CLIENT else "it examines servers"
    if check.services and exam.service not in check.services:
        return verdicts.SKIP, f"it applies to the service {' or '.join(check.services)}, not to {exam.service}"
    if check.models and exam.model == "unknown":
        return verdicts.INCONCLUSIVE, "how the server serves could not be told, so whether this applies is not known"
    if check.models and exam.model not in check.models:
        return verdicts.SKIP, f"it applies to the model {' or '.join(check.models)}; this server is {exam.model}"
    return exam.examine(check.run)
