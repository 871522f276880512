"""What the service store promises: each line that came back is in the file, once, whole and in its place."""

import errno
import fcntl
import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from protocol import events, exits
from server.services import NotReady
from server.services import store as service
from tests.deadline import PATIENCE, until
from tests.unit.serving import MODELS, ROOT, Server, hear, say, serving
from tests.unit.storing import Known, line, named, processes, storm

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the server runs in Linux containers")

LONGEST = 258048
"""Bytes of the longest line, where pages have 4 KiB and pipes may have 1 MiB."""


@contextmanager
def storing(tmp_path: Path, model: str, *options: str, pool: int | None = None) -> Iterator[tuple[Server, Path]]:
    """A server with the service store, and its file; no process of it is left afterwards."""
    file = tmp_path / "store.log"
    with serving(tmp_path, model, "--service", "store", "--store", str(file), *options, pool=pool) as server:
        yield server, file
    until(lambda: not processes(file), "keeper and recorder have left")


@pytest.fixture(params=MODELS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Server, Path]]:
    """A server of each model."""
    with storing(tmp_path, request.param) as running:
        yield running


def test_each_line_comes_back_and_is_in_the_file(store: tuple[Server, Path]) -> None:
    """Lines around PIPE_BUF, an empty one, any byte, many in one segment and one in many: echoed, and recorded so."""
    server, file = store
    lines = [b"", b"\r", bytes(range(10)) + bytes(range(11, 256)), *(b"x" * size for size in (4094, 4095, 4096, 4097))]
    text = b"".join(one + b"\n" for one in lines)
    with server.connect() as client:
        assert say(client, text) == text
        assert file.read_bytes() == text
        for byte in (b"s", b"l", b"o", b"w"):
            client.sendall(byte)
        client.sendall(b"\n")
        assert hear(client, 5) == b"slow\n"
    assert file.read_bytes() == text + b"slow\n"


def test_a_last_line_without_its_end(store: tuple[Server, Path]) -> None:
    """Before FIN it comes back as it was sent, and gets a newline in the file."""
    server, file = store
    with server.connect() as client:
        client.sendall(b"one\ntwo")
        client.shutdown(socket.SHUT_WR)
        assert hear(client, 100) == b"one\ntwo"
    assert file.read_bytes() == b"one\ntwo\n"


def test_the_longest_line_and_one_longer(store: tuple[Server, Path]) -> None:
    """The longest is recorded; one byte more is refused with a line that says so, then FIN, and nothing is recorded."""
    server, file = store
    longest = b"x" * (LONGEST - 1) + b"\n"
    with server.connect() as client:
        assert say(client, longest) == longest
    with server.connect() as client:
        client.sendall(b"x" + longest + b"more\n")
        said = hear(client, 1000)
    assert said == b"ERROR a line is longer than 258048 bytes; it was not recorded, nor what follows it\n"
    assert file.read_bytes() == longest
    until(lambda: len(server.events(events.DISCONNECTED)) == 2, "both have left")
    reasons = {event["reason"] for event in server.events(events.DISCONNECTED)}
    assert reasons == {events.REASON_END, events.REASON_UNRECORDED}


def test_sigterm_leaves_nothing_behind(store: tuple[Server, Path]) -> None:
    """What came back before and while the server drains is in the file once it has ended, and so are its processes."""
    server, file = store
    with server.connect() as client:
        before, during = (b"".join(line(1, number) for number in some) for some in (range(50), range(50, 100)))
        assert say(client, before) == before
        server.process.terminate()
        until(lambda: server.events(events.DRAINING), "draining")
        assert say(client, during) == during
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
        assert server.process.wait(15) == exits.OK
        assert not processes(file)
    assert file.read_bytes() == before + during
    assert os.stat(file).st_blocks * 512 < len(before + during) + 65536, "what was reserved is given back"


@pytest.mark.parametrize("model", MODELS)
def test_half_a_line_when_time_is_up(model: str, tmp_path: Path) -> None:
    """The server's own cut is no end of a line: what came before it of one is not recorded, whatever the model."""
    with storing(tmp_path, model, "--drain", "0.1") as (server, file), server.connect() as client:
        client.sendall(b"whole\nPAY 1000")
        assert hear(client, 6) == b"whole\n"
        assert server.stop() == exits.OK
        assert file.read_bytes() == b"whole\n"


