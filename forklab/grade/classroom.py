"""A class: every submission in a folder is graded, several at a time. What was graded before is not graded again.

In the folder for the results, ``students/NAME.json`` keeps what came of a submission and a digest of all that it
depends on: after an interruption, or when one student has handed in again, only what is missing is graded.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forklab import images
from forklab.errors import UsageError
from forklab.grade import catalogue, container, crew
from forklab.grade.crew import Job
from forklab.grade.outcome import TITLES, Outcome
from forklab.grade.rubric import Rubric
from forklab.grade.submission import LEFT_OUT, Submission
from forklab.grade.wish import Wish
from forklab.lab import Lab
from protocol import exits, verdicts

STUDENTS = "students"
_LONGEST_STEM = 60
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""What Windows takes for a device."""


@dataclass
class Student:
    """One submission of a class.

    Attributes:
        name: of its file or folder.
        path: where it is.
        stem: the name without what a file's name cannot have everywhere; of its own files.
        outcome: what came of it; None when it could not be graded.
        trouble: why not.
        seconds: that its grading took; 0 when it had been graded before.
    """

    name: str
    path: Path
    stem: str
    outcome: Outcome | None = None
    trouble: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Task:
    """What has to be done for a student; ``digest`` is of all that the outcome depends on."""

    student: Student
    job: Job
    digest: str


class Classroom:
    """The submissions of a folder, and where their results are kept."""

    def __init__(self, folder: Path, out: Path, wish: Wish, rubric: Rubric) -> None:
        """See what there is, and make ``out``.

        Raises:
            UsageError: there is no submission, or ``out`` holds something else.
        """
        self._out, self._wish, self._rubric = out, wish, rubric
        self._checks = catalogue.known()
        if not folder.is_dir():
            raise UsageError(f"there is no folder {folder}; --each takes one that holds the submissions")
        self.students = list(_students(folder, out))
        if not self.students:
            raise UsageError(f"{folder} holds no submission: no folder, no .c or .py file, and no program")
        _prepare(out)

    def run(self, lab: Lab, jobs: int, tell: Callable[[Student], object]) -> list[Student]:
        """Grade whom nothing is known of yet, so many at once (0: as cores and memory allow); all of the class.

        Raises:
            LabError: the image cannot be made.
            UsageError: the results cannot be written.
        """
        tasks = [task for student in self.students if (task := self._task(student))]
        missing = {task.student.name for task in tasks}
        for student in self.students:
            if student.name not in missing:
                tell(student)
        if tasks:
            lab.build([container.IMAGE])
        tasks_of = {task.job: task for task in tasks}
        with contextlib.closing(crew.run(lab, list(tasks_of), jobs)) as done:
            for job in done:
                task = tasks_of[job]
                task.student.outcome, task.student.trouble, task.student.seconds = job.outcome, job.trouble, job.seconds
                self._keep(task)
                tell(task.student)
        return self.students

    def _task(self, student: Student) -> Task | None:
        """What is to be done; None when the outcome is known, or cannot be."""
        try:
            if student.path.is_symlink():  # to what may be another's, or no part of the class
                raise UsageError(
                    f"{student.path} is a link, which is not followed: put the file or folder itself there"
                )
            submission = Submission.at(student.path)
            packed = submission.packed()
        except UsageError as error:
            student.trouble = str(error)
            return None
        digest = self._digest(packed)
        try:
            kept = json.loads(self._file(student).read_text(encoding="utf-8"))
            if kept["digest"] == digest:
                student.outcome = Outcome.kept(kept["outcome"], self._checks, self._rubric)
                return None
        except (OSError, ValueError, KeyError, TypeError):
            pass  # never graded, or interrupted in the middle of writing
        return Task(student, Job(submission, packed, self._wish, self._rubric), digest)

    def _digest(self, packed: bytes) -> str:
        parts = [images.source(container.IMAGE), *self._wish.words(), ",".join(self._wish.checks)]
        return hashlib.sha256("\0".join(parts).encode() + b"\0" + packed).hexdigest()

    def _keep(self, task: Task) -> None:
        """Write the outcome whole, or not at all."""
        if task.student.outcome is None:
            return
        file = self._file(task.student)
        half = file.with_suffix(".half")
        content = {"digest": task.digest, "outcome": task.student.outcome.document()}
        try:
            half.write_text(json.dumps(content), encoding="utf-8")
            os.replace(half, file)
        except OSError as error:
            raise UsageError(f"cannot write {file}: {error.strerror}; what is graded so far stays") from None

    def _file(self, student: Student) -> Path:
        return self._out / STUDENTS / f"{student.stem}.json"


def _students(folder: Path, out: Path) -> Iterator[Student]:
    """What in a folder looks like a submission, by name; also each link, to be refused for all to see."""
    stems: set[str] = set()
    for path in sorted(folder.iterdir(), key=lambda path: path.name.casefold()):
        # Path.resolve would raise an error for a link to itself.
        if path.name.startswith(".") or path.name in LEFT_OUT or os.path.realpath(path) == os.path.realpath(out):
            continue
        program = path.is_file() and (path.suffix in (".c", ".py") or _is_program(path))
        if path.is_symlink() or path.is_dir() or program:
            yield Student(path.name, path, _stem(path.name, stems))


def _is_program(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError:
        return False
    return start == b"\x7fELF" or start.startswith(b"#!")


def _stem(name: str, taken: set[str]) -> str:
    """A name that every file system takes, another one for each."""
    stem = re.sub(r"[^\w.+-]+", "_", name).strip("._")[:_LONGEST_STEM]
    mark = f"-{hashlib.sha256(os.fsencode(name)).hexdigest()[:6]}"
    if stem != name or _RESERVED.fullmatch(stem):
        stem = f"{stem or 'submission'}{mark}"
    while stem.casefold() in taken:  # maybe by who is called like that
        stem += mark
    taken.add(stem.casefold())
    return stem


def _prepare(out: Path) -> None:
    """Make the folder of the results, or see that it is one.

    Raises:
        UsageError: it is something else.
    """
    try:
        if out.is_dir() and any(out.iterdir()) and not (out / STUDENTS).is_dir():
            raise UsageError(f"{out} holds other files; choose an empty folder, or the one of an earlier run")
        (out / STUDENTS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write into {out}: {error.strerror}; choose another folder") from None


def line(student: Student, number: int, count: int) -> str:
    """What came of a student, as it is said while the others are graded."""
    if student.outcome is None:
        return f"{number} of {count}  {student.name}: not graded: {student.trouble}"
    found = {
        word: [each["id"] for each in student.outcome.having(word)] for word in (verdicts.FAIL, verdicts.INCONCLUSIVE)
    }
    told = [f"{TITLES[word]}: {', '.join(checks)}" for word, checks in found.items() if checks]
    how = f"{student.seconds:.0f} s" if student.seconds else "graded before"
    words = "; ".join(told) or "nothing failed"
    return f"{number} of {count}  {student.name}: score {student.outcome.score:g}; {words} ({how})"


def document(students: Sequence[Student]) -> dict[str, Any]:
    """For ``--json``."""
    return {
        "submissions": [
            {"name": each.name, "outcome": each.outcome.document() if each.outcome else None, "trouble": each.trouble}
            for each in students
        ]
    }


def exit_code(students: Sequence[Student]) -> int:
    """0 when each was graded, whatever their verdicts; else 4: grade again, only what is missing is done."""
    return exits.OK if all(student.outcome for student in students) else exits.LAB_FAILED
