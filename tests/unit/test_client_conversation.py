"""What both modes of the client promise: every byte, a clear end, and a word when the server goes away."""

import hashlib
import os
import random
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit import peers
from tests.unit.peers import peer, running, talk

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the client forks, and the tests read /proc")

MODES = ("fork-split", "lock-step")


@pytest.mark.parametrize("mode", MODES)
def test_every_byte_value(mode: str) -> None:
    """Each value of a byte comes back as itself, and with --raw the line ``q`` is data."""
    data = bytes(range(256)) + b"\nq\nQ\r\n\0\xff\nq"
    with peer(peers.echo) as server:
        assert talk(server.port, data, mode, "--raw") == (0, data, "")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 8 * 1024 * 1024])
def test_every_size(mode: str, size: int) -> None:
    """Any number of bytes comes back whole, also one line larger than all buffers on the way."""
    data = random.Random(size).randbytes(size).replace(b"\n", b"\0")
    with peer(peers.echo) as server:
        code, output, told = talk(server.port, data, mode, "--raw")
    assert (code, told, len(output)) == (0, "", size)
    assert hashlib.sha256(output).digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("end", [b"q\n", b"Q\r\n", b"q", b""])
def test_quit_line_is_not_sent(mode: str, end: bytes) -> None:
    """The server gets what stands before the quit line, then FIN, and nothing of what follows."""
    with peer(peers.echo) as server:
        rest = b"more\n" if end.endswith(b"\n") else b""
        assert talk(server.port, b"hello\nqq\n q\n" + end + rest, mode) == (0, b"hello\nqq\n q\n", "")
        assert server.got_end.wait(peers.PATIENCE)
        assert server.received == b"hello\nqq\n q\n"


@pytest.mark.parametrize("mode", MODES)
def test_quit_line_ends_an_open_input(mode: str) -> None:
    """After the quit line the client leaves although its input stays open, and although the line came in pieces."""
    with peer(peers.echo) as server, running(server.port, mode) as client:
        client.type(b"one\nq")
        peers.until(lambda: server.received == b"one\n", "the line before has arrived")
        client.type(b"\n")
        assert client.end_by_itself() == (0, "")


@pytest.mark.parametrize("mode", MODES)
def test_last_bytes_after_our_fin(mode: str) -> None:
    """What the server sends after our FIN is printed. (Lock-step has nothing under way by then, and gets just FIN.)"""
    data = b"" if mode == "lock-step" else b"all of this\n" * 20000
    with peer(peers.answer_after_end) as server:
        server.go_on.set()
        assert talk(server.port, data, mode) == (0, data, "")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("behave", [peers.close_at_once, peers.echo_some, peers.reset])
def test_server_goes_away(mode: str, behave: "peers.Behaviour") -> None:
    """A server that closes or resets before we are done: exit 1, and one line that says so."""
    with peer(behave) as server, running(server.port, mode) as client:
        client.type(b"first\n")
        if behave is not peers.reset:
            server.close()
            if mode == "lock-step":  # it looks at the server only in its turn
                client.type(b"second\n")
        code, told = client.end_by_itself()
    assert code == 1
    assert told.startswith("client: ")
    assert told.count("\n") == 1
    assert "the server" in told
    assert "lost" in told


@pytest.mark.parametrize("mode", MODES)
def test_server_goes_away_under_load(mode: str) -> None:
    """The same in the middle of a large input, when the client may be asleep in either direction."""
    with peer(peers.echo_some) as server:
        code, _output, told = talk(server.port, b"x" * 8_000_000, mode, "--raw")
    assert code == 1
    assert told.startswith("client: ")
    assert told.count("\n") == 1


@pytest.mark.parametrize("mode", MODES)
def test_nobody_reads_the_output(mode: str) -> None:
    """``client | head -1`` ends quietly, by SIGPIPE, as other programs do."""
    with peer(peers.echo) as server, running(server.port, mode) as client:
        assert client.stdout is not None
        client.stdout.close()
        client.type(b"hello\n")
        assert client.end_by_itself() == (-13, "")


@pytest.mark.parametrize("mode", MODES)
def test_output_on_a_full_disk(mode: str) -> None:
    """Output that cannot be written is an error of one line, not a lost byte."""
    with peer(peers.echo) as server, Path("/dev/full").open("wb") as full:
        code, _, told = talk(server.port, b"hello\n", mode, stdout=full)
    assert (code, told) == (1, "client: cannot write to standard output: No space left on device\n")


@pytest.mark.parametrize("mode", MODES)
def test_output_that_does_not_block(mode: str) -> None:
    """Standard output with O_NONBLOCK, as some programs hand it on, gets every byte, however slowly it is read."""
    data = b"0123456789abcde\n" * 65536
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with peer(peers.echo) as server, running(server.port, mode, "--raw", stdin=subprocess.PIPE, stdout=writing) as client:
        os.close(writing)
        if mode == "lock-step":
            data = data.replace(b"\n", b".")
        feeder = peers.feed(client, data)
        with open(reading, "rb") as output:  # noqa: PTH123 — a descriptor, not a path
            assert output.read() == data
        feeder.join()
        assert client.end_by_itself() == (0, "")


@pytest.mark.parametrize("mode", MODES)
def test_closed_standard_input(mode: str) -> None:
    """``client <&-`` is an empty input; the socket does not slip into the free number 0."""
    with peer(peers.echo) as server:
        command = f'exec "$0" -m client {mode} --host 127.0.0.1 --port {server.port} <&-'
        done = subprocess.run(["sh", "-c", command, sys.executable], cwd=peers.ROOT, capture_output=True, timeout=15)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert server.received == b""


@pytest.mark.parametrize("mode", MODES)
def test_closed_standard_output(mode: str) -> None:
    """``client >&-`` does not swallow what it cannot print."""
    with peer(peers.echo) as server:
        command = f'echo hello | "$0" -m client {mode} --host 127.0.0.1 --port {server.port} >&-'
        done = subprocess.run(["sh", "-c", command, sys.executable], cwd=peers.ROOT, capture_output=True, timeout=15)
    assert done.returncode == 1
    assert done.stderr.startswith(b"client: cannot write to standard output")


@pytest.mark.parametrize("mode", MODES)
def test_unreadable_standard_input(mode: str, tmp_path: Path) -> None:
    """A folder as standard input is an error that says so."""
    folder = os.open(tmp_path, os.O_RDONLY)
    with peer(peers.echo) as server, running(server.port, mode, stdin=folder) as client:
        os.close(folder)
        assert client.end_by_itself() == (1, "client: cannot read standard input: Is a directory\n")


@pytest.mark.parametrize("mode", MODES)
def test_nobody_to_connect_to(mode: str) -> None:
    """A port where nobody listens: exit 4, and one line with the address and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    code, _, told = talk(port, b"", mode)
    assert code == 4
    assert told == f"client: cannot connect to 127.0.0.1:{port}: Connection refused (127.0.0.1). " + (
        "Is the server up? ./lab status\n"
    )


def test_unknown_host() -> None:
    """A name that does not resolve: exit 4, and one line with the name."""
    code, _, told = talk(1, b"", "--host", "no such host.invalid")
    # The last --host on the command line wins, so the words are put in front and overridden there; see below.
    assert code == 4
    assert told.count("\n") == 1
