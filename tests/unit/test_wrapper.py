"""./lab from outside: it finds itself, passes words and exit codes on, makes .venv when it must, and fails in one line.

Instead of the real packages it installs one wheel, whose ``invoke`` prints what it was given.
"""

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forklab import bootstrap

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell script; lab.cmd is its twin")

ROOT = Path(__file__).resolve().parents[2]
INVOKE = """#!python
import json, os, sys
if __name__ == "__main__":
    print(json.dumps({"arguments": sys.argv[1:], "folder": os.getcwd(), "path": sys.path[0]}))
    sys.exit(int(os.environ.get("CODE", "0")))
"""
TOOLS = ("sh", "cat", "cmp", "dirname", "readlink", "env")
PATIENCE = 60.0
"""Seconds that anything here may take at most."""


def make_executable(file: Path, text: str) -> Path:
    """Write a program."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o755)
    return file


class Checkout:
    """A copy of what the wrapper needs, in a folder of its own."""

    def __init__(self, root: Path, wheels: Path) -> None:
        """Copy it to ``root``; packages are found in the folder ``wheels`` only."""
        self.root = root
        self.tools = root.parent / "tools"
        self.environment = {
            "PATH": str(self.tools),
            "PYTHON": str(Path(sys.executable).resolve()),
            "HOME": str(root.parent),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": wheels.as_uri(),
            "PIP_RETRIES": "0",
        }
        root.mkdir(parents=True)
        shutil.copy(ROOT / "lab", root)
        for package in ("forklab", "protocol"):
            shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
        (root / "requirements.txt").write_text("invoke==1.0\n")
        self.tools.mkdir(exist_ok=True)
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found, f"these tests need {tool}"
            (self.tools / tool).symlink_to(found)
        self.tool("id", "echo 1000")

    def tool(self, name: str, script: str) -> Path:
        """Put a program of our own on the PATH, in place of a real one of this name."""
        (self.tools / name).unlink(missing_ok=True)
        return make_executable(self.tools / name, f"#!/bin/sh\n{script}\n")

    def python(self, name: str, answer: str) -> Path:
        """Put an interpreter on the PATH that answers "KIND VERSION PATH" when asked, and can do nothing else."""
        return self.tool(name, f"[ $2 = -c ] || exit 99; echo {shlex.quote(answer)}")

    def fake_environment(self) -> None:
        """Make a .venv that is current, without pip."""
        (self.root / ".venv" / "bin").mkdir(parents=True)
        (self.root / ".venv" / "bin" / "python").symlink_to(sys.executable)
        make_executable(self.root / ".venv" / "bin" / "invoke", INVOKE)
        (self.root / ".venv" / "installed").write_bytes(bootstrap.stamp(self.root.resolve()))

    def start(
        self, *arguments: str, program: Path | None = None, folder: Path | None = None, **environment: str
    ) -> Any:
        """Start ./lab in a process group of its own."""
        return subprocess.Popen(
            [program or self.root / "lab", *arguments],
            cwd=folder or self.root,
            env={k: v for k, v in {**self.environment, **environment}.items() if v},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, **options: Any) -> tuple[int, str, str]:
        """Run ./lab; returns its exit code, output and errors."""
        process = self.start(*arguments, **options)
        output, errors = process.communicate(timeout=PATIENCE)
        return process.returncode, output, errors

    def given(self, *arguments: str, **options: Any) -> dict[str, Any]:
        """Run ./lab, which must work and be silent; returns what invoke was given."""
        code, output, errors = self.run(*arguments, **options)
        assert (code, errors) == (0, "")
        answer: dict[str, Any] = json.loads(output)
        return answer

    def refusal(self, **environment: str) -> str:
        """Run ./lab, which must fail; returns the one line that is its last word."""
        code, output, errors = self.run(**environment)
        assert (code, output) == (4, ""), errors
        *steps, last = errors.splitlines()
        assert [step for step in steps if not step.startswith(("lab: making", "lab: installing"))] == []
        return last


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an ``invoke`` of our own."""
    folder = tmp_path_factory.mktemp("wheels")
    with zipfile.ZipFile(folder / "invoke-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("invoke-1.0.data/scripts/invoke", INVOKE)
        wheel.writestr("invoke-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: invoke\nVersion: 1.0\n")
        wheel.writestr("invoke-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("invoke-1.0.dist-info/RECORD", "")
    return folder


@pytest.fixture
def checkout(tmp_path: Path, wheels: Path) -> Checkout:
    """Return a fresh checkout whose path has a space and a quote."""
    return Checkout(tmp_path / "my 'own' lab", wheels)


@pytest.fixture
def ready(checkout: Checkout) -> Checkout:
    """Return a checkout in which nothing is to do, on a machine without any other Python."""
    checkout.fake_environment()
    checkout.environment["PYTHON"] = ""
    return checkout


class SilentIndex:
    """A package index that takes connections and never answers: pip stays at work for as long as a test needs."""

    def __init__(self, listener: socket.socket) -> None:
        """Serve on ``listener``."""
        self.listener = listener
        self.environment: dict[str, Any] = {
            "PIP_INDEX_URL": f"http://127.0.0.1:{listener.getsockname()[1]}/",
            "PIP_NO_INDEX": "",
            "PIP_FIND_LINKS": "",
        }

    def wait_for_pip(self) -> None:
        """Return when pip has connected."""
        self.listener.settimeout(PATIENCE)
        self.held = self.listener.accept()


@pytest.fixture
def silent_index() -> Iterator[SilentIndex]:
    """Return a package index that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield SilentIndex(listener)


def read_until(process: Any, words: str) -> None:
    """Read what a wrapper says until a line holds ``words``."""
    for line in process.stderr:
        if words in line:
            return
    pytest.fail(f"it ended without saying {words!r}")


WORDS = ("task", "--option=a  b", "it's", '"quoted"', "*", "$HOME", "\\", "", "-x", "ü")


def test_words_are_passed_on_as_they_are(ready: Checkout) -> None:
    """Blanks, quotes, globs, dollars, backslashes and empty words reach invoke unchanged, after the search root."""
    assert ready.given(*WORDS)["arguments"] == ["--search-root", str(ready.root), *WORDS]


def test_no_word_passes_none_on(ready: Checkout) -> None:
    """./lab alone leaves it to tasks.py to list the tasks."""
    assert ready.given()["arguments"] == ["--search-root", str(ready.root)]


def test_the_task_runs_in_the_callers_folder(ready: Checkout, tmp_path: Path) -> None:
    """A file named by the user is looked for where the user is; a random.py there harms nobody."""
    (tmp_path / "json.py").write_text("raise SystemExit('shadowed')")
    given = ready.given(folder=tmp_path)
    assert given["folder"] == str(tmp_path)
    assert given["path"] != str(tmp_path)


def test_a_link_to_a_link_finds_the_checkout(ready: Checkout, tmp_path: Path) -> None:
    """Absolute and relative symbolic links lead to the file's own folder."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "first").symlink_to(Path("..") / ready.root.name / "lab")
    (tmp_path / "second").symlink_to(tmp_path / "bin" / "first")
    given = ready.given(program=tmp_path / "second", folder=Path("/"))
    assert given["arguments"] == ["--search-root", str(ready.root)]


def test_a_path_through_a_linked_folder_is_the_same_checkout(ready: Checkout, tmp_path: Path) -> None:
    """The environment is known again by the checkout's physical path."""
    (tmp_path / "link").symlink_to(ready.root)
    assert ready.given(program=tmp_path / "link" / "lab")["arguments"] == ["--search-root", str(ready.root)]


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 130])
def test_the_exit_code_is_invokes(ready: Checkout, code: int) -> None:
    """What invoke leaves with, ./lab leaves with."""
    assert ready.run(CODE=str(code))[0] == code