@pytest.mark.parametrize("model", MODELS)
def test_whoever_dies(model: str, tmp_path: Path) -> None:
    """50 clients, while recorders and children are killed, at last the server: what came back is in the file."""
    pool = 50 if model == "prefork" else 0
    options = ["--max-connections", "50"] if pool else []
    with storing(tmp_path, model, *options, pool=pool) as (server, file):
        chance, size = random.Random(1), 0

        def victims() -> list[int]:
            nonlocal size
            if server.process.poll() is not None:
                return []  # its children serve to the end
            if chance.random() >= 0.8:
                return list(server.children())
            before, size = size, file.stat().st_size
            # A recorder that has recorded: where each is killed while it begins, clients are told that none answers.
            return [pid for pid, name in processes(file).items() if name == "recorder"] if size > before else []

        def enough(known: Known) -> bool:
            return known.came_back() >= 1000 and len(server.events(events.RECORDER_DIED)) >= 3

        # Children serve to the end when the server is dead; where there are none, this is never reached.
        lines = 1000 if model in ("fork", "prefork") else 2000
        known = storm(server, 50, lines, victims, pause=0.02, enough=enough)
        assert server.process.poll() is not None, "the clients were done before the server was killed"
        until(lambda: not processes(file), "no process is left")
        assert known.errors == []
        known.check(file)


@pytest.mark.parametrize("model", MODELS)
def test_all_die_at_once(model: str, tmp_path: Path) -> None:
    """As with their container: what came back is in the file, and half a line at its end goes at the next start."""
    with storing(tmp_path, model) as (server, file):

        def enough(known: Known) -> bool:
            if known.came_back() < 500:
                return False
            for pid in processes(file):
                with suppress(ProcessLookupError):  # a child whose client has just left
                    os.kill(pid, signal.SIGKILL)
            return True

        known = storm(server, 20, 500, victims=list, pause=0.02, enough=enough)
        until(lambda: not processes(file), "no process is left")
    with storing(tmp_path, "fork"):
        known.check(file)


@pytest.mark.parametrize("model", MODELS)
def test_half_a_line_in_the_pipe(model: str, tmp_path: Path) -> None:
    """Half a line that somebody has left in the pipe is not recorded, and not glued to the next one."""
    with storing(tmp_path, model) as (server, file):
        recorder = named(file, "recorder")
        with server.connect() as client:
            say(client, b"before\n")
            os.kill(recorder, signal.SIGSTOP)
            # As a writer leaves them that is killed between its first byte and its last: a few microseconds, too few
            # for a test to meet. server/_stream.py: its number on the slate says that it writes, its bytes are in.
            with open(held(recorder, "/memfd:slate", os.O_RDWR), "r+b", buffering=0) as slate:
                slate.seek(8)
                slate.write((1).to_bytes(8, sys.byteorder))
            with open(held(recorder, "pipe:", os.O_RDONLY), "wb", buffering=0) as pipe:
                pipe.write(b"half a line")
            client.sendall(b"after\n")
            os.kill(recorder, signal.SIGCONT)
            assert hear(client, 6) == b"after\n"
        assert file.read_bytes() == b"before\nafter\n"


def held(pid: int, what: str, mode: int) -> Path:
    """Where to open anew what a process has open in this mode; standard output and error are not meant."""
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        flags = int(Path(f"/proc/{pid}/fdinfo/{fd.name}").read_text().split()[3], 8)
        if int(fd.name) > 2 and str(fd.readlink()).startswith(what) and flags & os.O_ACCMODE == mode:
            return fd
    raise AssertionError(f"process {pid} holds no {what}")


def test_a_recorder_that_hangs(tmp_path: Path) -> None:
    """While it is stopped nothing comes back, and clients are told so in bounded time, whatever the model."""
    with ExitStack() as stack:  # at once, for each takes its five seconds
        (stores, clients) = ([], [])
        for model in MODELS:
            (tmp_path / model).mkdir()
            stores.append(stack.enter_context(storing(tmp_path / model, model)))
        recorders = [named(file, "recorder") for _, file in stores]
        for (server, _), recorder in zip(stores, recorders, strict=True):
            clients.append(stack.enter_context(server.connect()))
            say(clients[-1], b"before\n")
            os.kill(recorder, signal.SIGSTOP)
            clients[-1].sendall(b"while\n")
        for client in clients:
            said = hear(client, 1000)
            assert said == b"ERROR the recorder does not answer; whether this line was recorded is not known\n"
            client.close()
        for (server, file), recorder in zip(stores, recorders, strict=True):
            os.kill(recorder, signal.SIGCONT)
            with server.connect() as client:
                assert say(client, b"after\n") == b"after\n"
            assert file.read_bytes() == b"before\nwhile\nafter\n"


