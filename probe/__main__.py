"""``python3 -m probe COMMAND``: one answer, one JSON line."""

import argparse
import json
import signal
import sys
import time

from probe.capture import capture
from probe.faults._all import clear, faults, sweep
from probe.faults._holder import hold
from probe.features import features
from probe.processes import DETAILS
from probe.snapshot import DEFAULT, snapshot
from probe.sockets import sockets
from probe.trace import recorded, stay_recording, trace
from probe.watch import watch
from protocol import exits


def stay(recording: bool) -> None:
    """Keep the namespaces open for commands to come, until told to end; with ``recording`` trace the server."""
    end = {signal.SIGTERM, signal.SIGINT}
    if recording:
        stay_recording(end)
    else:
        signal.pthread_sigmask(signal.SIG_BLOCK, end)
        signal.sigwait(end)


def wait_listening(port: int, seconds: float) -> int:
    """Wait for the LISTEN row of ``port`` in the kernel's table; nothing connects, so no server is disturbed."""
    deadline = time.monotonic() + seconds
    while not any(row["state"] == "LISTEN" and row["local"].endswith(f":{port}") for row in sockets()):
        if time.monotonic() > deadline:
            return exits.FAILED
        time.sleep(0.01)
    return exits.OK


def seconds(text: str) -> float:
    """A time in seconds, 0 or more.

    Raises:
        argparse.ArgumentTypeError: the text is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f'"{text}" is no number of seconds')
    return value


def share(text: str) -> float:
    """A part of the whole, more than 0 and at most 1.

    Raises:
        argparse.ArgumentTypeError: the text is none.
    """
    value = seconds(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f'"{text}" is not more than 0 and at most 1')
    return value


def main() -> int:
    """Carry out one command.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog="probe", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    staying = commands.add_parser("stay", help="keep the namespaces open until SIGTERM")
    staying.add_argument(
        "--trace", action="store_true", help="open the server's gate and record from its first call on"
    )
    tracing = commands.add_parser("trace", help="record the server's calls until standard input ends")
    tracing.add_argument("--seconds", type=float, required=True)
    commands.add_parser("recorded", help="what was recorded so far")
    commands.add_parser("features", help="what this kernel can do")
    commands.add_parser("faults", help="which faults are held, what was left, and the journal")
    looking = commands.add_parser("snapshot", help="processes, descriptors and sockets of the server")
    watching = commands.add_parser("watch", help="snapshots until standard input ends")
    watching.add_argument("--interval", type=seconds, default=1.0, help="seconds between two (default: 1)")
    watching.add_argument("--share", type=share, default=1.0, help="most of one processor's time, 0 to 1 (default: 1)")
    for command, default in ((looking, DEFAULT), (watching, frozenset[str]())):
        listed = " ".join(sorted(default)) or "none"
        command.add_argument("--details", nargs="*", choices=DETAILS, default=default, help=f"default: {listed}")
    waiting = commands.add_parser("wait-listening", help="0 as soon as the port listens, 1 when the time is over")
    waiting.add_argument("--port", type=int, required=True)
    waiting.add_argument("--seconds", type=float, required=True)
    capturing = commands.add_parser("capture")
    capturing.add_argument("--filter", required=True)
    capturing.add_argument("--seconds", type=float, required=True)
    commands.add_parser("fault").add_argument("told", help="what to hold, in JSON: probe/faults/_holder.py")
    clearing = commands.add_parser("fault-clear")
    clearing.add_argument("--key", default="", help="FAULT@TARGET; default: all")
    clearing.add_argument("--reason", default="", help="why, for the journal")
    commands.add_parser("fault-sweep").add_argument("target")
    words = parser.parse_args()
    if words.command == "fault":
        return hold(words.told)
    if words.command == "wait-listening":
        return wait_listening(words.port, words.seconds)
    if words.command == "capture":
        return capture(words.filter, words.seconds)
    if words.command == "trace":
        return trace(words.seconds)
    if words.command == "recorded":
        return recorded()
    if words.command == "stay":
        stay(words.trace)
    elif words.command == "fault-clear":
        print(json.dumps(clear(words.key, words.reason)))
    elif words.command == "fault-sweep":
        print(json.dumps({"removed": sweep(words.target)}))
    elif words.command == "watch":
        watch(words.interval, frozenset(words.details), words.share)
    elif words.command == "snapshot":
        print(json.dumps(snapshot(frozenset(words.details))))
    elif words.command == "faults":
        print(json.dumps(faults()))
    else:
        print(json.dumps(features()))
    return exits.OK


if __name__ == "__main__":
    sys.exit(main())
