"""Runs a demo in a process group of its own, so that nothing of it stays: not after a failure, Ctrl-C or a deadline."""

import contextlib
import json
import os
import signal
import textwrap
import time
from importlib import import_module
from types import ModuleType
from typing import Any, NoReturn

from demos._show import Inconclusive, NotSo, Show
from protocol import exits, lessons, verdicts

SECONDS = 15.0
"""What a demo may take."""

WATCHED = {signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP}

CODES = {
    verdicts.PASS: exits.OK,
    verdicts.FAIL: exits.FAILED,
    verdicts.INCONCLUSIVE: exits.INCONCLUSIVE,
    verdicts.ERROR: exits.LAB_FAILED,
}


def module(demo: str) -> ModuleType:
    """The program of a demo, by its id."""
    return import_module(f"demos.{demo.replace('-', '_')}")


def run(demo: str, *, as_json: bool) -> int:
    """Run one demo to its verdict; the exit code."""
    program = module(demo)
    doc = program.__doc__ or ""
    question = lessons.part(doc, lessons.QUESTION)
    theory = f"{lessons.part(doc, lessons.THEORY)} ({lessons.part(doc, lessons.SOURCE)})"
    if not as_json:
        print(f"{demo}: {question}")
        print(
            textwrap.fill(theory, 100, initial_indent="theory: ", subsequent_indent="        ", break_on_hyphens=False)
        )
        print("measured:", flush=True)
    found = _supervised(program, as_json)
    if isinstance(found, int):
        return exits.SIGNAL_BASE + found
    verdict, words = found.pop("verdict")
    if as_json:
        document = {"demo": demo, "verdict": verdict, "question": question, "theory": theory, **found, "words": words}
        print(json.dumps(document, indent=2))
    else:
        print(f"verdict: {verdict} - {words}")
    return CODES[verdict]


def _supervised(program: ModuleType, quiet: bool) -> dict[str, Any] | int:
    """What the demo found, or the signal that interrupted it."""
    notes = os.memfd_create("notes")  # a file that is in memory only; both processes write and read at one offset
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    demo = os.fork()
    if demo == 0:
        _perform(program, Show(notes, quiet=quiet))
    with contextlib.suppress(ProcessLookupError):
        os.setpgid(demo, demo)
    try:
        interrupted = _await(demo, time.monotonic() + SECONDS)
    finally:
        # Its number is its own until it was waited for, so this meets nobody else. Zombies take it without harm.
        os.killpg(demo, signal.SIGKILL)
        os.waitpid(demo, 0)
    if interrupted:
        return interrupted
    with os.fdopen(notes, "rb") as file:
        file.seek(0)
        return _read(file.read().decode().splitlines())


def _await(demo: int, deadline: float) -> int:
    """Sleep until the demo has ended or its time is up: 0; or until a signal asks us to end: its number."""
    while not os.waitid(os.P_PID, demo, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        left = deadline - time.monotonic()
        if left <= 0:
            return 0
        # The signals are blocked, so that none is lost between this look and this sleep (sigtimedwait(2)).
        got = signal.sigtimedwait(WATCHED, left)
        if got and got.si_signo != signal.SIGCHLD:
            return got.si_signo
    return 0


def _perform(program: ModuleType, show: Show) -> NoReturn:
    """All of the life of the process that is the demo."""
    me = os.getpid()
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # who presses Ctrl-C reaches the supervisor
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)
        verdict = (verdicts.PASS, program.main(show))
    except NotSo as error:
        verdict = (verdicts.FAIL, str(error))
    except Inconclusive as error:
        verdict = (verdicts.INCONCLUSIVE, str(error))
    except BaseException as error:
        verdict = (verdicts.ERROR, f"unexpected {type(error).__name__}: {error}")
    finally:
        if os.getpid() != me:  # a child of the demo that failed; its parent learns it from the wait status
            os._exit(os.EX_SOFTWARE)
    show.note("verdict", verdict)
    os._exit(os.EX_OK)


def _read(notes: list[str]) -> dict[str, Any]:
    """Gather what a demo noted. One without a verdict was killed: its time was up, on a busy machine or for ever."""
    found: dict[str, Any] = {"measured": {}, "evidence": []}
    found["verdict"] = (verdicts.INCONCLUSIVE, f"it came to no end within {SECONDS:g} seconds; try again")
    for line in notes:
        kind, content = json.loads(line)
        if kind == "measured":
            found["measured"].update(content)
        elif kind == "evidence":
            found["evidence"].append(content)
        else:
            found["verdict"] = content
    return found
