"""The faults without a lab: what a user may write, which way is chosen, and how a holder holds."""

import functools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from forklab import faults
from forklab.errors import LabError, UsageError
from forklab.registry import FAULTS, Registry
from tests.deadline import until

if sys.platform != "linux":
    pytest.skip("the probe runs on Linux", allow_module_level=True)

from probe.faults import _desk, _holder, _nfqueue, _qdisc, _shape, _system, corrupt, delay, jitter, limit_fds
from probe.faults._effect import Effect, Refused


@pytest.mark.parametrize(
    ("unit", "text", "value"),
    [
        ("time", "50ms", 0.05),
        ("time", "1.5s", 1.5),
        ("time", "2 min", 120),
        ("time", "50", None),
        ("time", "0.5ms", None),
        ("time", "301s", None),
        ("time", "-1s", None),
        ("time", "1e3s", None),
        ("rate", "1mbit", 1e6),
        ("rate", "1MBIT", 1e6),
        ("rate", "1mbyte", None),
        ("percent", "10", 0.1),
        ("percent", "10%", 0.1),
        ("percent", "0", None),
        ("percent", "ten", None),
        ("count", "0", 0),
        ("count", "1.5", None),
        ("process", "child", "child"),
        ("process", "42", "42"),
        ("process", "0", None),
        ("process", "somebody", None),
        ("connection", "10.0.0.2:4711", "10.0.0.2:4711"),
        ("connection", "10.0.0.2", None),
        ("signal", "TERM", "TERM"),
        ("signal", "15", "15"),
        ("signal", "TERM; ls", None),
        ("choice", "child", "child"),
        ("choice", "42", None),
    ],
)
def test_values_are_read_with_their_units(unit: str, text: str, value: Any) -> None:
    """In seconds, fractions, bits a second; what is none, or out of bounds, is refused with what it can be."""
    bounds = {"time": ("1ms", "300s"), "rate": ("1kbit", "10gbit"), "percent": ("0.1", "100"), "count": ("0", "9")}
    least, most = bounds.get(unit, ("", ""))
    parameter = faults.Parameter("by", unit, "", "how much", least, most, ("child",))
    if value is None:
        with pytest.raises(UsageError, match=f'by "{text}" is not'):
            parameter.read(text)
    else:
        assert parameter.read(text) == pytest.approx(value)


def test_every_fault_states_what_it_takes() -> None:
    """Each has a help, a default within its bounds, and a ``hold`` with just these parameters."""
    assert "delay" in FAULTS.ids()
    for fault in faults.known():
        assert all(parameter.help for parameter in fault.parameters), fault.id
        assert set(fault.read({})) == {parameter.name for parameter in fault.parameters}
        assert set(fault.targets) <= {"server", "client"}
        assert fault.place in ("namespaces", "network", "server")


def test_unknown_words_list_what_there_is() -> None:
    """A fault, or a parameter, that does not exist is answered with those that do."""
    with pytest.raises(UsageError, match=r"no fault \"delai\".*did you mean delay"):
        faults.find("delai")
    with pytest.raises(UsageError, match='delay has no parameter "ms"; there are: by'):
        faults.find("delay").read({"ms": "50"})


@pytest.mark.parametrize("stated", ["", "PARAMETERS = {'by': {'unit': 'miles', 'default': '1', 'help': 'x'}}"])
def test_a_fault_that_states_nonsense_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stated: str) -> None:
    """Not with a traceback, but with its name."""
    (tmp_path / "odd.py").write_text(f'"""Do something odd."""\n{stated}\n')
    monkeypatch.setattr(faults, "FAULTS", Registry("fault", tmp_path))
    with pytest.raises(LabError, match="PARAMETERS of odd"):
        faults.find("odd")
    faults.find.cache_clear()


