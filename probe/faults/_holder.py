"""Holds a fault: applies it, answers what it is, and undoes it, whatever becomes of who asked for it."""

import importlib
import json
import os
import select
import signal
import socket
import time
from dataclasses import dataclass, field
from types import FrameType, ModuleType
from typing import Any

from probe.faults import _desk
from probe.faults._effect import Effect, Refused
from probe.faults._who import send
from protocol import exits

CLEARED, ENDED, EXPIRED, STOPPED, OVER = "cleared", "ended by its command", "time is up", "stopped", "nothing is left"


@dataclass
class Told:
    """What to hold: ``fault`` (an id), the name of its ``target``, for how many ``seconds``, ``parameters``."""

    fault: str
    target: str
    seconds: float
    parameters: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)
    """What only the host knows and ``hold`` wants too, such as the server's address."""

    @property
    def key(self) -> str:
        """Its place on the desk: one of a kind at a target."""
        return f"{self.fault}@{self.target}"


def hold(words: str) -> int:
    """Apply a fault and hold it until its end; ``words`` is a ``Told`` in JSON.

    Prints a JSON line when it is applied, ``{"held": …}`` or ``{"refused": …, "code": …}``, and one when it is undone,
    ``{"ended": …}``. That nobody reads them any more disturbs nothing.

    Returns:
        The exit code.
    """
    told = Told(**json.loads(words))
    unit = importlib.import_module(f"probe.faults.{told.fault.replace('-', '_')}")
    desk = _desk.claim(told.key)
    if desk is None:
        if "inside" in told.facts:  # was started for us
            send(told.facts["inside"]["pid"], signal.SIGTERM)
        _say({"refused": f"{told.fault} is held already; ./lab fault.clear ends it", "code": exits.USAGE})
        return exits.USAGE
    try:
        _say({"ended": Holder(told, unit, desk).run()})
    except Refused as refused:
        _say({"refused": str(refused), "code": refused.code})
        return refused.code
    finally:
        _desk.leave(told.key)
        desk.close()
    return exits.OK


class Holder:
    """One fault from its begin to its end."""

    def __init__(self, told: Told, unit: ModuleType, desk: socket.socket) -> None:
        self.told, self.unit, self.desk = told, unit, desk
        self.asking: list[socket.socket] = []
        self.reason = ""
        self.wake, self.waker = os.pipe()

    def run(self) -> dict[str, Any]:
        """Apply, hold, undo; what there is to say about the end."""
        told = self.told
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop)
        with self.unit.hold(**told.parameters, **told.facts) as effect:
            begin = time.monotonic()
            self.state = {
                "fault": told.fault,
                "target": told.target,
                "parameters": told.parameters,
                "way": effect.way,
                "did": effect.did,
                "begin": begin,
                "until": begin + told.seconds,
            }
            told_of = self.state | {"evidence": effect.evidence()}
            _desk.journal(_desk.BEGIN, time=begin, **{key: told_of[key] for key in told_of if key != "begin"})
            _say({"held": told_of})
            try:
                if getattr(self.unit, "MOMENT", False):
                    effect.work()
                else:
                    self._wait(effect, begin + told.seconds)
            finally:
                evidence = effect.evidence()
        end = time.monotonic()
        ended = {"time": end, "fault": told.fault, "target": told.target, "reason": self.reason, "evidence": evidence}
        _desk.journal(_desk.END, **ended)
        for line in self.asking:  # who told us to undo it waits for this
            line.close()
        return ended

    def _wait(self, effect: Effect, deadline: float) -> None:
        while not self.reason:
            due = effect.work()
            if effect.over():
                self.reason = OVER
                return
            now = time.monotonic()
            if now >= deadline:
                self.reason = EXPIRED
                return
            pause = max(0.0, min(deadline, due or deadline) - now)
            # select(2) takes microseconds where poll(2) rounds up to the next millisecond.
            ready, _, _ = select.select([self.desk.fileno(), self.wake, *effect.watch], [], [], pause)
            for descriptor in ready:
                if descriptor in effect.watch:
                    effect.watch[descriptor]()
            if self.desk.fileno() in ready:
                self._answer(effect)

    def _answer(self, effect: Effect) -> None:
        line, _ = self.desk.accept()
        line.settimeout(1)
        try:
            words = line.recv(64)
            if words.startswith(_desk.HEAL.strip()):
                self.reason = words.decode().partition(" ")[2].strip() or CLEARED
                self.asking.append(line)  # closed when it is undone
                return
            line.sendall(json.dumps(self.state | {"evidence": effect.evidence()}).encode())
        except OSError:  # whoever asked has gone
            pass
        line.close()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.reason = STOPPED
        os.write(self.waker, b"!")  # select(2) goes on after a signal whose handler returns (PEP 475)


def _say(line: dict[str, Any]) -> None:
    try:
        print(json.dumps(line), flush=True)
    except OSError:  # the command that asked for this has been killed
        pass
