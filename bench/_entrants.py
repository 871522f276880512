"""Who takes part: each entrant's command, and what it says about its version."""

import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PYTHON = sys.executable

SERVER = (PYTHON, "-S", "-m", "server")
QUIET = ("--log", "none")
"""How our server is started, as in its own image, and how it is told to say nothing: nobody else here says anything."""

DATA = Path("/data")
"""Where the service store records: a disk, for fsync(2) of a file in memory costs nothing."""

READY = ("--backlog", "4096", "--drain", "1")
PORT = "PORT"
"""Stands for the port's number in a command."""

POOLS = {"prefork": 16, "c-prefork": 16, "fork-spare": 8, "fsync-never": 2, "fsync-0.1": 2, "fsync-always": 2}
"""Processes that are there without a client; the store's are its keeper and its recorder."""


@dataclass(frozen=True)
class Entrant:
    """A server.

    ``command`` are the words that start it, with PORT in them; ``pool`` is how many children it has when no client is
    there; with ``log`` what it says goes to a file.
    """

    id: str
    command: tuple[str, ...]
    pool: int = 0
    log: bool = False

    def words(self, port: int) -> list[str]:
        """The command for a port."""
        return [word.replace(PORT, str(port)) for word in self.command]


def ours(model: str, *options: str, quiet: bool = True) -> tuple[str, ...]:
    """The command for a model of ours, which prefork sizes as it does by default: 16 processes."""
    cap = () if model == "prefork" else ("--max-connections", "20000")
    return (*SERVER, model, "--port", PORT, *READY, *cap, *options, *(QUIET if quiet else ()))


def store(fsync: str) -> tuple[str, ...]:
    """The command for the recording service, with a policy for fsync(2)."""
    return ours("epoll", "--service", "store", "--store", str(DATA / "bench.log"), "--fsync", fsync)


def script(name: str, *options: str) -> tuple[str, ...]:
    """The command for a peer in Python."""
    return (PYTHON, str(HERE / "peers" / name), PORT, *options)


def entrants(programs: Path) -> dict[str, Entrant]:
    """All of them by id; ``programs`` is the folder of what ``bench/compile`` made."""
    commands = {
        "iterative": ours("iterative"),
        "fork": ours("fork"),
        "fork-spare": ours("fork", "--spare", "8"),
        "prefork": ours("prefork"),
        "thread": ours("thread"),
        "select": ours("select"),
        "poll": ours("poll"),
        "epoll": ours("epoll"),
        "fork-log": ours("fork", quiet=False),
        "c-fork": (str(programs / "c-fork"), PORT),
        "c-prefork": (str(programs / "c-prefork"), PORT),
        "c-epoll": (str(programs / "c-epoll"), PORT),
        "forking-tcpserver": script("forking_tcpserver.py"),
        "threading-tcpserver": script("threading_tcpserver.py"),
        "asyncio": script("asyncio_echo.py"),
        "uvloop": script("asyncio_echo.py", "--uvloop"),
        "socat": ("socat", f"TCP-LISTEN:{PORT},fork,reuseaddr,backlog=4096", "PIPE"),
        "tcpserver": ("tcpserver", "-c", "100000", "-b", "4096", "-HRl0", "0", PORT, "cat"),
        "ncat": ("ncat", "-4", "-lk", "-m", "10000", "-e", "/bin/cat", PORT),
        "fork-split": ours("epoll"),
        "lock-step": ours("epoll"),
        "fsync-never": store("never"),
        "fsync-0.1": store("0.1"),
        "fsync-always": store("always"),
    }
    return {id: Entrant(id, command, POOLS.get(id, 0), log=id == "fork-log") for id, command in commands.items()}


def versions(programs: Path) -> dict[str, str]:
    """What each entrant says it is; what is not there is left out."""
    python = f"CPython {platform.python_version()}"
    compiler = _first_line("cat", str(programs / "compiler"))
    uvloop = _first_line(PYTHON, "-c", "import uvloop; print('uvloop', uvloop.__version__)")
    return {
        **dict.fromkeys(("c-fork", "c-prefork", "c-epoll"), compiler),
        **dict.fromkeys(("forking-tcpserver", "threading-tcpserver", "asyncio"), python),
        "uvloop": uvloop and f"{uvloop}, {python}",
        "socat": _first_line("socat", "-V", pick=lambda line: "version" in line),
        "tcpserver": _package("ucspi-tcp"),
        "ncat": _first_line("ncat", "--version", pick=lambda line: "Version" in line),
    }


def _package(name: str) -> str:
    """A Debian package's version, for a program that does not tell its own."""
    status = Path("/var/lib/dpkg/status")
    for entry in status.read_text().split("\n\n") if status.exists() else ():
        if entry.startswith(f"Package: {name}\n"):
            return f"{name} " + entry.partition("\nVersion: ")[2].partition("\n")[0]
    return ""


def _first_line(*command: str, pick: Callable[[str], bool] = bool) -> str:
    """The first line of what a command says that fits; empty where there is none, or no such command."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return next((line.strip() for line in done.stdout.splitlines() if done.returncode == 0 and pick(line)), "")