class Kernel:
    """Pretends to be tc, ip and a set of features; keeps the disciplines of one device."""

    def __init__(self, *features: str) -> None:
        self.features = features
        self.chain: list[dict[str, Any]] = [{"kind": "noqueue", "handle": "0:", "root": True}]
        self.words: list[str] = []

    def tool(self, *words: str, script: str = "") -> str:
        """Run one of the commands that the faults use."""
        line = " ".join(words)
        if words[0] == "ip":
            return json.dumps(
                [{"ifname": "eth0", "flags": ["UP"], "addr_info": [{}]}, {"ifname": "lo", "flags": ["LOOPBACK"]}]
            )
        if "show" in words:
            return json.dumps(self.chain)
        if line == "tc qdisc del dev eth0 root":
            self.chain = []
        elif line.startswith("tc qdisc add dev eth0 "):
            place, _, rest = line.removeprefix("tc qdisc add dev eth0 ").partition(" handle ")
            handle, kind, *_ = rest.split()
            assert place == ("root" if not self._ours() else f"parent {self.chain[-1]['handle']}1")
            self.chain = [*self._ours(), {"kind": kind, "handle": handle, "root": place == "root"}]
            self.words.append(rest.partition(" ")[2])
        return ""

    def _ours(self) -> list[dict[str, Any]]:
        return [row for row in self.chain if row["handle"] != "0:"]

    def kinds(self) -> list[str]:
        """The disciplines from the root on."""
        return [row["kind"] for row in self.chain]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Kernel:
    """A kernel with netem and tbf, and an empty desk."""
    made = Kernel("netem", "tbf", "nfqueue")
    monkeypatch.setattr(_desk, "SHARED", tmp_path)
    monkeypatch.setattr(_system, "has", lambda feature: feature in made.features)
    for module in (_system, _qdisc):
        monkeypatch.setattr(module, "tool", made.tool)
    return made


@contextmanager
def other_way() -> Iterator[Effect]:
    """Stands for NFQUEUE."""
    yield Effect("nfqueue", "")


def test_netem_is_used_where_the_kernel_has_it(kernel: Kernel) -> None:
    """The words are tc's, and the discipline is gone afterwards."""
    with delay.hold(by=0.05) as effect:
        assert (effect.way, kernel.words) == ("netem", ["netem limit 10000 delay 50ms"])
        assert kernel.kinds() == ["netem"]
    assert kernel.kinds() == []


@pytest.mark.parametrize("hidden", [True, False])
def test_nfqueue_is_used_where_there_is_no_netem(kernel: Kernel, monkeypatch: pytest.MonkeyPatch, hidden: bool) -> None:
    """Whether the kernel lacks it or we are told to do without; tc is not touched."""
    if hidden:
        monkeypatch.setenv(_system.HIDDEN, "tbf,netem")
    else:
        kernel.features = ("nfqueue",)
    with _shape.shaped("delay", "", ["delay", "1ms"], other_way) as effect:
        assert effect.way == "nfqueue"
    assert kernel.words == []


def test_somebody_elses_discipline_stays(kernel: Kernel) -> None:
    """Then packets go by NFQUEUE although the kernel has netem."""
    theirs = [{"kind": "htb", "handle": "1:", "root": True}]
    kernel.chain = list(theirs)
    with _shape.shaped("delay", "", ["delay", "1ms"], other_way) as effect:
        assert effect.way == "nfqueue"
    assert kernel.chain == theirs


def test_disciplines_stand_in_one_chain(kernel: Kernel) -> None:
    """Each within the one before; when the first one goes the others stay, in their order."""
    with _qdisc.discipline("rate", "tbf", "rate", "1mbit"):
        with _qdisc.discipline("corrupt", "netem", "corrupt", "1%"), _qdisc.discipline("delay", "netem", "delay", "1s"):
            assert [row["handle"] for row in kernel.chain] == ["f0d1:", "f0d5:", "f0d6:"]
            assert _qdisc.present() == {"corrupt", "delay", "rate"}
        assert kernel.kinds() == ["tbf"]
        _qdisc.sweep({"rate"})
        assert kernel.kinds() == ["tbf"]
        _qdisc.sweep(set())
        assert kernel.kinds() == []


class Packets:
    """Pretends to be python3-netfilterqueue with packets that have come at once, and to be what sends their copies."""

    def __init__(self, count: int) -> None:
        self.left: list[int] = []
        self.waiting = [self.packet(number) for number in range(count)]

    def packet(self, number: int, version: int = 4) -> SimpleNamespace:
        """An IP packet that tells by its number that it has left: by itself, or as a copy once it was dropped."""
        content = bytes([version << 4, number])
        return SimpleNamespace(
            get_payload=lambda: content, drop=lambda: None, accept=functools.partial(self.left.append, number)
        )

    def copies(self, fault: str) -> SimpleNamespace:
        """What sends the copies."""
        return SimpleNamespace(send=lambda content: self.left.append(content[1]), close=lambda: None)

    def module(self) -> ModuleType:
        """The module to import."""
        made = ModuleType("netfilterqueue")
        vars(made).update(NetfilterQueue=lambda: self, COPY_META=1, COPY_PACKET=2)
        return made

    def bind(self, number: int, take: Any, *limits: int) -> None:
        """Remember who takes the packets."""
        self.take = take

    def get_fd(self) -> int:
        """No real one."""
        return -1

    def run(self, block: bool) -> None:
        """Hand over what is there."""
        while self.waiting:
            self.take(self.waiting.pop(0))

    def unbind(self) -> None:
        """Nothing to give back."""


