"""``python3 -m tests.good [TIMES] [NAME…]``: good servers against all checks, beside what the table says."""

import collections
import sys
import tempfile
from pathlib import Path
from unittest import mock

from forklab.grade import container
from protocol import verdicts
from tests import grading
from tests.good import image
from tests.good.table import TABLE, demanded, submit, wrong

FINDINGS = (verdicts.FAIL, verdicts.WARN, verdicts.INCONCLUSIVE, verdicts.ERROR)


def main(times: int, names: list[str]) -> int:
    """Grade each so many times; 1 when one was told something else."""
    lab, others = grading.lab(), 0
    lab.build([container.IMAGE])
    image.build(lab.client)
    with mock.patch.object(container, "IMAGE", image.IMAGE), mock.patch.object(lab, "build"):
        for name in names or TABLE:
            said: collections.Counter[str] = collections.Counter()
            for _ in range(times):
                with tempfile.TemporaryDirectory() as folder:
                    submit(name, Path(folder))
                    outcome = grading.examine(lab, Path(folder), run=TABLE[name].run, model=demanded(name)).outcome
                others += bool(wrong(name, outcome))
                found = [f"{each['id']} {each['verdict']}" for each in outcome.having(*FINDINGS)]
                said[f"{outcome.model}: {', '.join(found) or 'nothing'}"] += 1
                for word in wrong(name, outcome):
                    (told,) = [each["actual"] for each in outcome.results if each["id"] == word.split()[0]] or [""]
                    print(f"{name}: not as in the table: {word}: {told}", flush=True)
            for words, count in said.items():
                print(f"{name}: {count} of {times}: {words}", flush=True)
    return min(others, 1)


if __name__ == "__main__":
    times, *names = sys.argv[1:] or ["1"]
    sys.exit(main(int(times), names))
