"""``python3 -m bench``: take all samples, a JSON line each, and leave no process behind."""

import argparse
import json
import os
import platform
import resource
import select
import signal
import stat
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from bench._entrants import HERE, versions
from bench._plan import Plan, Unknown, plan
from bench._processes import Failed, end_children
from bench._sections import LIMITS, SECTIONS, Bench, Sample
from protocol import exits

MINUTES = {True: 4, False: 20}
"""After so many a quick and a full run end, whatever they do."""

BUDGET = {True: 165.0, False: 17 * 60.0}
"""After so many seconds of a quick and a full run, rounds that only make the medians better are left out, and said so.
A quick run takes less than three minutes, however slow the machine is."""
NEEDED = 2
"""Rounds that are taken in any case: the one to warm up, and one that counts."""

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM)


class Ended(BaseException):
    """A signal came that ends the bench."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Parser(argparse.ArgumentParser):
    """Says what was wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Leave with the exit code for wrong usage."""
        self.exit(exits.USAGE, f"bench: {message}; see python3 -m bench --help\n")


def emit(event: str, **facts: Any) -> None:
    """Print one event."""
    print(json.dumps({"event": event, **facts}), flush=True)


def end(number: int, frame: FrameType | None) -> NoReturn:
    """The handler of the signals that end the bench. It is called once: what is tidied up then is not interrupted."""
    for each in ENDING:
        signal.signal(each, signal.SIG_IGN)
    raise Ended(number)


def watch_streams() -> None:
    """End the bench when nobody is left who reads its output, or the pipe that is its input was closed.

    A container outlives the program that started it; so whoever starts this one holds its standard input open.
    """
    poll = select.poll()
    poll.register(1, 0)  # POLLERR and POLLHUP come unasked
    mode = os.fstat(0).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        poll.register(0, select.POLLIN)
    while True:
        for fd, events in poll.poll():
            if fd == 1 or events & ~select.POLLIN or not os.read(0, 4096):
                os.kill(os.getpid(), signal.SIGTERM)
                return


def raise_limit() -> None:
    """Allow as many descriptors as may be allowed: entrants and load generator inherit it (getrlimit(2))."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def machine(programs: Path) -> dict[str, Any]:
    """What the figures were measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "kernel": platform.release(),
        "cpus": len(os.sched_getaffinity(0)),
        "processor": processor(Path("/proc/cpuinfo").read_text()),
        "python": platform.python_version(),
        "memory_mib": memory >> 20,
        "versions": versions(programs),
    }


def processor(cpuinfo: str) -> str:
    """The processor's name where /proc/cpuinfo has one (on arm64 it may not), and its architecture."""
    names = [line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name")]
    return f"{names[0]} ({platform.machine()})" if names else platform.machine()


def announce(wanted: Plan, bench: Bench) -> None:
    """Say what will be measured, and what the load generator can do at most."""
    emit(
        "plan",
        rounds=wanted.rounds,
        sections=wanted.entrants,
        samples=len(wanted.turns),
        quick=bench.quick,
        seconds=round(wanted.seconds),
        headroom=bench.headroom(),
    )


def measure(bench: Bench, wanted: Plan) -> None:
    """Take the samples of a plan, one after the other."""
    deadline = time.monotonic() + BUDGET[bench.quick]
    stuck: set[tuple[str, str]] = set()
    for turn in wanted.turns:
        section = SECTIONS[turn.section]
        try:
            if turn.round >= NEEDED and time.monotonic() > deadline:
                raise Failed("no time is left for this round")
            if (turn.section, turn.entrant) in stuck:
                raise Failed("its clients timed out in a round before: errors, and no measurement")
            sample = bench.take(section, turn.entrant, turn.warmup)
        except Failed as failed:
            emit("skip", section=turn.section, entrant=turn.entrant, round=turn.round, reason=str(failed))
            continue
        if "timeout" in sample.errors:  # such samples last long, and ncat with cat locks up in bulk each time
            stuck.add((turn.section, turn.entrant))
        emit(
            "sample",
            section=turn.section,
            entrant=turn.entrant,
            round=turn.round,
            warmup=turn.warmup,
            value=sample.value,
            unit=section.unit,
            better=section.better,
            details=sample.details,
            errors=sample.errors,
            load=load(sample),
        )


def load(sample: Sample) -> dict[str, Any] | None:
    """What the load generator itself took, and whether the sample shows its limit instead of the entrant's."""
    return None if sample.cpu is None else {"cpu": sample.cpu, "limits": sample.cpu >= LIMITS}


def main() -> int:
    """Run the bench.

    Returns:
        The exit code.
    """
    command = Parser(prog="bench", description=__doc__, allow_abbrev=False)
    command.add_argument("--quick", action="store_true", help="fewer rounds, shorter samples, the goals' entrants only")
    command.add_argument("--only", default="", metavar="NAME,NAME", help="sections and entrants by name")
    command.add_argument("--programs", type=Path, default=HERE / "bin", help="where bench/compile has put its programs")
    words = command.parse_args()
    try:
        wanted = plan(SECTIONS, quick=words.quick, only=[name for name in words.only.split(",") if name])
    except Unknown as error:
        command.error(str(error))
    raise_limit()
    for number in ENDING:
        signal.signal(number, end)
    signal.alarm(60 * MINUTES[words.quick])
    threading.Thread(target=watch_streams, daemon=True).start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            emit("machine", **machine(words.programs))
            bench = Bench(words.programs, Path(folder), quick=words.quick)
            announce(wanted, bench)
            measure(bench, wanted)
            emit("done")
    except Ended as ended:
        end_children()
        print(f"bench: ended by {signal.Signals(ended.number).name}", file=sys.stderr)
        return exits.SIGNAL_BASE + ended.number
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python would try to flush it again
        return exits.SIGNAL_BASE + signal.SIGPIPE
    except Failed as failed:
        print(f"bench: {failed}", file=sys.stderr)
        return exits.LAB_FAILED
    return exits.OK


if __name__ == "__main__":
    sys.exit(main())