@pytest.fixture
def packets(monkeypatch: pytest.MonkeyPatch) -> Packets:
    """Fifty packets; no rule is made."""
    made = Packets(50)
    monkeypatch.setitem(sys.modules, "netfilterqueue", made.module())
    monkeypatch.setattr(_nfqueue, "can", lambda feature: True)
    monkeypatch.setattr(_nfqueue, "Copies", made.copies)
    monkeypatch.setattr(_nfqueue, "leaving", lambda fault: other_way())
    return made


def test_a_line_keeps_the_order_and_the_time(packets: Packets) -> None:
    """Nothing leaves before its time; those of one time leave as they came; the rest leaves at the end."""
    begin = time.monotonic()
    with _nfqueue.line("delay", lambda now: now + 0.02) as line:
        line.queue.read()
        assert packets.left == []
        until(lambda: line.work() is None, "all have left")
        assert time.monotonic() - begin >= 0.02
        assert packets.left == list(range(50))
        assert line.evidence() == {"packets": 50, "most_under_way": 50}
        packets.waiting = [packets.packet(99, version=6), packets.packet(100)]
    assert packets.left[50:] == [99, 100]


def test_jitter_never_overtakes(packets: Packets, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty packets that come together leave as they came, over the span of times."""
    monkeypatch.setattr(_shape, "can", lambda feature: False)
    with jitter.hold(by=0.02, spread=0.02) as effect:
        (read,) = effect.watch.values()
        read()
        until(lambda: effect.work() is None, "all have left")
    assert packets.left == list(range(50))


def test_a_flipped_bit_is_behind_the_ip_header() -> None:
    """Exactly one bit differs, and none of the first twenty bytes."""
    packet = bytes([0x45]) + bytes(39)
    for _ in range(100):
        other = corrupt.flipped(packet)
        assert other[:20] == packet[:20]
        assert sum((a ^ b).bit_count() for a, b in zip(packet, other, strict=True)) == 1
    assert corrupt.flipped(packet[:20]) == packet[:20]


def test_room_for_descriptors_counts_the_gaps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new descriptor gets the lowest free number, so with 0, 1, 2 and 4 taken the second one needs a limit of 6."""
    monkeypatch.setattr(os, "listdir", lambda path: ["0", "1", "2", "4"])
    assert [limit_fds._limit(7, room) for room in range(4)] == [3, 5, 6, 7]


@pytest.fixture
def unit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """A fault that counts how often it was undone, and an empty desk."""
    made = ModuleType("probe.faults.nothing")
    made.undone = 0  # type: ignore[attr-defined]

    @contextmanager
    def hold(by: float) -> Iterator[Effect]:
        if by < 0:
            raise Refused("too little")
        try:
            yield Effect("pretence", f"nothing by {by}")
        finally:
            made.undone += 1  # type: ignore[attr-defined]

    made.hold = hold  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "probe.faults.nothing", made)
    monkeypatch.setattr(_desk, "SHARED", tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # only the main thread may
    return made


def told(seconds: float, by: float = 1.0) -> str:
    """What a holder is told."""
    return json.dumps({"fault": "nothing", "target": "server", "seconds": seconds, "parameters": {"by": by}})


def test_a_holder_ends_at_its_time(unit: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Two lines, two events, undone once, and its place is free again."""
    assert _holder.hold(told(0.05)) == 0
    held, ended = map(json.loads, capsys.readouterr().out.splitlines())
    assert held["held"]["did"] == "nothing by 1.0"
    assert ended["ended"]["reason"] == "time is up"
    assert [event["event"] for event in _desk.events()] == ["fault-begin", "fault-end"]
    assert (unit.undone, _desk.claims()) == (1, [])


def test_a_holder_answers_and_ends_when_told(unit: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """While it holds, a second one is refused; whoever ends it knows afterwards that it is undone."""
    thread = threading.Thread(target=_holder.hold, args=(told(60),))
    thread.start()
    until(lambda: _desk.call("nothing@server", _desk.ASK), "it answers")
    assert json.loads(_desk.call("nothing@server", _desk.ASK) or "")["way"] == "pretence"
    assert _holder.hold(told(60)) == 2
    assert unit.undone == 0
    assert _desk.call("nothing@server", _desk.HEAL) == ""
    assert unit.undone == 1
    thread.join()
    assert _desk.events()[-1]["reason"] == "cleared"


def test_a_refusal_is_one_line_and_leaves_nothing(unit: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """With its exit code: 3, inconclusive."""
    assert _holder.hold(told(1, by=-1)) == 3
    assert json.loads(capsys.readouterr().out) == {"refused": "too little", "code": 3}
    assert (_desk.claims(), _desk.events()) == ([], [])
