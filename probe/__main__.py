"""``python3 -m probe COMMAND``: one answer, one JSON line."""

import argparse
import json
import signal
import sys
import time

from probe.features import features
from probe.snapshot import snapshot
from probe.sockets import sockets
from protocol import exits


def stay() -> None:
    """Keep the namespaces open for commands to come, until told to end."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


def wait_listening(port: int, seconds: float) -> int:
    """Wait for the LISTEN row of ``port`` in the kernel's table; nothing connects, so no server is disturbed."""
    deadline = time.monotonic() + seconds
    while not any(row["state"] == "LISTEN" and row["local"].endswith(f":{port}") for row in sockets()):
        if time.monotonic() > deadline:
            return exits.FAILED
        time.sleep(0.01)
    return exits.OK


ANSWERS = {"snapshot": snapshot, "features": features}


def main() -> int:
    """Carry out one command.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog="probe", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("stay", *ANSWERS):
        commands.add_parser(name)
    waiting = commands.add_parser("wait-listening")
    waiting.add_argument("--port", type=int, required=True)
    waiting.add_argument("--seconds", type=float, required=True)
    words = parser.parse_args()
    if words.command == "wait-listening":
        return wait_listening(words.port, words.seconds)
    if words.command == "stay":
        stay()
    else:
        print(json.dumps(ANSWERS[words.command]()))
    return exits.OK


if __name__ == "__main__":
    sys.exit(main())
