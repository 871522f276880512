"""The course of an examination: build, see that it listens, tell its model, then the checks, several at once."""

import os
import random
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from examiner import _build, _check, _jail, _jobs
from examiner._detect import UNKNOWN, detect
from examiner._exam import Exam, Lane
from examiner._subject import Program
from protocol import verdicts

LISTENS = "listens"
CONNECTS = "client-bytes"
"""The checks that fail for a server and for a client that cannot even be built."""
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
    """

    folder: Path
    main: str
    command: str
    service: str
    model: str
    checks: list[str]
    lanes: int


class Examination:
    """One submission: built, told apart, and examined by the chosen checks."""

    def __init__(self, order: Order, emit: Callable[..., None], *, watch: int) -> None:
        """``emit`` takes events; when the descriptor ``watch`` ends, nobody waits for results any more."""
        self._order, self._emit, self._watch = order, emit, watch
        root = os.geteuid() == 0
        uid = random.choice(FIRST_UIDS) if root else None
        self._lanes = [Lane.number(lane, order.folder, uid) for lane in range(order.lanes if root else 1)]
        self._built: _build.Built | None = None
        self._model = UNKNOWN
        self._notes: list[str] = []

    def run(self) -> Iterator[_check.Result]:
        """Every result as it is found.

        Raises:
            Interrupted: nobody waits for them any more.
        """
        trouble = yield from self._prepare()
        chosen = [check for check in self._order.checks if check != LISTENS]
        if trouble:
            for check in (check for check in chosen if check != CONNECTS or not self._of_client):
                yield _result(check, verdicts.INCONCLUSIVE, trouble)
            return
        lanes = self._lanes
        for _, answer in self._do([("model", self._detect)], self._lanes[:1]) if not self._of_client else []:
            self._model = answer.get("model", UNKNOWN)
            self._notes = answer.get("evidence", [answer.get("trouble", "")])
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
        answers = dict(self._do([("build", self._build)], self._lanes[:1]))
        built = answers["build"]
        if "program" not in built:
            words = built.get("words") or f"it cannot be built: {built['trouble']}"
            about = LISTENS if not self._of_client else CONNECTS
            result = _result(about, verdicts.FAIL, words, built.get("said", []))
            result.cause = "There is no program: what was submitted cannot be built, or it is not clear what to start."
            result.mend = "Begin with the first error above; what follows it may come from it."
            yield result
            return "there is no program to examine"
        self._built = _build.Built(Program(tuple(built["program"]), Path(built["folder"])), built["warnings"])
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
        return _jobs.run(jobs, lanes, watch=self._watch)

    def _build(self, lane: Lane) -> dict[str, Any]:
        target = self._order.folder / "built" / "subject"
        try:
            built = _build.build(
                self._order.folder / "source",
                target,
                lane.user,
                main=self._order.main,
                command=self._order.command,
                arguments=(_build.HOST, _build.PORT) if self._of_client else (_build.PORT,),
            )
        except _build.CannotBuild as error:
            return {"words": str(error), "said": error.said}
        return {"program": built.program.words, "folder": str(built.program.folder), "warnings": built.warnings}

    def _exam(self, lane: Lane) -> Exam:
        assert self._built
        order = self._order
        return Exam(self._built.program, lane, service=order.service, demanded=order.model, model=self._model)

    def _detect(self, lane: Lane) -> dict[str, Any]:
        exam = self._exam(lane)
        found = [UNKNOWN]

        def look(exam: Exam) -> str:
            found[0] = detect(exam)
            return found[0]

        _, said = exam.examine(look)
        shared = [str(path) for place in _jail.SHARED for path in lane.user.left_in(place)]
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