def test_a_foreign_python_environment_is_left_behind(ready: Checkout, tmp_path: Path) -> None:
    """PYTHONPATH and PYTHONHOME of the caller do not reach the task."""
    (tmp_path / "json.py").write_text("raise SystemExit('shadowed')")
    assert ready.given(PYTHONPATH=str(tmp_path), PYTHONHOME="/nowhere")["arguments"]


def test_an_old_python_is_refused(checkout: Checkout) -> None:
    """The line names the version wanted, the one found and where it is."""
    checkout.python("python3", "old 3.9.18 /opt/python3.9")
    line = checkout.refusal(PYTHON="")
    assert "Python 3.10 or newer is needed; found Python 3.9.18 at /opt/python3.9" in line
    assert "apt-get install python3 python3-venv" in line


def test_no_python_is_refused(checkout: Checkout) -> None:
    """Without any Python the line says so."""
    assert "Python 3.10 or newer is needed; found none" in checkout.refusal(PYTHON="")


def test_a_python_without_venv_is_refused(checkout: Checkout) -> None:
    """Debian's split package is named for the very version that was found."""
    checkout.python("python3.10", "old 3.9.18 /opt/python3.9")
    checkout.python("python3", "bare 3.12.3 /usr/bin/python3.12")
    line = checkout.refusal(PYTHON="")
    assert "3.12.3 at /usr/bin/python3.12 has no venv module" in line
    assert "apt-get install python3.12-venv" in line