def test_keeper_and_recorder_both_gone(tmp_path: Path) -> None:
    """Clients are told at once; what came back is in the file."""
    with storing(tmp_path, "fork") as (server, file), server.connect() as client:
        say(client, b"before\n")
        os.kill(named(file, "keeper"), signal.SIGKILL)
        assert say(client, b"without a keeper\n") == b"without a keeper\n"
        os.kill(named(file, "recorder"), signal.SIGKILL)
        client.sendall(b"lost\n")
        assert hear(client, 1000).startswith(b"ERROR the recorder is gone; ")
        assert file.read_bytes() == b"before\nwithout a keeper\n"


def test_a_recorder_that_cannot_begin(tmp_path: Path) -> None:
    """Without a descriptor for it no recorder begins; it is told, and tried again until there is one."""
    with storing(tmp_path, "fork") as (server, file), server.connect() as client:
        assert say(client, b"before\n") == b"before\n"
        keeper, recorder = named(file, "keeper"), named(file, "recorder")
        hard = resource.prlimit(keeper, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(keeper, resource.RLIMIT_NOFILE, (3, hard))
        os.kill(recorder, signal.SIGKILL)
        client.sendall(b"while\n")
        told = until(lambda: server.events(events.RECORD_FAILED), "it is told")
        assert told[0]["error"] == os.strerror(errno.EMFILE)
        until(lambda: server.events(events.RECORDER_DIED)[1:], "the keeper has seen its end")
        resource.prlimit(keeper, resource.RLIMIT_NOFILE, (hard, hard))
        assert hear(client, 6) == b"while\n"
        assert say(client, b"after\n") == b"after\n"
        assert file.read_bytes() == b"before\nwhile\nafter\n"


REFUSED = """
import errno, os, sys
from server import _recorder
from server._stream import Stream

def call_it(name):
    raise OSError(errno.ENFILE, os.strerror(errno.ENFILE))

_recorder._call_it = call_it
_recorder.start(Stream(), os.open(sys.argv[1], os.O_RDWR | os.O_CREAT), sys.argv[1], _recorder.NEVER)
"""


def test_a_keeper_that_cannot_begin(tmp_path: Path) -> None:
    """The server is told why, and so does not start; nobody is left."""
    file = tmp_path / "store.log"
    environment = os.environ | {"forklab.store": str(file)}
    command = [sys.executable, "-c", REFUSED, str(file)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert os.strerror(errno.ENFILE) in done.stderr
    until(lambda: not processes(file), "nobody is left")


FAILING_DISK = """
import errno, os
from server._serve import main

def fdatasync(_):
    raise OSError(errno.EIO, os.strerror(errno.EIO))

os.fdatasync = fdatasync
raise SystemExit(main())
"""


def test_a_disk_that_fails(tmp_path: Path) -> None:
    """When fdatasync(2) has failed nobody goes on: no line comes back, and the client is told at once."""
    file = tmp_path / "store.log"
    words = {"model": "fork", "module": "fork", "service": "store", "host": "127.0.0.1", "port": "0", "fsync": "0.0"}
    words |= {"backlog": "5", "spare": "0", "idle-timeout": "0", "drain": "10", "log": "json", "store": str(file)}
    environment = os.environ | {f"forklab.{key}": value for key, value in words.items()}
    command, pipe = [sys.executable, "-c", FAILING_DISK], subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe) as process:
        assert process.stdout
        said = iter(map(json.loads, process.stdout))
        port = next(event for event in said if event["event"] == events.LISTENING)["port"]
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
            client.sendall(b"x\n")
            assert hear(client, 1000).startswith(b"ERROR the recorder is gone; ")
        process.terminate()
        (failed,) = [event for event in said if event["event"] == events.RECORD_FAILED]
        assert process.wait(PATIENCE) == exits.OK
    assert (failed["error"], failed.get("retry")) == (os.strerror(errno.EIO), None)


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    """Where space cannot be reserved, the line that finds none waits; when there is some, it is recorded once."""
    (tmp_path / "store.log").write_bytes(b"x\n" * 50_000)  # the limit is to meet this file and not the log
    with storing(tmp_path, "fork") as (server, file), server.connect() as client:
        recorder = named(file, "recorder")
        resource.prlimit(recorder, resource.RLIMIT_FSIZE, (100_050, resource.RLIM_INFINITY))
        client.sendall(b"y" * 99 + b"\n")
        until(lambda: server.events(events.RECORD_FAILED), "it is told")
        assert server.events(events.RECORD_FAILED)[0]["error"] == "File too large"
        resource.prlimit(recorder, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert hear(client, 100) == b"y" * 99 + b"\n"
        assert len(server.events(events.RECORD_FAILED)) == 1
        assert file.read_bytes()[100_000:] == b"y" * 99 + b"\n"


@pytest.mark.parametrize("policy", ["never", "always", "0.05"])
def test_fsync(policy: str, tmp_path: Path) -> None:
    """With each policy lines come back and are recorded."""
    with storing(tmp_path, "fork", "--fsync", policy) as (server, file), server.connect() as client:
        for number in range(20):
            assert say(client, b"%d\n" % number) == b"%d\n" % number
        assert file.read_bytes().split() == [b"%d" % number for number in range(20)]


@pytest.mark.parametrize("policy", ["inf", "0.0", "1.0"])
def test_a_new_name_is_on_the_disk(policy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory is synced for the file if fsync is wanted, and always for what is moved aside, before it is cut."""
    file, synced = tmp_path / "store.log", []
    monkeypatch.setattr(
        os, "fsync", lambda fd: synced.append((os.readlink(f"/proc/self/fd/{fd}"), os.stat(file).st_size))
    )
    os.close(service._open(str(file), float(policy)))
    assert synced == ([] if policy == "inf" else [(str(tmp_path), 0)])
    synced.clear()
    file.write_bytes(b"whole\nhal")
    os.close(service._open(str(file), float(policy)))
    assert synced[:2] == [(f"{file}.half", 9), (str(tmp_path), 9)]


def test_the_file_grows_on_and_half_a_line_goes(tmp_path: Path) -> None:
    """A second server appends; half a line, which the death of a whole container may leave, is moved aside and told."""
    (tmp_path / "store.log").write_bytes(b"whole\nhal")
    with storing(tmp_path, "fork") as (server, file), server.connect() as client:
        assert server.events(events.HALF_LINE)[0]["bytes"] == 3
        say(client, b"more\n")
        assert file.read_bytes() == b"whole\nmore\n"
        assert (tmp_path / "store.log.half").read_bytes() == b"hal"


def test_one_server_a_file(tmp_path: Path) -> None:
    """A second server on the same file is refused with one line, as is what is no regular file or cannot be opened."""
    with storing(tmp_path, "fork") as (_, file):
        for path, why in (
            (file, "another server does"),
            (tmp_path, "Is a directory"),
            ("/dev/null", "no regular file"),
        ):
            words = ["fork", "--service", "store", "--store", str(path), "--host", "127.0.0.1", "--port", "0"]
            done = subprocess.run([sys.executable, "-m", "server", *words], cwd=ROOT, capture_output=True, text=True)
            assert done.returncode == exits.LAB_FAILED
            assert why in done.stderr
            assert done.stderr.count("\n") == 1


def test_a_pipe_of_two_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user whose pipes are beyond the soft limit gets no more: the server does not start, and says which limit."""

    def beyond_the_limit(fd: int, command: int, argument: int = 0) -> int:
        if command == fcntl.F_SETPIPE_SZ:
            raise PermissionError
        return 2 * resource.getpagesize()

    monkeypatch.setattr(fcntl, "fcntl", beyond_the_limit)
    with pytest.raises(NotReady, match="/proc/sys/fs/pipe-user-pages-soft"):
        service.prepare({"store": str(tmp_path / "store.log"), "fsync": "inf"})


@pytest.mark.parametrize(
    "words", [["--store", "x"], ["--fsync", "always"], ["--service", "store", "--fsync", "at times"]]
)
def test_wrong_words(words: list[str]) -> None:
    """Options of store need it, and a policy is one of three; exit code 2."""
    done = subprocess.run([sys.executable, "-m", "server", "fork", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == exits.USAGE
    assert done.stderr.count("\n") == 1
