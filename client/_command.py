"""The words of the command line, and what becomes of each way a conversation can end."""

import argparse
import importlib
import os
import pkgutil
from typing import NoReturn

import client
from client._connection import connect
from client._errors import ClientError, UsageError
from client._signals import Stopped
from client._streams import STDIN, open_missing, tell
from protocol import exits, ports

DEFAULT_MODE = "fork-split"


def main(arguments: list[str] | None = None) -> int:
    """Hold one conversation as the ``arguments`` say; return the exit code (protocol/exits.py)."""
    open_missing()
    try:
        options = _parser().parse_args(arguments)
        mode = importlib.import_module(f"client.{options.mode.replace('-', '_')}")
        connection = connect(options.host, options.port)
        if os.isatty(STDIN):
            how = "Ctrl-D" if options.raw else "a line q, or Ctrl-D,"
            tell(f"connected to {options.host}:{options.port} ({options.mode}); {how} ends it")
        mode.converse(connection, options.raw)
    except ClientError as error:
        tell(str(error))
        return error.exit_code
    except Stopped as stopped:
        return exits.SIGNAL_BASE + stopped.signum
    return exits.OK


def modes() -> list[str]:
    """The modes there are: each file of this folder that is not shared (those begin with an underscore)."""
    names = (module.name for module in pkgutil.iter_modules(client.__path__))
    return sorted(name.replace("_", "-") for name in names if not name.startswith("_"))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("python3 -m client", description="Send standard input to the server, print what comes back.")
    parser.add_argument("mode", metavar="MODE", nargs="?", type=_mode, default=DEFAULT_MODE,
                        help=f"how: {', '.join(modes())} (default: %(default)s)")  # fmt: skip
    parser.add_argument("--host", default=ports.SERVER_HOST, help="name or address (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=ports.SERVER_PORT, help="TCP port (default: %(default)s)")
    parser.add_argument("--raw", action="store_true", help="binary input: no line means quit, only the end does")
    return parser


def _mode(text: str) -> str:
    if text not in modes():
        raise argparse.ArgumentTypeError(f"{text!r} is not a mode; there are {', '.join(modes())}")
    return text


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; there are 1 to 65535")
    return int(text)
