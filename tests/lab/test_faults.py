"""Each fault, measured from outside against the same lab without it, and what is left when it is over: nothing."""

import itertools
import json
import re
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from forklab.errors import Inconclusive, LabError, UsageError
from forklab.faults import HIDDEN, Faults
from forklab.observe import Snapshot
from protocol import exits
from tests.deadline import until
from tests.lab.conftest import Hand, Lone, Rig
from tests.lab.test_commands import Shell

PORT = 9999
RECEIVER = """
import json, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE: room for all of them, should we be slow to read
s.bind(("", int(sys.argv[1])))
s.settimeout(20)
print("ready", flush=True)
came = []
while (data := s.recv(100)) != b"end":
    came.append(data.decode())
print(json.dumps(came))
"""
"""Collects the datagrams that reach the server's network namespace."""

KILL_HOLDER = """kill -9 $(grep -lz '^{"fault": "'$0'"' /proc/[0-9]*/cmdline | cut -d / -f 3)"""
"""Its last argument is what to hold, in JSON."""

EVERYTHING = "nft list tables; tc qdisc; echo; python3 -m probe faults; python3 -m probe snapshot --details"
"""In one go: to run a command in a container takes its time."""


def running_clients(rig: Rig) -> list[Any]:
    """The containers of clients that run."""
    filters: dict[str, Any] = {"label": [f"com.docker.compose.project={rig.project}", "com.docker.compose.oneoff=True"]}
    return list(rig.client.containers.list(filters=filters, ignore_removed=True))


@pytest.fixture(scope="module")
def client(rig: Rig) -> Iterator[Hand]:
    """One client container for all tests: the only one, so that it is the target "client"."""
    with rig.hand() as made:
        yield made


@pytest.fixture
def faults(rig: Rig) -> Iterator[Faults]:
    """The faults of the lab under test; each test leaves none, no rule, discipline, container, child or zombie."""
    made = Faults(rig.client, rig.project, rig.container, lambda: running_clients(rig))
    yield made
    found, _, documents = run(rig, "sh", "-c", EVERYTHING).rpartition("\n\n")
    left, seen = map(json.loads, documents.splitlines())
    if left["held"] or left["left"]:
        made.clear()
    assert (left["held"], left["left"]) == ([], [])
    assert ours(found) == CLEAN
    assert "T" not in [process["state"] for process in seen["processes"]]
    if len(seen["processes"]) != 1:
        until(lambda: len(rig.snapshot().processes) == 1, "all children are gone, none is a zombie", patience=5)
    mine: dict[str, Any] = {"label": ["forklab.fault", f"com.docker.compose.project={rig.project}"]}
    until(lambda: not rig.client.containers.list(all=True, filters=mine, ignore_removed=True), "no holder is left")


@pytest.fixture
def hand(client: Hand, faults: Faults) -> Iterator[Hand]:
    """The client; each test closes what it has opened, before its faults are looked for."""
    yield client
    client.close()


def beside(rig: Rig, lone: Lone) -> Faults:
    """The faults of a server of its own."""
    return Faults(rig.client, rig.project, {"server": lone.container, "probe": lone.probe}.__getitem__, list)


def run(rig: Rig, *words: str) -> str:
    """Run a command in the probe; what it printed."""
    code, said = rig.container("probe").exec_run(list(words))
    assert isinstance(said, bytes)
    assert code == 0, said
    return said.decode()


def rules(rig: Rig) -> tuple[list[str], list[str]]:
    """What the network namespace of the server holds, but for the table of Docker's name server."""
    return ours(run(rig, "sh", "-c", "nft list tables; tc qdisc"))


def ours(listed: str) -> tuple[list[str], list[str]]:
    """The tables and disciplines in what nft and tc have listed."""
    lines = [line.split() for line in listed.splitlines()]
    tables = [" ".join(words[1:]) for words in lines if words[0] == "table" and words[-1] != "nat"]
    return tables, [words[1] for words in lines if words[0] == "qdisc"]


CLEAN: tuple[list[str], list[str]] = ([], ["noqueue", "noqueue"])
"""Without any fault: no table, and what the kernel itself has put on the devices lo and eth0."""


