"""All faults of a lab at once: which are held, which were, what killed holders have left, and the end of all."""

import importlib
import json
import time
from typing import Any

from probe.faults import _desk, _qdisc
from probe.faults._system import TABLE, drop_table, tables
from probe.features import has

SERVER = "server"


def faults() -> dict[str, Any]:
    """Keys: time (CLOCK_MONOTONIC), held, left, events.

    ``held`` are the faults of now: fault, target, parameters, way, did, begin, until, evidence. ``left`` names what
    holders that were killed have left behind. ``events`` are all begins and ends since the probe was started: event
    (``fault-begin``, ``fault-end``), time, fault, target; a begin has also parameters, way, did, evidence and until
    (when it ends by itself, should no end follow), an end reason and evidence.
    """
    answers = {key: _desk.call(key, _desk.ASK) for key in _desk.claims()}
    held = [json.loads(answer) for answer in answers.values() if answer]
    return {
        "time": time.monotonic(),
        "held": sorted(held, key=lambda state: float(state["begin"])),
        "left": [*_left(), *(key for key, answer in answers.items() if answer is None)],
        "events": _desk.events(),
    }


def clear(key: str = "", reason: str = "") -> dict[str, Any]:
    """Undo one fault, or all, and then what killed holders have left in this network namespace.

    Keys: ended (what was held), removed (what was left), lost (targets in other namespaces whose holder was killed).
    """
    words = _desk.HEAL.strip() + b" " + reason.encode() + b"\n"
    wanted = [key] if key else _desk.claims()
    ended = [one for one in wanted if _desk.call(one, words) is not None]
    dead = _desk.bury()
    for one in dead:
        _mend(one)
    lost = sorted({target for _, _, target in (one.partition("@") for one in dead)} - {SERVER})
    return {"ended": ended, "removed": [] if key else [*sweep(), *dead], "lost": lost}


def _mend(key: str) -> None:
    """Undo what a killed holder did to processes; only its fault knows how, from what it had told."""
    fault, _, target = key.partition("@")
    unit = importlib.import_module(f"probe.faults.{fault.replace('-', '_')}")
    begins = [event for event in _desk.events() if event["event"] == _desk.BEGIN and event["fault"] == fault]
    mine = [event for event in begins if event["target"] == target]
    if target == SERVER and mine and hasattr(unit, "mend"):
        unit.mend(mine[-1]["evidence"])


def sweep(target: str = SERVER) -> list[str]:
    """Remove what is ours in this network namespace, ``target``'s, and held by nobody; what it was."""
    found = _left(target)
    for name in _tables_left(target):
        drop_table(name)
    if found:
        _qdisc.sweep(_held(target))
    return found


def _left(target: str = SERVER) -> list[str]:
    disciplines = sorted(_qdisc.present() - _held(target))
    return [
        *(f"nftables table {name}" for name in _tables_left(target)),
        *(f"queueing discipline of {fault}" for fault in disciplines),
    ]


def _tables_left(target: str) -> list[str]:
    if not has("nftables"):
        return []
    held = {TABLE + fault.replace("-", "_") for fault in _held(target)}
    return [name for name in tables() if name not in held]


def _held(target: str) -> set[str]:
    """The faults of ``target`` that somebody holds."""
    pairs = [(key, *key.split("@")) for key in _desk.claims()]
    return {fault for key, fault, whose in pairs if whose == target and _desk.call(key, _desk.ASK) is not None}
