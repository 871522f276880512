"""``python3 -m server MODEL``: open the listener, then let the model serve."""

import argparse
import importlib
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from protocol import events, exits
from protocol.ports import SERVER_PORT
from server._conversation import Handle
from server._listener import Listener
from server._log import log, speak_json
from server._stop import Stop
from server.services import NotReady

CAP = 1000
"""Clients served at once, unless the model has a ``CAP`` of its own."""

HERE = Path(__file__).parent


def named(folder: Path) -> dict[str, str]:
    """The ids a folder offers and their modules; the folder is the registry.

    ``_loop`` is dropped: a module named ``select`` would hide the standard library's from whoever runs it as a script.
    """
    stems = sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))
    return {stem.removesuffix("_loop").replace("_", "-"): stem for stem in stems}


MODELS = named(HERE)
SERVICES = named(HERE / "services")


class Parser(argparse.ArgumentParser):
    """Says what was wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Leave with the exit code for wrong usage."""
        self.exit(exits.USAGE, f"server: {message}; see python3 -m server --help\n")


def number(least: float, most: float, kind: type[Any] = int) -> Callable[[str], Any]:
    """A type for argparse: a number within bounds."""

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least} to {most}")
        return value

    return parse


def policy(text: str) -> float:
    """A type for argparse: how many seconds may pass between two calls of fsync(2)."""
    words = {"never": math.inf, "always": 0.0}
    return words[text] if text in words else float(number(0.001, 10**6, float)(text))


def parser() -> Parser:
    """The command line."""
    command = Parser(prog="server", description=__doc__, allow_abbrev=False)
    command.add_argument("model", choices=MODELS, metavar="MODEL", help=" | ".join(MODELS))
    command.add_argument("--service", choices=SERVICES, default="echo", metavar="NAME", help=" | ".join(SERVICES))
    command.add_argument("--host", default="0.0.0.0", help="address to listen on; :: for IPv6 (default: %(default)s)")
    command.add_argument("--port", type=number(0, 65535), default=SERVER_PORT, help="0: any (default: %(default)s)")
    command.add_argument(
        "--backlog",
        type=number(0, 2**31 - 1),
        default=4096,
        metavar="N",
        help="clients that may wait for accept; the kernel caps it at net.core.somaxconn (default: %(default)s)",
    )
    command.add_argument(
        "--max-connections",
        type=number(1, 2**31 - 1),
        metavar="N",
        help=f"clients served at once; more wait in the backlog (default: {CAP}, prefork: 16)",
    )
    command.add_argument(
        "--spare",
        type=number(0, 1000),
        default=0,
        metavar="N",
        help="fork only: keep N children forked ahead, each for one connection (default: 0)",
    )
    command.add_argument(
        "--idle-timeout",
        type=number(0, 10**6, float),
        default=0.0,
        metavar="SECONDS",
        help="give up a client that sends and takes nothing; 0: never (default: 0)",
    )
    command.add_argument(
        "--drain",
        type=number(0, 10**6, float),
        default=10.0,
        metavar="SECONDS",
        help="time that clients have left after SIGTERM (default: 10)",
    )
    command.add_argument("--store", metavar="FILE", help="store only: where lines go (default: /data/store.log)")
    command.add_argument(
        "--fsync",
        type=policy,
        metavar="never|always|SECONDS",
        help="store only: when the file is written to the disk; always: before a line is sent back (default: never)",
    )
    command.add_argument("--log", choices=("text", "json"), default="text", help="(default: %(default)s)")
    return command


def main() -> int:
    """Serve until told to stop.

    Returns:
        The exit code.
    """
    command = parser()
    words = command.parse_args()
    if words.spare and words.model != "fork":
        command.error(f"--spare {words.spare} is for the model fork, not for {words.model}")
    if words.service != "store" and (words.store is not None or words.fsync is not None):
        command.error(f"--store and --fsync are for the service store, not for {words.service}")
    model = importlib.import_module(f"server.{MODELS[words.model]}")
    service = importlib.import_module(f"server.services.{SERVICES[words.service]}")
    cap = words.max_connections or getattr(model, "CAP", CAP)
    if words.log == "json":
        speak_json()
    try:
        finish = service.prepare(words) if hasattr(service, "prepare") else None
    except NotReady as error:
        print(f"server: {error}.", file=sys.stderr)
        return exits.LAB_FAILED
    stop = Stop(grace=words.drain)
    try:
        listener = Listener(words.host, words.port, words.backlog, cap, words.spare)
    except OSError as error:
        print(f"server: cannot listen on {words.host} port {words.port}: {error.strerror}.", file=sys.stderr)
        print("server: choose another --host or --port, or end what listens there (ss -ltnp).", file=sys.stderr)
        return exits.LAB_FAILED

    host, port = listener.address
    log(
        events.LISTENING,
        host=host,
        port=port,
        model=words.model,
        service=words.service,
        backlog=words.backlog,
    )
    model.serve(listener, Handle(service.converse, words.idle_timeout, stop), stop)
    if finish:
        finish()
    log(events.STOPPED)
    return exits.OK


if __name__ == "__main__":
    sys.exit(main())