def test_the_named_python_is_the_only_one_asked(checkout: Checkout) -> None:
    """With PYTHON set, no other interpreter is taken in its place."""
    checkout.python("python3", "usable 3.12.3 /usr/bin/python3.12")
    assert "(PYTHON=/no/python)" in checkout.refusal(PYTHON="/no/python")


def test_a_python_that_cannot_be_used_is_passed_over(checkout: Checkout) -> None:
    """A stand-in that refuses to run, an old and a bare one are passed over for a usable one."""
    checkout.tool("python3.14", "exit 127")
    checkout.python("python3.13", "bare 3.13.0 /usr/bin/python3.13")
    checkout.python("python3.12", "old 3.9.18 /opt/python3.9")
    chosen = checkout.tool("chosen", "echo chosen: $* >&2; exit 5")
    checkout.python("python3", f"usable 3.11.7 {chosen}")
    assert checkout.run(PYTHON="") == (5, "", "chosen: -E -s -m forklab.bootstrap\n")


def apt_that_brings_venv(checkout: Checkout) -> Path:
    """Make us root on a Debian whose apt-get records its arguments and mends python3."""
    log = checkout.root.parent / "apt.log"
    mended = shlex.quote("usable 3.12.3 " + str(checkout.tool("mended", "exit 6")))
    checkout.tool("id", "echo 0")
    checkout.tool("chmod", f'exec {shutil.which("chmod")} "$@"')
    checkout.tool(
        "apt-get",
        f"echo $* >> {shlex.quote(str(log))}\n"
        f"printf '#!/bin/sh\\necho \"%s\"\\n' {mended} > {shlex.quote(str(checkout.tools / 'python3'))}\n"
        f"chmod +x {shlex.quote(str(checkout.tools / 'python3'))}",
    )
    return log


@pytest.mark.parametrize(
    ("found", "package"), [("bare 3.12.3 /usr/bin/python3.12", "python3.12-venv"), ("", "python3-venv")]
)
def test_root_on_debian_gets_what_is_missing(checkout: Checkout, found: str, package: str) -> None:
    """It is said, installed, and the interpreter is asked again."""
    log = apt_that_brings_venv(checkout)
    if found:
        checkout.python("python3", found)
    assert checkout.run(PYTHON="") == (6, "", f"lab: installing {package} with apt-get\n")
    assert f"install -qq -y --no-install-recommends {package}" in log.read_text()


def test_installing_can_be_forbidden(checkout: Checkout) -> None:
    """FORKLAB_ENGINE=off leaves the system as it is."""
    log = apt_that_brings_venv(checkout)
    assert "found none" in checkout.refusal(PYTHON="", FORKLAB_ENGINE="off")
    assert not log.exists()


def test_a_fresh_checkout_installs_once(checkout: Checkout) -> None:
    """The first run says its steps on standard error, the second has nothing to do and needs no other Python."""
    code, output, errors = checkout.run("task")
    assert (code, json.loads(output)["arguments"][-1]) == (0, "task")
    assert [line.split(" with ")[0] for line in errors.splitlines()] == [
        "lab: making .venv",
        "lab: installing the pinned packages",
    ]
    assert checkout.given("task", PYTHON="/no/python")["arguments"][-1] == "task"


