"""A fresh Debian gets its engine step by step, and each step that fails is one sentence."""

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from forklab import provide
from forklab.errors import LabError

FAKE_DOCKERD = f"""#!{sys.executable}
import json, os, socketserver
from http.server import BaseHTTPRequestHandler

class Version(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({{"ApiVersion": "1.43"}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def address_string(self):
        return "test"

print("dockerd says hello", os.getsid(0) == os.getpid(), flush=True)
socketserver.UnixStreamServer(os.environ["FAKE_SOCKET"], Version).handle_request()
"""


class Recorder:
    """A Run that notes the commands; those whose words begin a key of ``answers`` get that answer."""

    def __init__(self, answers: dict[str, tuple[int, str]] | None = None) -> None:
        self.answers = answers or {}
        self.commands: list[str] = []

    def __call__(self, argv: Sequence[str], say: object) -> tuple[int, str]:
        """Nothing is run."""
        words = " ".join(argv)
        self.commands.append(words)
        return next((answer for start, answer in self.answers.items() if words.startswith(start)), (0, ""))


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine of our own: no systemd, no process, no dockerd; a short path, for its socket."""
    name = Path(tempfile.mkdtemp(dir="/tmp" if os.name == "posix" else None))
    monkeypatch.setattr(provide, "SOCKET", name / "docker.sock")
    monkeypatch.setattr(provide, "LOG", name / "dockerd.log")
    monkeypatch.setattr(provide, "_SYSTEMD", name / "systemd")
    monkeypatch.setattr(provide, "_PROC", name / "proc")
    monkeypatch.setattr(provide, "_path", lambda: str(name / "bin"))
    monkeypatch.setenv("FAKE_SOCKET", str(name / "docker.sock"))
    yield name
    shutil.rmtree(name)


def put_dockerd(folder: Path, text: str) -> None:
    """Install ``text`` as dockerd."""
    (folder / "bin").mkdir(exist_ok=True)
    file = folder / "bin" / "dockerd"
    file.write_text(text)
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


def os_release(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> None:
    """Make this machine one with that os-release(5)."""
    (folder / "os-release").write_text(text)
    monkeypatch.setattr(provide, "_OS_RELEASE", folder / "os-release")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="os-release is Linux")
@pytest.mark.parametrize(
    ("text", "uid", "variable", "expected"),
    [
        ("ID=debian\n", 0, "", True),
        ('ID="ubuntu"\nID_LIKE=debian\n', 0, "", True),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\n', 0, "", True),
        ("ID=fedora\n", 0, "", False),
        ("", 0, "", False),
        ("ID=debian\n", 1000, "", False),
        ("ID=debian\n", 0, "off", False),
    ],
)
def test_where_it_is_possible(
    folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, uid: int, variable: str, expected: bool
) -> None:
    """Root on Debian or a relative, and not forbidden."""
    os_release(monkeypatch, folder, text)
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setenv("FORKLAB_ENGINE", variable)
    assert provide.possible() is expected


def test_elsewhere_it_is_not_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows there is no geteuid to ask."""
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.delattr(os, "geteuid", raising=False)
    assert provide.possible() is False


def test_packages_mends_updates_and_installs() -> None:
    """In this order, without recommended packages; what is installed is said."""
    record, said = Recorder(), list[str]()
    provide.packages(said.append, "one", "two", run=record)
    assert [command.split()[0:2] for command in record.commands[:2]] == [["dpkg", "--configure"], ["apt-get", "update"]]
    assert record.commands[2].endswith("install -y --no-install-recommends one two")
    assert said == ["installing one, two with apt-get"]


def test_a_source_that_is_away_does_not_keep_packages_out() -> None:
    """A failing `apt-get update` alone is no failure."""
    provide.packages(print, "one", run=Recorder({"apt-get update": (100, "E: third party")}))


def test_apt_that_fails_is_quoted() -> None:
    """What apt calls errors, also those of the update, and not its chatter."""
    log = "Reading package lists...\nE: Unable to locate package one\n"
    run = Recorder({"apt-get update": (100, "E: no network\n"), "apt-get -o": (100, log)})
    with pytest.raises(LabError, match="could not install one: E: no network / E: Unable to locate package one;"):
        provide.packages(print, "one", run=run)


