"""``python3 -m server MODEL``: open the listener, then let the model serve."""

import argparse
import math
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from protocol import exits
from protocol.ports import SERVER_PORT
from server._serve import CAP, PREFIX, cannot_listen

HERE = Path(__file__).parent

SLIM = {"LD_BIND_NOW": "1", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "1"}
"""All symbols are bound at the start (ld.so(8)), or each child binds those it uses; and no locale's tables are mapped,
for each mapping is copied by each fork."""


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
    command.add_argument("--log", choices=("text", "json", "none"), default="text", help="(default: %(default)s)")
    return command


def resolve(host: str) -> str:
    """The first address of ``host``, as a number (getaddrinfo(3)). What looks up names is large and stays behind here.

    Raises:
        OSError: there is none.
    """
    address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][4]
    number, _, *more = map(str, address)
    return "%".join([number, *(scope for scope in more[1:] if scope != "0")])  # fe80::1%2, a link-local address


def main() -> int:
    """Understand the command line, then become the server: the same process, but without what was needed for that.

    Returns:
        The exit code, should it not come so far.
    """
    command = parser()
    words = command.parse_args()
    if words.spare and words.model != "fork":
        command.error(f"--spare {words.spare} is for the model fork, not for {words.model}")
    if words.service != "store" and (words.store is not None or words.fsync is not None):
        command.error(f"--store and --fsync are for the service store, not for {words.service}")
    try:
        address = resolve(words.host)
    except OSError as error:
        return cannot_listen(words.host, words.port, error)
    settings = {
        "model": words.model,
        "module": MODELS[words.model],
        "service": words.service,
        "host": address,
        "port": words.port,
        "backlog": words.backlog,
        "max-connections": words.max_connections,
        "spare": words.spare,
        "idle-timeout": words.idle_timeout,
        "drain": words.drain,
        "store": words.store,
        "fsync": math.inf if words.fsync is None else words.fsync,
        "log": words.log,
    }
    # site, which -S leaves out, is handed on as well: whoever wants it (a coverage report does) has it there too.
    flags = ["-S"] if sys.flags.no_site else []
    told = {PREFIX + key: str(value) for key, value in settings.items() if value is not None}
    # Who looks at the processes sees model and service; the rest need not fill each line.
    seen = [sys.executable, *flags, str(HERE / "_run.py"), words.model, words.service]
    os.execve(sys.executable, seen, os.environ | SLIM | told)


if __name__ == "__main__":
    sys.exit(main())
