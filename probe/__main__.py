"""``python3 -m probe COMMAND``: one answer, one JSON line."""

import argparse
import json
import signal
import sys

from probe.features import features
from probe.snapshot import snapshot
from protocol import exits


def stay() -> None:
    """Keep the namespaces open for commands to come, until told to end."""
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


ANSWERS = {"snapshot": snapshot, "features": features}


def main() -> int:
    """Carry out one command.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog="probe", description=__doc__)
    parser.add_argument("command", choices=["stay", *ANSWERS])
    command = parser.parse_args().command
    if command == "stay":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        stay()
    else:
        print(json.dumps(ANSWERS[command]()))
    return exits.OK


if __name__ == "__main__":
    sys.exit(main())
