"""The course of an examination: build, see that it listens, tell its model, then the checks, several at once."""

import os
import random
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from examiner import _build, _check, _jail, _jobs
from examiner._canaries import Canaries
from examiner._detect import UNKNOWN, detect
from examiner._exam import Exam, Lane
from examiner._subject import Program
from probe.processes import PROC
from protocol import verdicts

LISTENS = "listens"
CONNECTS = "client-bytes"
"""The checks that fail for a server and for a client that cannot even be built."""
LENDER = Path(PROC, "1", "root")
"""The file system of the first process: where we share its PID namespace, that of the image (proc_pid_root(5))."""
LENT = Path("/.forklab")
"""A folder there that is memory, and that nobody can move, for something is mounted on it."""
FIRST_UIDS = range(10_000, 60_000)
"""Subjects run as users from here, from another one in each container: RLIMIT_NPROC counts a user's processes in all
containers of an engine together (setrlimit(2), user_namespaces(7)), so two submissions must not be the same user."""


@dataclass(frozen=True)
class Order:
    """What is to be examined, and by what.

    Attributes:
        folder: where subjects run; the submission is in ``source`` there.
        main: the file to compile or to start; empty: the folder says how.
        command: how to start it, with ``{port}``; empty: the program and the port.
        service: what it should do.
        model: what it should be, or ``any``.
        checks: ids.
        lanes: how many checks at once.
        image: what the host has made of a Dockerfile (``forklab/grade/image.py``): how its image is started, in the
            file system of the first process that we see; or why there is none.
    """

    folder: Path
    main: str
    command: str
    service: str
    model: str
    checks: list[str]
    lanes: int
    image: dict[str, Any] | None = None