def arrivals(rig: Rig, hand: Hand, count: int) -> list[int]:
    """The numbers of the datagrams that came to the server, in their order, of ``count`` that ``hand`` sent."""
    api, probe = rig.client.api, rig.container("probe")
    made = api.exec_create(str(probe.id), ["python3", "-c", RECEIVER, str(PORT)])
    pieces = api.exec_start(made["Id"], stream=True)
    said = b""
    while b"\n" not in said:
        said += next(pieces)
    hand.datagrams(count, PORT)
    return [int(each) for each in json.loads((said + b"".join(pieces)).removeprefix(b"ready\n"))]


def median_ms(hand: Hand, name: str, count: int = 30) -> float:
    """The median round trip in milliseconds."""
    return float(statistics.median(hand.round_trips(name, count))) * 1000


def within(least: float, most: float, measure: Callable[[], float]) -> float:
    """Measure up to three times until it is within these bounds; on a busy machine one attempt may be disturbed."""
    tried = []
    for _ in range(3):
        tried.append(measure())
        if least <= tried[-1] <= most:
            return tried[-1]
    pytest.fail(f"not from {least:g} to {most:g}: {', '.join(f'{value:g}' for value in tried)}")


def states(seen: Snapshot) -> list[str]:
    """The states of the server's processes, sorted."""
    return sorted(process.state for process in seen.processes)


def recorders(lone: Lone) -> list[int]:
    """The PIDs of the recorders that run."""
    return [process.pid for process in lone.snapshot().processes if process.name == "recorder"]


def log(rig: Rig) -> str:
    """The server's last lines."""
    return rig.container("server").logs(tail=8).decode()


def test_delay_adds_its_time_to_the_round_trip(rig: Rig, hand: Hand, faults: Faults) -> None:
    """50 ms more at the median, within 5 ms; afterwards it is as before."""
    (name,) = hand.open(1, "x")
    without = median_ms(hand, name)
    with faults.held("delay", by="50ms") as held:
        within(50, without + 55, lambda: median_ms(hand, name))
    assert held.state["way"] in ("netem", "nfqueue")
    within(0, without + 5, lambda: median_ms(hand, name))
    assert held.ended is not None
    if held.state["way"] == "nfqueue":
        assert held.ended["evidence"]["packets"] >= 30


def test_delay_at_the_client(rig: Rig, hand: Hand, faults: Faults) -> None:
    """The same beside a client: what the client sends is late; the server's namespace is not touched."""
    (name,) = hand.open(1, "x")
    without = median_ms(hand, name)
    with faults.held("delay", by="50ms", target="client") as held:
        assert rules(rig) == CLEAN
        within(50, without + 55, lambda: median_ms(hand, name))
        assert held.state["target"].startswith("client-")
        assert faults.look()["held"][0]["target"] == held.state["target"]
    within(0, without + 5, lambda: median_ms(hand, name))
    with rig.hand() as other:
        other.open(1, "x")
        with pytest.raises(UsageError, match="means 2 clients"):
            faults.start("delay", {}, target="client")
    with pytest.raises(UsageError, match="for the server alone"):
        faults.start("limit-fds", {}, target="client")


def test_jitter_spreads_the_round_trips(rig: Rig, hand: Hand, faults: Faults) -> None:
    """The additional times are spread evenly from 5 to 35 ms: a tenth is below 8 ms, half below 20, nine below 32."""
    (name,) = hand.open(1, "x")

    def worst() -> float:
        """By how many milliseconds a quantile is off; late ones, which a busy machine makes later, count a third."""
        without = median_ms(hand, name)
        with faults.held("jitter", by="20ms", spread="15ms"):
            taken = [1000 * seconds for seconds in hand.round_trips(name, 100)]
        assert min(taken) >= 5
        lowest, *_, middle, _, _, _, highest = (each - without for each in statistics.quantiles(taken, n=10))
        return float(max(abs(lowest - 8), abs(middle - 20), 32 - highest, (highest - 32) / 3))

    within(0, 5, worst)


