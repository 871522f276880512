"""Grades where Gradescope runs an autograder: in its container, without an engine, by an order that was written before.

``python3 -m forklab.grade.autograder``: the submission is in ``/autograder/submission``, the order beside these
packages, and ``/autograder/results/results.json`` is written (Gradescope's "Autograder Specifications"). There are
neither the capabilities nor the closed network of our own container; what the examiner cannot see then is
INCONCLUSIVE. Standard library only.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from forklab.errors import LabError, UsageError
from forklab.grade import gradescope
from forklab.grade.rubric import Rubric
from forklab.grade.submission import Submission
from forklab.grade.wish import Wish, gather
from forklab.registry import ROOT

ORDER = "order.json"
_PLACE = Path("/autograder")
_PRIVATE = Path("/run/examiner")
_MOST_LANES = 4


def order(wish: Wish, rubric: Rubric) -> dict[str, Any]:
    """What is written into ORDER: how to grade, and what each check is worth."""
    return {"wish": vars(wish), "rubric": vars(rubric)}


def main() -> int:
    """Grade, and write the results; 0 also where there is nothing to grade, for the results say so."""
    said = json.loads((ROOT / ORDER).read_text(encoding="utf-8"))
    wish = Wish(**{**said["wish"], "checks": tuple(said["wish"]["checks"])})
    rubric = Rubric(**{**said["rubric"], "required": tuple(said["rubric"]["required"])})
    try:
        results = gradescope.document(_grade(Submission.at(_PLACE / "submission"), wish, rubric))
    except UsageError as error:
        results = gradescope.refusal(str(error))
    except LabError as error:
        # No results make Gradescope tell the teacher that the autograder failed: so it is, it was not the student.
        print(error, file=sys.stderr)
        return error.exit_code
    file = _PLACE / "results" / "results.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(results, indent=2), encoding="utf-8")
    return 0


def _grade(submission: Submission, wish: Wish, rubric: Rubric) -> Any:
    packed = submission.packed()
    _PRIVATE.mkdir(mode=0o700, parents=True, exist_ok=True)
    lanes = min(_MOST_LANES, len(os.sched_getaffinity(0)))
    with subprocess.Popen(
        [sys.executable, "-m", "examiner", *wish.order(submission, lanes)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(_PRIVATE)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as examiner:
        assert examiner.stdin
        examiner.stdin.write(b"%d\n" % len(packed) + packed)
        examiner.stdin.flush()
        return gather(_events(examiner), submission, wish, rubric, lambda event: None)


def _events(examiner: "subprocess.Popen[bytes]") -> Iterator[dict[str, Any]]:
    """What the examiner says, until it is done.

    Raises:
        LabError: it broke.
    """
    assert examiner.stdout
    event: dict[str, Any] = {}
    for line in examiner.stdout:
        event = json.loads(line)
        yield event
        if event["event"] == "done":
            return
    raise LabError(f"the examiner broke: {event.get('words', 'it said nothing')}")


if __name__ == "__main__":
    sys.exit(main())
