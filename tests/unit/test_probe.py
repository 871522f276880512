"""The probe reads this very machine: processes, descriptors and sockets that the test has made itself."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deadline import until
from tests.unit.serving import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the probe reads Linux's /proc")

if sys.platform == "linux":
    from probe import processes, sockets
    from probe.features import features


def test_a_process_as_it_is() -> None:
    """PID, parent, state, name and memory of a sleeping child; brackets and blanks in a name do not confuse."""
    script = "import time; open('/proc/self/comm', 'w').write('a (b) c'); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        found = until(lambda: (p := processes.process(child.pid)) and p["state"] == "S" and p, "it sleeps")
        child.kill()
    assert (found["pid"], found["ppid"], found["name"]) == (child.pid, os.getpid(), "a (b) c")
    assert found["command"].startswith(sys.executable)
    assert 0 < found["pss_kib"] <= found["rss_kib"]


def test_a_zombie_has_no_memory() -> None:
    """State Z, and neither RSS nor PSS; once it is waited for it is gone."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    zombie = until(lambda: (p := processes.process(child.pid)) and p["state"] == "Z" and p, "it is a zombie")
    assert (zombie["rss_kib"], zombie["pss_kib"]) == (None, None)
    assert processes.descriptors(child.pid) == []
    child.wait()
    assert processes.process(child.pid) is None


def test_both_ends_of_a_pipe_have_one_inode() -> None:
    """Descriptors come with their kind, and with the inode by which two of them are known to be the same thing."""
    read, write = os.pipe()
    held = {row["fd"]: row for row in processes.descriptors(os.getpid())}
    assert held[read]["kind"] == held[write]["kind"] == "pipe"
    assert held[read]["inode"] == held[write]["inode"] == os.fstat(read).st_ino
    os.close(read)
    os.close(write)


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_connections_and_their_queues(family: int, host: str) -> None:
    """A connection's two ends, states, waiting bytes and inode; a client in the backlog has inode 0."""
    if family == socket.AF_INET6 and not Path("/proc/net/if_inet6").exists():
        pytest.skip("this kernel has no IPv6")
    with socket.create_server((host, 0), family=family) as listener, socket.socket(family) as client:
        client.connect(listener.getsockname())
        client.sendall(b"12345")
        ours = "[::1]:%d" if family == socket.AF_INET6 else "127.0.0.1:%d"
        name = ours % client.getsockname()[1]

        def rows() -> list[dict[str, object]]:
            return [row for row in sockets.sockets() if row["remote"] == name]

        (waiting,) = rows()
        assert (waiting["state"], waiting["inode"], waiting["rx_queue"]) == ("ESTABLISHED", 0, 5)
        connection, _ = listener.accept()
        (accepted,) = rows()
        assert accepted["inode"] == os.fstat(connection.fileno()).st_ino
        client.close()
        until(lambda: rows()[0]["state"] == "CLOSE_WAIT", "the FIN has arrived")
        connection.close()


def test_addresses_as_people_write_them() -> None:
    """The kernel prints 32-bit words in the processor's byte order; an IPv4 peer of an IPv6 socket is shown as IPv4."""
    if sys.byteorder == "big":
        pytest.skip("the words below are of a little-endian kernel")
    assert sockets.endpoint(4, "0100007F:23E6") == "127.0.0.1:9190"
    assert sockets.endpoint(6, "00000000000000000000000001000000:0050") == "[::1]:80"
    assert sockets.endpoint(6, "0000000000000000FFFF00000100007F:0050") == "127.0.0.1:80"


def test_features_are_tried() -> None:
    """Each feature is answered with yes or no, never with an exception; netlink's sock_diag needs no privilege."""
    found = features()["features"]
    assert set(found) == {"netem", "tbf", "nftables", "nfqueue", "sock_diag", "ptrace"}
    assert all(isinstance(works, bool) for works in found.values())


def test_the_command_answers_with_one_json_line() -> None:
    """A snapshot is one line of JSON with the documented keys."""
    command = [sys.executable, "-m", "probe", "snapshot"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1
    assert set(json.loads(done.stdout)) == {"time", "server", "processes", "descriptors", "sockets"}


@pytest.mark.parametrize(("listening", "code"), [(True, 0), (False, 1)])
def test_waiting_for_a_listener(listening: bool, code: int) -> None:
    """wait-listening answers 0 as soon as the port listens, and 1 when the time is over."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        if not listening:
            listener.close()
        command = [sys.executable, "-m", "probe", "wait-listening", "--port", str(port), "--seconds", "0.2"]
        assert subprocess.run(command, cwd=ROOT).returncode == code