def test_loss_is_counted_at_the_receiver(rig: Rig, hand: Hand, faults: Faults) -> None:
    """Of 2,000 packets all arrive without it, and with 10 % of loss 10 ± 2 % do not."""
    assert len(arrivals(rig, hand, 2000)) == 2000
    with faults.held("loss", percent="10") as held:
        lost = 2000 - len(arrivals(rig, hand, 2000))
    assert 160 <= lost <= 240
    assert held.ended is not None
    assert lost <= held.ended["evidence"]["dropped"] <= lost + 20


def test_rate_limits_what_leaves(rig: Rig, hand: Hand, faults: Faults) -> None:
    """1 Mbit/s is 1 ± 0.1 where the frames arrive; without it there is many times more."""
    (name,) = hand.open(1, "x")
    assert hand.flow(name, 0, 0.3) > 20e6
    hand.close()
    (name,) = hand.open(1, "x")
    with faults.held("rate", to="1mbit"):
        within(0.9e6, 1.1e6, lambda: hand.flow(name, 0.5, 2))


def test_duplicate_reorder_and_corrupt(rig: Rig, hand: Hand, faults: Faults) -> None:
    """What leaves a client: 20 % of 1,000 datagrams come twice, 10 % late, 20 % not at all, for their checksum."""

    def bad_checksums() -> int:
        names, values = (line.split() for line in run(rig, "cat", "/proc/net/snmp").splitlines() if "Udp:" in line)
        return int(values[names.index("InCsumErrors")])

    hand.open(0)
    with faults.held("duplicate", percent="20", target="client"):
        came = arrivals(rig, hand, 1000)
    assert set(came) == set(range(1000))
    assert 140 <= len(came) - 1000 <= 260

    with faults.held("reorder", percent="10", by="20ms", target="client"):
        came = arrivals(rig, hand, 1000)
    assert sorted(came) == list(range(1000))
    overtaken = sum(number < highest for number, highest in zip(came, itertools.accumulate(came, max), strict=True))
    assert 50 <= overtaken <= 150

    before = bad_checksums()
    with faults.held("corrupt", percent="20", target="client"):
        came = arrivals(rig, hand, 1000)
    assert 140 <= 1000 - len(came) <= 260
    assert came == sorted(came)
    assert bad_checksums() > before
    (name,) = hand.open(1, "x")
    with faults.held("corrupt", percent="5"):
        assert hand.finish(name, 1 << 17) == {"same": True, "end": "FIN"}


@pytest.mark.parametrize("direction", ["both", "in", "out"])
def test_partition_drops_everything_and_heals(rig: Rig, hand: Hand, faults: Faults, direction: str) -> None:
    """Nothing comes through while it lasts; afterwards the same connection goes on, and nothing is lost."""
    (name,) = hand.open(1, "x")
    with faults.held("partition", direction=direction) as held:
        hand.send(name, "in the dark\n")
        until(lambda: faults.look()["held"][0]["evidence"]["dropped"] >= 2, "packets are dropped, and sent again")
        (connection,) = rig.snapshot().established()
        # Only where nothing that arrives is dropped has the server an echo that waits to be acknowledged.
        assert (connection.tx_queue > 0) == (direction == "out")
    assert hand.back(name, 12) == "in the dark\n"
    assert hand.say(name, "light\n") == "light\n"
    assert held.state["way"].startswith("nftables")


