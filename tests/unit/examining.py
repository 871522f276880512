"""The examiner run here, without a container, on a program: what it says, event by event."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from forklab.grade.submission import Submission

ROOT = Path(__file__).parents[2]


class Examiner:
    """One examiner that runs."""

    def __init__(self, process: "subprocess.Popen[bytes]", folder: Path) -> None:
        assert process.stdin
        assert process.stdout
        self.process, self.folder = process, folder
        self.stdin, self.stdout = process.stdin, process.stdout

    def events(self) -> Iterator[dict[str, Any]]:
        """Each line, as JSON, to the last one."""
        for line in self.stdout:
            event = json.loads(line)
            yield event
            if event["event"] in ("done", "broken"):
                return


@contextmanager
def examiner(path: Path, *words: str) -> Iterator[Examiner]:
    """Hand a file or a folder to an examiner, which runs while the block does."""
    submission = Submission.at(path)
    packed = submission.packed()
    main = ["--main", submission.main] if submission.main else []
    # Not tmp_path: its parents are closed to the users that subjects run as where we are root.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        command = [sys.executable, "-m", "examiner", "--folder", name, *main, *words]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, env=os.environ) as process:
            try:
                run = Examiner(process, folder)
                run.stdin.write(b"%d\n" % len(packed) + packed)
                run.stdin.flush()
                yield run
            finally:
                run.stdin.close()
                process.wait(60)


def examine(path: Path, *words: str) -> dict[str, Any]:
    """What an examiner finds in a file or a folder: its last event, with the ``checks`` and ``verdicts`` by check."""
    with examiner(path, *words) as run:
        *events, last = run.events()
    assert last["event"] == "done", last
    checks = [event for event in events if event["event"] == "result"]
    return {**last, "checks": checks, "verdicts": {each["id"]: each["verdict"] for each in checks}}