class Examination:
    """One submission: built, told apart, and examined by the chosen checks."""

    def __init__(self, order: Order, emit: Callable[..., None], *, watch: int) -> None:
        """``emit`` takes events; when the descriptor ``watch`` ends, nobody waits for results any more."""
        self._order, self._emit, self._watch = order, emit, watch
        root = os.geteuid() == 0
        uid = random.choice(FIRST_UIDS) if root else None
        place, files = (LENT, LENDER) if order.image else (order.folder, _jail.OURS)
        self._lanes = [Lane.number(lane, place, uid, files) for lane in range(order.lanes if root else 1)]
        self._built: _build.Built | None = None
        self._model = UNKNOWN
        self._notes: list[str] = []

    def run(self) -> Iterator[_check.Result]:
        """Every result as it is found.

        Raises:
            Interrupted: nobody waits for them any more.
        """
        self._canaries = Canaries([lane.user for lane in self._lanes])
        try:
            yield from self._run()
        finally:
            self._canaries.end()

    def _run(self) -> Iterator[_check.Result]:
        trouble = yield from self._prepare()
        chosen = [check for check in self._order.checks if check != LISTENS]
        if trouble:
            for check in (check for check in chosen if check != CONNECTS or not self._of_client):
                yield _result(check, verdicts.INCONCLUSIVE, trouble)
            return
        lanes = self._lanes
        for _, answer in self._do([("model", self._detect)], self._lanes[:1]) if not self._of_client else []:
            self._model = answer.get("model", UNKNOWN)
            self._notes = answer.get("evidence", [answer.get("trouble") or answer.get("lost", "")])
            lanes = self._lanes if not answer.get("shared") else self._lanes[:1]
            self._emit("model", model=self._model, evidence=self._notes)
        if (wrong := self._other_model()) is not None:
            yield wrong
        jobs = [(check, self._job(check)) for check in chosen]
        for name, answer in self._do(jobs, lanes):
            yield self._read(name, answer)

    @property
    def model(self) -> str:
        """The model that was found."""
        return self._model

    @property
    def command(self) -> str:
        """How the subject is started."""
        return " ".join(self._built.program.words) if self._built else ""

    @property
    def _of_client(self) -> bool:
        return self._order.service == _check.CLIENT

    def _prepare(self) -> Generator[_check.Result, None, str]:
        """Build the subject and see that it listens; returns what is wrong, or an empty text."""
        answers = dict(self._do([("build", self._make)], self._lanes[:1]))
        built = answers["build"]
        if "program" not in built:
            words = built.get("words") or f"it cannot be built: {built.get('trouble') or built['lost']}"
            about = LISTENS if not self._of_client else CONNECTS
            result = _result(about, verdicts.FAIL, words, built.get("said", []))
            result.cause = "There is no program: what was submitted cannot be built, or it is not clear what to start."
            result.mend = "Begin with the first error above; what follows it may come from it."
            yield result
            return "there is no program to examine"
        program = Program(
            tuple(built["program"]),
            Path(built["folder"]),
            built["environment"],
            built["in_place"],
            self._source if self._order.image else None,
        )
        self._built = _build.Built(program, built["warnings"])
        if self._built.warnings:
            yield _told("warnings", "the compiler has warnings", self._built.warnings)
        if self._of_client:
            return ""
        ((_, answer),) = self._do([(LISTENS, self._job(LISTENS))], self._lanes[:1])
        result = self._read(LISTENS, answer)
        if LISTENS in self._order.checks or result.verdict != verdicts.PASS:
            yield result
        return "" if result.verdict == verdicts.PASS else "the server does not listen; see the check listens"

    def _do(self, jobs: list[tuple[str, _jobs.Work]], lanes: list[Lane]) -> Iterator[tuple[str, dict[str, Any]]]:
        return _jobs.run(jobs, lanes, self._canaries, watch=self._watch)

    def _make(self, lane: Lane) -> dict[str, Any]:
        try:
            built = (
                _build.of_image(self._order.image, lane.user.root) if self._order.image else self._compile(lane.user)
            )
        except _build.CannotBuild as error:
            return {"words": str(error), "said": error.said}
        program = built.program
        return {
            "program": program.words,
            "folder": str(program.folder),
            "environment": program.environment,
            "in_place": program.in_place,
            "warnings": built.warnings,
        }

    def _compile(self, user: _jail.User) -> _build.Built:
        target, kept = self._order.folder / "built" / "subject", self._order.folder / "program"
        built = _build.build(
            self._source,
            target,
            user,
            main=self._order.main,
            command=self._order.command,
            arguments=(_build.HOST, _build.PORT) if self._of_client else (_build.PORT,),
        )
        # From here on it is ours: who built it is a subject soon, and each check must begin with the same program.
        if not _jail.keep(target, kept):
            raise _build.CannotBuild("what was built cannot be kept: is it too large?", built.warnings)
        user.remove(target)
        return replace(built, program=replace(built.program, folder=kept))

    @property
    def _source(self) -> Path:
        return self._order.folder / "source"

    def _exam(self, lane: Lane) -> Exam:
        assert self._built
        order = self._order
        return Exam(self._built.program, lane, service=order.service, demanded=order.model, model=self._model)

    def _detect(self, lane: Lane) -> dict[str, Any]:
        exam = self._exam(lane)
        found, shared = [UNKNOWN], []

        def look(exam: Exam) -> str:
            found[0] = detect(exam)
            shared.extend(exam.shared())
            return found[0]

        _, said = exam.examine(look)
        return {"model": found[0], "evidence": exam.evidence or [str(said)], "shared": shared}

    def _job(self, check: str) -> _jobs.Work:
        def work(lane: Lane) -> dict[str, Any]:
            begin = time.monotonic()
            result = _check.examine(check, _check.load(check), self._exam(lane))
            result.seconds = round(time.monotonic() - begin, 3)
            return asdict(result)

        return work

    def _read(self, check: str, answer: dict[str, Any]) -> _check.Result:
        if "trouble" in answer:
            return _result(check, verdicts.ERROR, f"the examiner failed: {answer['trouble']}")
        if "lost" in answer:
            return _result(check, verdicts.INCONCLUSIVE, f"the check came to no end: {answer['lost']}")
        return _check.Result(**answer)

    def _other_model(self) -> _check.Result | None:
        demanded = self._order.model
        if self._of_client or demanded in ("any", self._model):
            return None
        verdict = verdicts.INCONCLUSIVE if self._model == UNKNOWN else verdicts.FAIL
        return _check.Result(
            "model",
            verdict,
            "The server serves as it was asked to.",
            f"model {demanded}",
            f"model {self._model}",
            self._notes,
            cause=f"The server serves in another way than {demanded}." if verdict == verdicts.FAIL else "",
            mend=f"Write it as {demanded}, or say what it should be with --model." if verdict == verdicts.FAIL else "",
        )


def _result(check: str, verdict: str, actual: str, evidence: list[str] | None = None) -> _check.Result:
    """A result of a check that did not run."""
    known = _check.load(check)
    result = _check.Result(check, verdict, known.requirement, known.expected, actual, evidence or [])
    if verdict == verdicts.FAIL:
        result.cause, result.mend = known.cause, known.mend
    return result


def _told(name: str, actual: str, evidence: list[str]) -> _check.Result:
    return _check.Result(name, verdicts.INFO, "The compiler has nothing to say.", "no warning", actual, evidence)