def test_reset_is_seen_by_the_peer(rig: Rig, hand: Hand, faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    """One, the one that is named, then all: each peer sees ECONNRESET, nobody else does; by either of the two ways."""
    for without, way in (("", "sock_destroy"), ("sock_destroy", "crafted RST")):
        monkeypatch.setenv(HIDDEN, without)
        names = {hand.open(1, "x")[0] for _ in range(3)}
        state = faults.start("reset", {"which": "one"}).state
        (first,) = state["evidence"]["reset"]
        assert state["way"] == way
        assert hand.end_of(first) == "RST"
        second, third = names - {first}
        faults.start("reset", {"which": second})
        assert hand.end_of(second) == "RST"
        assert hand.say(third, "still here\n") == "still here\n"
        faults.start("reset", {"which": "all"})
        assert hand.end_of(third) == "RST"
        until(lambda: not rig.snapshot().established(), "the server's ends are gone")
    with pytest.raises(Inconclusive, match="no connection to reset"):
        faults.start("reset", {})


def test_pause_stops_and_goes_on(rig: Rig, hand: Hand, faults: Faults) -> None:
    """Paused processes are in state T and answer nobody, though the kernel takes clients; then all is answered."""
    (name,) = hand.open(1, "x")
    with faults.held("pause"):
        assert states(rig.snapshot()) == ["T", "T"]
        hand.send(name, "asleep\n")
        (late,) = hand.open(1)
        assert [row.inode for row in rig.snapshot().established() if row.remote == late] == [0]
    until(lambda: "T" not in states(rig.snapshot()), "they run")
    assert hand.back(name, 7) == "asleep\n"
    assert hand.say(late, "hello") == "hello"
    with faults.held("pause", who="child"):
        assert states(rig.snapshot()).count("T") == 1


def test_pause_leaves_what_was_stopped_before(rig: Rig, hand: Hand, faults: Faults) -> None:
    """A process that a user has stopped by hand stays stopped when the fault ends."""
    hand.open(2, "x")
    seen = rig.snapshot()
    mine, _ = (process.pid for process in seen.processes if process.ppid == seen.server)
    rig.kill(mine, 19)
    until(lambda: "T" in states(rig.snapshot()), "it is stopped")
    with faults.held("pause"):
        assert states(rig.snapshot()) == ["T", "T", "T"]
    assert [process.pid for process in rig.snapshot().processes if process.state == "T"] == [mine]
    rig.kill(mine, 18)


def test_pid_1_is_paused_another_way_and_not_killed_from_within(rig: Rig) -> None:
    """A server that is PID 1 cannot be stopped by a signal: ptrace holds it. SIGKILL is refused, with what to do."""
    with rig.server("fork", init=False) as lone:
        alone = beside(rig, lone)
        with alone.held("pause") as held:
            assert held.state["way"] == "ptrace and SIGSTOP"
            assert states(lone.snapshot()) == ["t"]
        until(lambda: states(lone.snapshot()) == ["S"], "it runs")
        with pytest.raises(Inconclusive, match="--who container"):
            alone.start("kill", {"who": "parent"})


def test_kill_of_a_child(rig: Rig, hand: Hand, faults: Faults) -> None:
    """The client of the killed child sees its end, the other one nothing; the parent has waited for it."""
    first, second = (hand.open(1, "x")[0] for _ in range(2))
    held = faults.start("kill", {})
    assert held.wait(20)
    assert hand.end_of(first) in ("FIN", "RST")
    assert hand.say(second, "here") == "here"
    until(lambda: "SIGKILL" in log(rig), "the server says so")
    with pytest.raises(UsageError, match="no signal"):
        faults.start("kill", {"signal": "NOSUCH"})
    hand.close()
    until(lambda: len(rig.snapshot().processes) == 1, "nobody is served")
    with pytest.raises(Inconclusive, match="no process"):
        faults.start("kill", {})


def test_kill_of_recorder_parent_and_container(rig: Rig) -> None:
    """The recorder is forked anew by its keeper; without its parent, or killed as a whole, the container ends."""
    with rig.server("fork", "--service", "store", tmpfs={"/data": "uid=9190"}) as lone:
        alone = beside(rig, lone)
        before = recorders(lone)
        alone.start("kill", {"who": "recorder"})
        until(lambda: recorders(lone) not in ([], before), "another recorder")
        held = alone.start("kill", {"who": "parent"})
        until(lambda: held.wait(1), "the command has its end")
        assert lone.container.wait(timeout=20)["StatusCode"] == 137
    with rig.server("fork") as lone:
        held = beside(rig, lone).start("kill", {"who": "container"})
        assert held.state["way"] == "docker kill"
        lone.container.reload()
        assert lone.container.attrs["State"]["ExitCode"] == 137


def test_limit_pids_makes_fork_fail(rig: Rig, hand: Hand, faults: Faults) -> None:
    """With room for one more process a second client waits until it is over; fork fails, and nobody is lost."""
    with faults.held("limit-pids", room="1") as held:
        (name,) = hand.open(1, "x")
        (late,) = hand.open(1)
        hand.send(late, "patience\n")
        until(lambda: f"nobody to serve {late}" in log(rig), "fork has failed")
        assert len(rig.snapshot().processes) == 2
        assert hand.say(name, "served") == "served"
    assert hand.back(late, 9) == "patience\n"
    assert held.state["evidence"]["limit"] == 2048


def test_limit_fds_makes_accept_fail(rig: Rig, hand: Hand, faults: Faults) -> None:
    """With no descriptor to spare a client stays in the backlog; then it is served, and the limits are as before.

    They are so, too, when the holder is killed.
    """

    def limits() -> set[str]:
        files = [f"/proc/{process.pid}/limits" for process in rig.snapshot().processes]
        return {line for line in run(rig, "cat", *files).splitlines() if "open files" in line}

    before = limits()
    hand.visit(1)  # the server tells a want of resources once until it has accepted somebody again
    until(lambda: len(rig.snapshot().processes) == 1, "the visitor has gone")
    with faults.held("limit-fds"):
        assert limits() != before
        (name,) = hand.open(1)
        hand.send(name, "patience\n")
        until(lambda: "Too many open files" in log(rig), "accept has failed")
        assert [row.inode for row in rig.snapshot().established()] == [0]
    assert hand.back(name, 9) == "patience\n"
    assert limits() == before
    held = faults.start("limit-fds", {}, seconds="600s")
    assert limits() != before
    run(rig, "sh", "-c", KILL_HOLDER, "limit-fds")
    until(lambda: limits() == before, "the limits are put back")
    assert held.wait(20)
    assert faults.clear()["removed"] == ["limit-fds@server"]


def test_slow_reader_fills_the_buffers(rig: Rig, hand: Hand, faults: Faults) -> None:
    """What it does not read fills both buffers of its connection at the server; another client is served."""
    with faults.held("slow-reader", connections="2"):
        until(
            lambda: sum(row.tx_queue > 0 and row.rx_queue > 0 for row in rig.snapshot().established()) == 2,
            "both directions are full",
        )
        (name,) = hand.open(1, "x")
        assert hand.say(name, "well served") == "well served"


def test_half_open_peers_are_not_noticed(rig: Rig, faults: Faults) -> None:
    """The peers are gone and no FIN came: the server's ends stay ESTABLISHED, its processes wait; then all is reset."""
    with faults.held("half-open", connections="2") as held:
        vanished = sorted(held.state["evidence"]["clients"])
        until(lambda: len(rig.snapshot().processes) == 3, "two children serve")
        until(lambda: sorted(row.remote for row in rig.snapshot().established()) == vanished, "both are established")
        ends = [row.state for row in rig.snapshot().connections() if row.remote in vanished]
        assert ends == ["ESTABLISHED", "ESTABLISHED"]


def test_faults_of_different_kinds_stack(rig: Rig, hand: Hand, faults: Faults) -> None:
    """Delay, jitter, loss and rate at once: the times add up, and each ends by itself without ending the others."""
    (name,) = hand.open(1, "x")
    without = median_ms(hand, name)
    with faults.held("jitter", by="20ms", spread="1ms") as jitter, faults.held("delay", by="40ms") as delay:
        with faults.held("rate", to="10mbit"), faults.held("loss", percent="1"):
            within(59, without + 70, lambda: median_ms(hand, name, 15))
            assert [state["fault"] for state in faults.look()["held"]] == ["jitter", "delay", "rate", "loss"]
        jitter.heal()
        within(40, without + 45, lambda: median_ms(hand, name, 15))
        assert delay.ended is None


def test_the_same_fault_twice_is_refused(rig: Rig, hand: Hand, faults: Faults) -> None:
    """The message says what to do; the first one stays. Of two that start at one moment exactly one is held."""
    with faults.held("loss") as held:
        with pytest.raises(UsageError, match=r"fault\.clear"):
            faults.start("loss", {"percent": "20"})
        assert held.ended is None
    with faults.held("limit-pids", room="3") as held:
        with pytest.raises(UsageError, match="held already"):
            faults.start("limit-pids", {"room": "0"})
        # Three are served: the second one has taken no place.
        assert len({hand.open(1, "x")[0] for _ in range(3)}) == 3
    made: list[Any] = []

    def start() -> None:
        try:
            made.append(faults.start("partition", {"direction": "in"}, seconds="600s"))
        except UsageError as error:
            made.append(error)

    both = [threading.Thread(target=start) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert sorted(isinstance(each, UsageError) for each in made) == [False, True]
    assert faults.clear()["ended"] == ["partition@server"]


def test_it_ends_by_itself_and_is_told(rig: Rig, faults: Faults) -> None:
    """At its time, with nobody to end it; begin and end are events on CLOCK_MONOTONIC, with name and parameters."""
    before = time.monotonic()
    held = faults.start("delay", {"by": "20ms"}, seconds="0.5s")
    assert held.wait(20)
    begin, end = faults.look()["events"][-2:]
    assert (begin["event"], begin["fault"], begin["parameters"]) == ("fault-begin", "delay", {"by": 0.02})
    assert (end["event"], end["fault"], end["reason"]) == ("fault-end", "delay", "time is up")
    assert before <= begin["time"] < begin["until"] <= end["time"] <= time.monotonic()
    assert begin["until"] - begin["time"] == pytest.approx(0.5)


def test_only_what_it_put_there_is_removed(rig: Rig, faults: Faults) -> None:
    """A table, a rule and a queueing discipline that a user has added by hand stay, whatever ends the fault."""
    try:
        run(rig, "nft", "add table inet mine; add chain inet mine c; add rule inet mine c counter")
        run(rig, "sh", "-c", "tc qdisc add dev eth0 root handle 1: tbf rate 1gbit burst 2mb latency 9ms")
        theirs = rules(rig)
        with faults.held("loss"), faults.held("delay"), faults.held("partition", direction="in"):
            with pytest.raises(LabError, match="tc qdisc del dev eth0 root"):
                faults.start("rate", {})
            assert len(rules(rig)[0]) == 4
        assert rules(rig) == theirs
        faults.start("delay", {}, seconds="600s")
        assert faults.clear()["ended"] == ["delay@server"]
        assert rules(rig) == theirs
    finally:
        run(rig, "nft", "delete", "table", "inet", "mine")
        run(rig, "sh", "-c", "tc qdisc del dev eth0 root")


def test_a_killed_holder_is_found_and_cleared(rig: Rig, hand: Hand, faults: Faults) -> None:
    """Packets pass a delay whose holder was killed; what is left is shown, cleared, and stands in nobody's way.

    Also no process stays stopped: who is served is answered.
    """
    (name,) = hand.open(1, "x")
    for fault in ("delay", "partition", "rate", "pause"):
        held = faults.start(fault, {}, seconds="600s")
        run(rig, "sh", "-c", KILL_HOLDER, fault)
        assert held.wait(20)
        assert any(fault in left for left in faults.look()["left"])
        if fault == "delay":
            within(0, 20, lambda: median_ms(hand, name))
            with faults.held("delay"):  # the same once more
                assert median_ms(hand, name, 5) >= 50
        else:
            assert faults.clear()["removed"]
            assert hand.say(name, "well") == "well"


def test_what_the_kernel_lacks_is_refused(rig: Rig, faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without netem and NFQUEUE, tbf or nftables: INCONCLUSIVE, with what is missing. A partition finds another way."""
    for missing, fault, named in (
        ("netem,nfqueue", "delay", "NFQUEUE"),
        ("netem,nfqueue", "corrupt", "NFQUEUE"),
        ("tbf", "rate", "sch_tbf"),
        ("nftables", "loss", "nftables"),
    ):
        monkeypatch.setenv(HIDDEN, missing)
        with pytest.raises(Inconclusive, match=named):
            faults.start(fault, {})
    assert rules(rig) == CLEAN
    monkeypatch.setenv(HIDDEN, "nfqueue")
    with faults.held("partition") as held:
        assert held.state["way"] == "nftables, the sender is told"


@pytest.fixture
def typed(rig: Rig) -> Shell:
    """The commands as a user types them, on the lab under test."""
    return Shell(rig.project)


def held_now(faults: Faults) -> list[str]:
    """The ids of what is held."""
    return [state["fault"] for state in faults.look()["held"]]


def holding(typed: Shell, fault: str, *words: str) -> "subprocess.Popen[str]":
    """A command that holds a fault, and has said so: until then Ctrl-C breaks off what has not begun."""
    command = typed.start(f"fault.{fault}", *words)
    assert command.stderr
    said = iter(command.stderr.readline, "")
    assert any(line.startswith(f"{fault} at server: ") for line in said)
    return command


def killed(command: "subprocess.Popen[str]") -> None:
    """End a command in the way that it cannot do anything about."""
    command.kill()
    command.communicate()


def test_a_killed_command_leaves_the_fault_to_its_time(rig: Rig, hand: Hand, faults: Faults, typed: Shell) -> None:
    """Kill -9 of the command: the fault goes on, is seen, and is gone at its time; fault.clear ends it at once."""
    (name,) = hand.open(1, "x")
    killed(holding(typed, "delay", "--for", "600s"))
    assert median_ms(hand, name, 5) >= 50
    (state,) = typed.json("status")["faults"]
    assert state["fault"] == "delay"
    assert typed.json("fault.list")["held"][0]["way"] == state["way"]
    assert typed.json("fault.clear")["ended"] == ["delay@server"]
    assert rules(rig) == CLEAN
    within(0, 20, lambda: median_ms(hand, name, 9))

    def outlives() -> bool:
        killed(holding(typed, "delay", "--for", "2s"))
        return held_now(faults) == ["delay"]

    assert any(outlives() for _ in range(3))  # on a busy machine its time may be over before the command is killed
    until(lambda: not held_now(faults), "it ends by itself")
    begin, end = faults.look()["events"][-2:]
    assert end["reason"] == "time is up"
    assert begin["until"] <= end["time"] < begin["until"] + 3


def test_ctrl_c_ends_the_fault(rig: Rig, faults: Faults, typed: Shell) -> None:
    """The command answers, as at its time, with what it did; nothing is left."""
    command = holding(typed, "partition", "--for", "600s", "--json")
    command.send_signal(signal.SIGINT)
    out, err = command.communicate(timeout=60)
    assert command.returncode == exits.OK, err
    assert "Traceback" not in err
    assert json.loads(out)["ended"]["reason"] == "ended by its command"
    assert held_now(faults) == []


def test_up_ends_all_faults(rig: Rig, faults: Faults, typed: Shell) -> None:
    """Of a lab that is cut off, paused and left with a rule by a killed holder, up makes one that passes its proof."""
    faults.start("loss", {"percent": "100"}, seconds="600s")
    run(rig, "sh", "-c", KILL_HOLDER, "loss")
    faults.start("partition", {}, seconds="600s")
    faults.start("pause", {}, seconds="600s")
    done = typed.run("up", "--json")
    assert done.returncode == exits.OK, done.stderr
    assert "faults ended" in done.stderr
    assert json.loads(done.stdout)["faults"] == []
    assert rules(rig) == CLEAN


def test_wrong_values(faults: Faults) -> None:
    """Each is refused with the value and what it can be, and nothing is done."""
    for fault, given, seconds, named in (
        ("delay", {"by": "fast"}, "", '"fast" is not a time from 1ms to 10s'),
        ("delay", {"by": "50"}, "", '"50" is not a time'),
        ("delay", {}, "1000s", '"1000s" is not a time from 0.1s to 600s'),
        ("loss", {"percent": "101"}, "", "from 0.1 to 100"),
        ("jitter", {"by": "5ms", "spread": "6ms"}, "", "spread 6ms is more than by 5ms"),
        ("partition", {"direction": "up"}, "", "both | in | out"),
        ("kill", {"who": "999999"}, "", "there are:"),
    ):
        with pytest.raises(UsageError, match=re.escape(named)):
            faults.start(fault, given, seconds)
    assert faults.look()["held"] == []


@pytest.mark.parametrize(
    ("words", "named", "code"),
    [
        (["fault.delay", "--target", "nobody"], '"nobody"', exits.USAGE),
        (["fault.kill", "--who", "recorder"], "no process", exits.INCONCLUSIVE),
    ],
)
def test_wrong_words(rig: Rig, typed: Shell, words: list[str], named: str, code: int) -> None:
    """One line, and the right exit code."""
    done = typed.run(*words)
    assert done.returncode == code, done.stderr
    assert named in done.stderr
    assert done.stderr.count("\n") == 1