@pytest.mark.skipif(os.name != "posix", reason="scripts and unix sockets")
class TestEngine:
    """``provide.engine`` on a machine of our own."""

    def test_installed_but_stopped_is_only_started(self, folder: Path) -> None:
        """No package is touched; dockerd runs in a session of its own, and its words are in the log."""
        put_dockerd(folder, FAKE_DOCKERD)
        record, said = Recorder(), list[str]()
        provide.engine(said.append, run=record)
        assert record.commands == []
        assert provide.LOG.read_text().startswith("dockerd says hello True")
        assert said[0].startswith("starting the engine: dockerd")
        assert said[-1].startswith("the Docker Engine answers")

    @pytest.mark.parametrize(("known", "extra"), [(0, " docker-cli"), (100, "")])
    def test_a_missing_engine_is_installed_first(self, folder: Path, known: int, extra: str) -> None:
        """The command is a package of its own where the distribution has it."""

        class Installing(Recorder):
            def __call__(self, argv: Sequence[str], say: object) -> tuple[int, str]:
                if "install" in argv:
                    put_dockerd(folder, FAKE_DOCKERD)
                return super().__call__(argv, say)

        record = Installing({"apt-cache": (known, "")})
        provide.engine(print, run=record)
        assert record.commands[-1].endswith(f"docker.io ca-certificates{extra}")

    def test_a_dockerd_that_dies_is_quoted_at_once(self, folder: Path) -> None:
        """Its last words and where to read more; nobody waits for the deadline."""
        put_dockerd(folder, "#!/bin/sh\necho level=info msg=chatter\necho failed to start daemon: no cgroups\nexit 1\n")
        with pytest.raises(LabError, match="ended at once with code 1: failed to start daemon: no cgroups; see"):
            provide.engine(print, run=Recorder())

    def test_a_dockerd_that_never_answers(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The deadline ends it, with its last words."""
        monkeypatch.setattr(provide, "_ANSWER_SECONDS", 0.5)
        put_dockerd(folder, "#!/bin/sh\necho thinking\nexec /bin/sleep 3\n")
        with pytest.raises(LabError, match=r"does not answer after 0\.5 s; its last words: .*; see"):
            provide.engine(print, run=Recorder())

    def test_one_that_is_starting_is_waited_for(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The package's own script may have started it: a second one would only die of the first one's PID file."""
        put_dockerd(folder, "#!/bin/sh\nexit 1\n")
        comm = folder / "proc" / "77" / "comm"
        comm.parent.mkdir(parents=True)
        comm.write_text("dockerd\n")
        if os.geteuid() != 0:
            pytest.skip("only root's dockerd counts")
        monkeypatch.setattr(provide, "_ANSWER_SECONDS", 0.2)
        with pytest.raises(LabError, match=r"does not answer after 0\.2 s; see its log"):
            provide.engine(print, run=Recorder())
        assert not provide.LOG.exists()

    def test_systemd_starts_it_where_it_runs(self, folder: Path) -> None:
        """And where that fails, its words and the journal are named."""
        put_dockerd(folder, FAKE_DOCKERD)
        (folder / "systemd").mkdir()
        record = Recorder({"systemctl": (1, "Job for docker.service failed.\n")})
        with pytest.raises(LabError, match=r"Job for docker.service failed\.; `journalctl -u docker`"):
            provide.engine(print, run=record)
        assert record.commands == ["systemctl start docker"]

    def test_the_real_run_answers_with_code_and_output(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Both streams, no input to wait for, a session of its own; what takes long is told."""
        monkeypatch.undo()
        monkeypatch.setattr(provide, "_TICK", 0.05)
        said: list[str] = []
        script = "read line; echo out; echo err >&2; sleep 0.3; exit 3"
        assert provide.run(["sh", "-c", script], said.append) == (3, "out\nerr\n")
        assert said[0].startswith("sh: still at work")
