"""What both modes of the client promise: every byte, a clear end, and a word when the server goes away."""

import hashlib
import os
import random
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deadline import PATIENCE, until
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
        assert server.got_end.wait(PATIENCE)
        assert server.received == b"hello\nqq\n q\n"


@pytest.mark.parametrize("mode", MODES)
def test_quit_line_ends_an_open_input(mode: str) -> None:
    """After the quit line the client leaves although its input stays open, and although the line came in pieces."""
    with peer(peers.echo) as server, running(server.port, mode) as client:
        client.type(b"one\nq")
        until(lambda: server.received == b"one\n", "the line before has arrived")
        client.type(b"\n")
        assert client.end_by_itself() == (0, "")


@pytest.mark.parametrize("mode", MODES)
def test_last_words_of_the_server(mode: str) -> None:
    """What the server sends after our FIN is printed too."""
    with peer(peers.echo_and_goodbye) as server:
        assert talk(server.port, b"hello\n", mode) == (0, b"hello\ngoodbye\n", "")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("behave", [peers.close_at_once, peers.echo_some, peers.reset, peers.reset_at_once])
def test_server_goes_away(mode: str, behave: peers.Behaviour) -> None:
    """A server that closes or resets before we are done: exit 1, and one line that says so."""
    with peer(behave) as server, running(server.port, mode) as client:
        client.type(b"first\nsecond\n")
        code, told = client.end_by_itself()
    assert code == 1
    assert one_line(told)
    assert "lost" in told


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("attempt", range(5))
def test_server_closes_without_reading(mode: str, attempt: int) -> None:
    """An input that ends at once does not hide that nobody read it, whichever FIN comes first."""
    with peer(peers.close_at_once) as server:
        code, _, told = talk(server.port, b"hello\n", mode)
    assert code == 1
    assert one_line(told)


@pytest.mark.parametrize("mode", MODES)
def test_server_closes_before_the_input_ends(mode: str) -> None:
    """A server that leaves after a complete answer, and before we had said that this was all, has left too early."""
    with peer(peers.echo_some) as server, running(server.port, mode) as client:
        client.round_trip()
        server.close()
        if mode == "fork-split":  # the reader notices by itself; an input that ended now would race with it
            code, told = client.end_by_itself()
        else:
            code, _, told = client.end()
    assert code == 1
    assert told == "client: the server closed the connection before we were done; what it had not sent back is lost\n"


@pytest.mark.parametrize("mode", MODES)
def test_server_goes_away_under_load(mode: str) -> None:
    """The same in the middle of a large input, when the client may be asleep in either direction."""
    with peer(peers.echo_some) as server:
        code, _, told = talk(server.port, b"x" * 8_000_000, mode)
    assert code == 1
    assert one_line(told)


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
def test_output_that_does_not_block(mode: str, tmp_path: Path) -> None:
    """Standard output with O_NONBLOCK, as some programs hand it on, gets every byte, however slowly it is read."""
    data = b"0123456789abcdef" * 65536
    (tmp_path / "input").write_bytes(data)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with (
        peer(peers.echo) as server,
        (tmp_path / "input").open("rb") as source,
        running(server.port, mode, stdin=source, stdout=writing) as client,
    ):
        os.close(writing)
        with os.fdopen(reading, "rb") as output:
            assert output.read() == data
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
def test_unreadable_standard_input(mode: str) -> None:
    """A standard input that is open for writing only is an error that says so."""
    unreadable = os.open(os.devnull, os.O_WRONLY)
    with peer(peers.echo) as server, running(server.port, mode, stdin=unreadable) as client:
        os.close(unreadable)
        assert client.end_by_itself() == (1, "client: cannot read standard input: Bad file descriptor\n")


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
    code, _, told = talk(9190, b"", "--host", "forklab.invalid")
    assert code == 4
    assert told.startswith("client: cannot connect to forklab.invalid:9190: the name does not resolve")
    assert one_line(told)


def test_each_address_is_tried() -> None:
    """``localhost`` may mean ::1 first; the server that listens on 127.0.0.1 alone is found all the same."""
    with peer(peers.echo) as server:
        assert talk(server.port, b"hello\n", "--host", "localhost") == (0, b"hello\n", "")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nope"], "'nope' is not a mode; there are fork-split, lock-step"),
        (["_lines"], "'_lines' is not a mode"),
        (["--port", "0"], "'0' is not a port; there are 1 to 65535"),
        (["--port", "65536"], "'65536' is not a port"),
        (["--port", "http"], "'http' is not a port"),
        (["--nope"], "--nope"),
    ],
)
def test_wrong_words(words: list[str], told: str) -> None:
    """A wrong word on the command line: exit 2, and one line with the word and what there is."""
    code, output, error = talk(9190, b"", *words)
    assert (code, output) == (2, b"")
    assert told in error
    assert one_line(error)


def one_line(told: str) -> bool:
    """Tell whether the user was told one thing, by the client and not by a traceback."""
    return told.startswith("client: ") and told.count("\n") == 1 and told.endswith("\n")
