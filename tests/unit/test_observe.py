"""What the host makes of the probe's answer."""

import json
import threading
from typing import Any, cast

import pytest
from docker.errors import APIError
from docker.models.containers import Container

from forklab import observe
from forklab.errors import LabError
from forklab.observe import Snapshot


def process(pid: int, ppid: int, state: str = "S", start: float = 1.0) -> dict[str, Any]:
    """A row of the probe's answer."""
    command = {"name": "python3", "command": "python3 -m server fork"}
    return {"pid": pid, "ppid": ppid, "state": state, "start": start, "threads": 1, **command} | {
        "rss_kib": 9000,
        "pss_kib": None,
    }


def row(inode: int, remote: str, state: str = "ESTABLISHED", holders: tuple[int, ...] = ()) -> dict[str, Any]:
    """A socket of the server's port in the probe's answer."""
    queues = {"rx_queue": 0, "tx_queue": 0}
    return {"inode": inode, "family": 4, "local": "172.18.0.2:9190", "remote": remote, "state": state, **queues} | {
        "holders": list(holders)
    }


def answer(processes: list[dict[str, Any]], sockets: list[dict[str, Any]]) -> str:
    """The probe's line, with a descriptor 6 for each holder of a socket."""
    held = [
        {"pid": pid, "fd": 6, "kind": "socket", "target": f"socket:[{s['inode']}]", "inode": s["inode"]}
        for s in sockets
        for pid in s["holders"]
    ]
    consistent = {"whole": True, "seconds": 0.01, "began": [], "ended": [], "sockets": []}
    seen = {"time": 1.5, "server": 7, "processes": processes, "descriptors": held, "sockets": sockets}
    return json.dumps(seen | {"holders": {}, "source": "sock_diag", "consistent": consistent})


SEEN = Snapshot.parse(
    answer(
        [process(9, 7, start=3.0), process(8, 7, "Z", start=2.0), process(7, 1), process(10, 9, start=4.0)],
        [
            row(11, "0.0.0.0:0", "LISTEN", (7,)),
            row(12, "172.18.0.4:50000", holders=(7, 9)),
            row(0, "172.18.0.5:50001"),
            row(0, "172.18.0.6:50002", "TIME_WAIT"),
        ],
    )
)


def test_the_tree_has_parents_before_children_in_order_of_start() -> None:
    """Whatever order the probe met them in."""
    assert [(depth, found.pid) for depth, found in SEEN.tree()] == [(0, 7), (1, 8), (1, 9), (2, 10)]


def test_connections_are_told_from_the_listener_and_from_what_is_over() -> None:
    """LISTEN is no connection; only ESTABLISHED is open at both ends."""
    assert [found.remote_address for found in SEEN.connections()] == ["172.18.0.4", "172.18.0.5", "172.18.0.6"]
    assert [found.remote for found in SEEN.established()] == ["172.18.0.4:50000", "172.18.0.5:50001"]


def test_zombies_and_holders_are_found() -> None:
    """A zombie by its state, the holders of a socket by its inode."""
    assert [found.pid for found in SEEN.zombies()] == [8]
    assert [(held.pid, held.fd) for held in SEEN.holders(12)] == [(7, 6), (9, 6)]


@pytest.mark.parametrize("text", ["", "Traceback", "[]", '{"time": 1}'])
def test_an_answer_that_is_none_says_what_to_do(text: str) -> None:
    """An old image's probe may answer in other words."""
    with pytest.raises(LabError, match=r"\./lab build"):
        Snapshot.parse(text)


class FakeProbe:
    """A container that answers, or refuses as the engine does."""

    def __init__(self, result: Any) -> None:
        self.result, self.name = result, "lab-probe-1"

    def exec_run(self, words: list[str], demux: bool) -> Any:
        """As docker's SDK."""
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


class Answer:
    """As docker's ExecResult."""

    def __init__(self, exit_code: int, out: bytes | None, err: bytes | None = None) -> None:
        self.exit_code = exit_code
        self.output = (out, err)


def probe(result: Any) -> Container:
    """A fake one."""
    return cast(Container, FakeProbe(result))


def test_a_probe_that_answers_is_parsed() -> None:
    """From the engine's answer to a snapshot."""
    assert observe.snapshot(probe(Answer(0, answer([process(7, 1)], []).encode()))).server == 7


NET_TCP = b"""\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:23E6 00000000:0000 0A 00000000:00000000 00:00000000 00000000  9190        0 11 1 0 100 0 0 10 0
   1: 020012AC:23E6 030012AC:C350 01 00000000:00000000 02:000AFC80 00000000  9190        0 12 2 0 20 4 30 10 -1
   2: 020012AC:23E6 030012AC:C351 01 00000012:00000000 01:00000032 00000003  9190        0 13 2 0 20 4 30 10 -1
"""


def test_timers_are_read_by_inode() -> None:
    """None on a listener, keepalive in two hours, a retransmission in half a second after three that failed."""
    read = observe.timers(probe(Answer(1, NET_TCP, b"cat: /proc/net/tcp6: No such file or directory")))
    assert read == {
        11: observe.Timer("none", 0, 0),
        12: observe.Timer("keepalive", 7200, 0),
        13: observe.Timer("retransmission", 0.5, 3),
    }


def test_a_number_of_the_kernels() -> None:
    """It is a number, or there is none of that name."""
    assert observe.sysctl(probe(Answer(0, b"15\n")), "net.ipv4.tcp_retries2") == 15
    with pytest.raises(LabError, match=r"no net\.ipv4\.tcp_retries9"):
        observe.sysctl(probe(Answer(1, b"", b"cat: no such file")), "net.ipv4.tcp_retries9")


def test_a_connection_is_found_by_its_peer() -> None:
    """By address and port; None for one that there is not."""
    assert [row.inode for row in [SEEN.connection("172.18.0.4:50000")] if row] == [12]
    assert SEEN.connection("172.18.0.4:1") is None


def test_a_probe_that_does_not_run_says_what_to_do() -> None:
    """The engine refuses to run a command in a container that has ended."""
    with pytest.raises(LabError, match=r"lab-probe-1 is not running; \./lab up"):
        observe.snapshot(probe(APIError("409 Conflict")))


def test_an_exec_that_the_engine_forgets_ends_with_the_container() -> None:
    """Engine 20.10 leaves the connection open when the last process of the PID namespace dies under it."""

    class Forgotten(FakeProbe):
        status = "running"

        def exec_run(self, words: list[str], demux: bool) -> Any:
            """Never answered."""
            threading.Event().wait()

        def reload(self) -> None:
            """Looked at, and it has ended."""
            self.status = "exited"

    with pytest.raises(LabError, match=r"lab-probe-1 is not running; \./lab up"):
        observe.snapshot(cast(Container, Forgotten(None)))


def test_a_probe_that_fails_gives_its_last_line() -> None:
    """A traceback is never shown whole."""
    with pytest.raises(LabError, match="ValueError: x"):
        observe.snapshot(probe(Answer(1, None, b"Traceback\n  ...\nValueError: x\n")))


@pytest.mark.parametrize(("code", "listens"), [(0, True), (1, False), (137, False)])
def test_listening_is_the_probes_exit_code(code: int, listens: bool) -> None:
    """137: the kernel killed it together with the server's PID namespace."""
    assert observe.wait_listening(probe(Answer(code, None)), 1) is listens