def test_home_is_not_needed(checkout: Checkout) -> None:
    """Without HOME, nothing is written but in the checkout."""
    assert checkout.run(HOME="")[0] == 0
    assert not (checkout.root / "~").exists()


@pytest.mark.parametrize("harm", ["moved", "requirements", "python gone", "half-made"])
def test_what_is_not_current_is_noticed(ready: Checkout, harm: str) -> None:
    """A moved checkout, changed requirements, a Python that was removed and a half-made .venv call the installer."""
    assert bootstrap.is_current(ready.root)
    environment = ready.root / ".venv"
    if harm == "moved":
        ready.root = ready.root.rename(ready.root.parent / "moved")
    elif harm == "requirements":
        (ready.root / "requirements.txt").write_text("invoke==1.0 # changed\n")
    elif harm == "python gone":
        (environment / "bin" / "python").unlink()
        (environment / "bin" / "python").symlink_to("/no/python")
    else:
        (environment / "installed").unlink()
    assert not bootstrap.is_current(ready.root)
    installer = ready.tool("installer", "echo installer >&2; exit 5")
    ready.python("python3", f"usable 3.12.3 {installer}")
    assert ready.run() == (5, "", "installer\n")


def test_a_moved_checkout_is_made_anew(checkout: Checkout) -> None:
    """Nothing of the old environment stays, and the task runs from the new place."""
    checkout.fake_environment()
    (checkout.root / ".venv" / "stale").touch()
    checkout.root = checkout.root.rename(checkout.root.parent / "moved")
    code, output, errors = checkout.run()
    assert (code, json.loads(output)["arguments"]) == (0, ["--search-root", str(checkout.root)]), errors
    assert not (checkout.root / ".venv" / "stale").exists()


def test_without_network_it_is_one_line(checkout: Checkout) -> None:
    """A package index that nobody listens at is named as the cause, with the ways around it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    line = checkout.refusal(PIP_INDEX_URL=closed, PIP_NO_INDEX="", PIP_FIND_LINKS="")
    assert "cannot reach a package index" in line
    assert "PIP_FIND_LINKS" in line


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_installation_is_mended(checkout: Checkout, silent_index: SilentIndex, number: int) -> None:
    """Ctrl-C and kill -9 during the installation leave nothing that the next run takes for complete."""
    process = checkout.start(**silent_index.environment)
    silent_index.wait_for_pip()
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode in (-number, 128 + number)
    assert "Traceback" not in errors
    assert checkout.run()[0] == 0


def test_two_at_once_install_once(checkout: Checkout) -> None:
    """Of two on a fresh checkout one installs and the other waits; both then run their task."""
    both = [checkout.start("one"), checkout.start("two")]
    said = [process.communicate(timeout=PATIENCE) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("making .venv" in errors for _, errors in said) == 1


def test_an_orphaned_pip_keeps_others_out(checkout: Checkout, silent_index: SilentIndex) -> None:
    """When only the installer is killed, its pip goes on; the next run waits for it, for it inherited the lock."""
    real = shlex.quote(checkout.environment["PYTHON"])
    checkout.tool("python3", f'[ $2 = -c ] && echo "usable 3.12.3 $0" && exit; echo $$ >pid; exec {real} "$@"')
    first = checkout.start(**{**silent_index.environment, "PYTHON": ""})
    silent_index.wait_for_pip()
    os.kill(int((checkout.root / "pid").read_text()), signal.SIGKILL)
    second = checkout.start()
    read_until(second, "waiting")
    assert second.poll() is None
    os.killpg(first.pid, signal.SIGKILL)
    second.communicate(timeout=PATIENCE)
    assert second.returncode == 0


def test_nothing_to_do_asks_no_interpreter(ready: Checkout) -> None:
    """The quick path starts no Python but the task's own."""
    ready.tool("python3", f"touch {shlex.quote(str(ready.root / 'asked'))}")
    ready.given()
    assert not (ready.root / "asked").exists()
