"""Breaks a lab and mends it again: knows which faults there are, has the probe hold them, and ends them.

A fault is held by a process in a container of the lab, not by this one. So it ends at its time also when this process
is killed, and another one can see it and end it.
"""

import contextlib
import functools
import json
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from docker import DockerClient
from docker.errors import APIError, NotFound
from docker.models.containers import Container

from forklab import engine
from forklab.errors import Inconclusive, LabError, UsageError
from forklab.registry import FAULTS
from forklab.stream import answer
from protocol import exits

LABEL = "forklab.fault"
"""Containers that only hold a fault carry it, with the fault's key."""

SERVER, CLIENT = "server", "client"
DEFAULT_FOR = "10s"
BLOCK_FOR = "120s"
"""For a block that ends by itself; so long only when whoever runs it has been killed."""
LEAST_SECONDS, MOST_SECONDS = 0.1, 600.0
HIDDEN = "FORKLAB_WITHOUT"
"""An environment variable that is handed on to the probe: features of the kernel to do without, for tests."""

_PROBE = "forklab-probe"
_ANSWER_SECONDS = 30.0
_LOOK_SECONDS = 0.5
_PROJECT = "com.docker.compose.project"
_CAPABILITIES = ("SYS_PTRACE", "NET_ADMIN", "NET_RAW", "DAC_READ_SEARCH", "KILL")
_TIME = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}
_RATE = {"bit": 1.0, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9}


@dataclass(frozen=True)
class Parameter:
    """What a user may choose about a fault; the bounds and the default as they would write them."""

    name: str
    unit: str
    default: str
    help: str
    least: str = ""
    most: str = ""
    choices: tuple[str, ...] = ()

    def read(self, text: str) -> float | int | str:
        """The value in the unit the probe wants: seconds, a fraction of one, bits a second, a count, or the word.

        Raises:
            UsageError: it is none, or out of bounds.
        """
        value = _UNITS[self.unit](self, text)
        if value is None:
            raise UsageError(f'{self.name} "{text}" is not {self.expected()}')
        return value

    def expected(self) -> str:
        """What it can be, for an error and for help."""
        bounds = f" from {self.least} to {self.most}" if self.least else ""
        others = {"process": " or a PID", "connection": " or ADDRESS:PORT of a peer"}
        words = {
            "time": f"a time{bounds}, such as 50ms or 10s",
            "percent": f"a percentage{bounds}",
            "rate": f"a rate{bounds}, such as 500kbit or 1mbit",
            "count": f"a number{bounds}",
            "signal": "the name or number of a signal",
        }
        return words.get(self.unit) or " | ".join(self.choices) + others.get(self.unit, "")


def _quantity(units: Mapping[str, float]) -> Callable[[Parameter, str], float | None]:
    def number(text: str) -> float | None:
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([a-z%]*)", text.lower())
        return float(match[1]) * units[match[2]] if match and match[2] in units else None

    def read(parameter: Parameter, text: str) -> float | None:
        value, least, most = number(text), number(parameter.least), number(parameter.most)
        return value if value is not None and (least or 0) <= value <= (most or 0) else None

    return read


def _count(parameter: Parameter, text: str) -> int | None:
    number = int(text) if re.fullmatch(r"[0-9]{1,9}", text) else -1
    return number if int(parameter.least) <= number <= int(parameter.most) else None


def _word(pattern: str) -> Callable[[Parameter, str], str | None]:
    def read(parameter: Parameter, text: str) -> str | None:
        return text if text in parameter.choices or re.fullmatch(pattern, text) else None

    return read


_NOTHING_ELSE = "(?!)"
_UNITS: dict[str, Callable[[Parameter, str], float | int | str | None]] = {
    "time": _quantity(_TIME),
    "rate": _quantity(_RATE),
    "percent": _quantity({"": 0.01, "%": 0.01}),
    "count": _count,
    "choice": _word(_NOTHING_ELSE),
    "process": _word("[1-9][0-9]{0,9}"),
    "connection": _word(r"[0-9a-f.:\[\]]+:[0-9]+"),
    "signal": _word("[A-Za-z0-9]+"),
}


@dataclass(frozen=True)
class Fault:
    """What a file in ``probe/faults/`` says of itself; see its ``__init__.py``."""

    id: str
    summary: str
    parameters: tuple[Parameter, ...]
    targets: tuple[str, ...]
    place: str
    user: str
    moment: bool

    def read(self, given: Mapping[str, str]) -> dict[str, float | int | str]:
        """The value of each parameter, its default where nothing, or an empty text, is given.

        Raises:
            UsageError: a value is not one it takes, or there is no such parameter.
        """
        unknown = set(given) - {parameter.name for parameter in self.parameters}
        if unknown:
            names = ", ".join(parameter.name for parameter in self.parameters)
            raise UsageError(f'{self.id} has no parameter "{min(unknown)}"; there are: {names}')
        return {one.name: one.read(given.get(one.name) or one.default) for one in self.parameters}


@functools.cache
def find(fault: str) -> Fault:
    """What there is to know of a fault.

    Raises:
        UsageError: there is no such fault; the message lists what there is.
        LabError: its file does not state what it must.
    """
    summary, stated = FAULTS.summary(fault), FAULTS.literals(fault)
    try:
        parameters = tuple(
            Parameter(name, **{**facts, "choices": tuple(facts.get("choices", ()))})
            for name, facts in stated["PARAMETERS"].items()
        )
        for one in parameters:
            one.read(one.default)
    except (KeyError, TypeError, AttributeError, UsageError) as error:
        raise LabError(f"probe/faults: PARAMETERS of {fault} is missing or wrong ({error})") from None
    return Fault(
        id=fault,
        summary=summary,
        parameters=parameters,
        targets=tuple(stated.get("TARGETS", (SERVER, CLIENT))),
        place=stated.get("PLACE", "namespaces"),
        user=stated.get("USER", ""),
        moment=stated.get("MOMENT", False),
    )


def known() -> list[Fault]:
    """All faults, by name."""
    return [find(fault) for fault in FAULTS.ids()]


FOR = Parameter("for", "time", DEFAULT_FOR, "how long", f"{LEAST_SECONDS:g}s", f"{MOST_SECONDS:g}s")
"""How long a fault is held: never without an end."""


class Lines:
    """The JSON lines of a command in a container, as they come: ``output`` yields pieces of its two outputs."""

    def __init__(self, output: Iterable[tuple[bytes | None, bytes | None]], container: Container | None = None) -> None:
        """``container`` is the one whose end is the command's too: some engines do not end the output then."""
        self._container = container
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._said: list[str] = []
        self._looked = time.monotonic()
        threading.Thread(target=self._read, args=(output,), daemon=True).start()

    def first(self) -> dict[str, Any]:
        """The first line.

        Raises:
            LabError: there was none; the message has its last words on standard error.
        """
        deadline = time.monotonic() + _ANSWER_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty):
                line = self.next(_LOOK_SECONDS)
                if line is None:
                    raise LabError(f"no answer ({self._said[-1] if self._said else 'nothing said'}); ./lab up mends it")
                return line
        raise LabError(f"no answer within {_ANSWER_SECONDS:g} s; ./lab fault.clear, ./lab up")

    def next(self, seconds: float | None) -> dict[str, Any] | None:
        """The next line, None when there is no more.

        Raises:
            queue.Empty: none came within ``seconds``.
        """
        try:
            return self._lines.get(timeout=seconds)
        except queue.Empty:
            if self._ended():
                return None
            raise

    def _ended(self) -> bool:
        if self._container is None or time.monotonic() < self._looked + _LOOK_SECONDS:
            return False
        self._looked = time.monotonic()
        try:
            self._container.reload()
        except NotFound:
            return True
        return self._container.status not in ("running", "paused")

    def _read(self, output: Iterable[tuple[bytes | None, bytes | None]]) -> None:
        rest = b""
        with contextlib.suppress(OSError, APIError):  # the engine has gone
            for out, err in output:
                self._said += (err or b"").decode(errors="replace").strip().splitlines()
                *whole, rest = (rest + (out or b"")).split(b"\n")
                for line in whole:
                    self._lines.put(json.loads(line))
        self._lines.put(None)


class Held:
    """A fault that is applied. ``state`` says what, and ``ended``, once it is undone, why and what it did."""

    def __init__(self, state: dict[str, Any], lines: Lines, heal: Callable[[], None]) -> None:
        self.state = state
        self.ended: dict[str, Any] | None = None
        self._lines = lines
        self._heal = heal

    def wait(self, seconds: float | None) -> bool:
        """Wait until it is undone, at most so long; whether it is."""
        if self.ended is None:
            with contextlib.suppress(queue.Empty):
                line = self._lines.next(seconds) or {}
                self.ended = line.get("ended") or {"reason": "its target has ended", "evidence": {}}
        return self.ended is not None

    def heal(self) -> None:
        """Undo it now, and return when it is undone."""
        if self.ended is None:
            self._heal()
            deadline = time.monotonic() + _ANSWER_SECONDS
            while not self.wait(_LOOK_SECONDS) and time.monotonic() < deadline:
                continue


class Faults:
    """The faults of one lab. ``service`` finds the container of a service, ``clients`` those of running clients."""

    def __init__(
        self,
        client: DockerClient,
        project: str,
        service: Callable[[str], Container],
        clients: Callable[[], list[Container]],
    ) -> None:
        self._client, self._project = client, project
        self._service, self._clients = service, clients

    @contextlib.contextmanager
    def held(self, fault: str, *, seconds: str = BLOCK_FOR, target: str = SERVER, **parameters: str) -> Iterator[Held]:
        """Hold a fault for the block, at most for ``seconds`` (a time such as ``10s``); values as on the command line.

        Raises:
            UsageError, Inconclusive, LabError: as ``start``.
        """
        made = self.start(fault, parameters, seconds, target)
        try:
            yield made
        finally:
            made.heal()

    def start(self, fault: str, given: Mapping[str, str], seconds: str = "", target: str = SERVER) -> Held:
        """Apply a fault; it ends by itself after ``seconds`` (a time), unless it is done at once.

        Raises:
            UsageError: a word is wrong, or the same fault is held already.
            Inconclusive: the kernel cannot do it, or there is nothing to do it to.
            LabError: the lab is not up, or the probe failed.
        """
        what = find(fault)
        parameters = what.read(given)
        limit = float(FOR.read(seconds or DEFAULT_FOR))
        place = self._place(what, target)
        if "container" in parameters.values():
            return _killed(what, place, parameters)
        facts: dict[str, Any] = {}
        if what.place == "server":
            if any((one["fault"], one["target"]) == (fault, place.name) for one in self.look()["held"]):
                raise UsageError(f"{fault} is held already; ./lab fault.clear ends it")
            facts["inside"] = self._inside(what, parameters, limit)
        if what.place == "network":
            facts["address"] = self._network()[1]
        told = {"fault": fault, "target": place.name, "seconds": limit, "parameters": parameters, "facts": facts}
        return self._launch(what, place, json.dumps(told))

    def look(self) -> dict[str, Any]:
        """What is held, what is left, and all begins and ends: the keys of ``faults()`` in probe/faults/_all.py.

        Raises:
            LabError: the lab is not up.
        """
        return self._ask("faults")

    def clear(self, key: str = "", reason: str = "") -> dict[str, Any]:
        """End one fault, or all, and remove what is left; keys ``ended`` and ``removed``.

        Raises:
            LabError: the lab is not up.
        """
        done = self._ask("fault-clear", "--key", key, "--reason", reason)
        if not key:
            done["removed"] += [name for target in done["lost"] for name in self._sweep(target)]
            self._remove_holders()
        return {"ended": done["ended"], "removed": done["removed"]}

    def _place(self, fault: Fault, target: str) -> "Place":
        if target == SERVER:
            server = self._service(SERVER)
            if server.status != "running":
                raise LabError(f"the server is {server.status}; ./lab up starts it again")
            return Place(SERVER, server, self._service("probe") if fault.place != "network" else None)
        if CLIENT not in fault.targets:
            raise UsageError(f'{fault.id} is for the server alone, not for "{target}"')
        clients = self._clients()
        wanted = [one for one in clients if target in (CLIENT, one.name) or str(one.id).startswith(target)]
        names = ", ".join(str(one.name) for one in clients) or "none; ./lab client starts one"
        if not wanted:
            raise UsageError(f'no running client for target "{target}"; there are: {names}')
        if len(wanted) > 1:
            raise UsageError(f'target "{target}" means {len(wanted)} clients; name one: {names}')
        return Place(f"{CLIENT}-{str(wanted[0].id)[:12]}", wanted[0], None)

    def _launch(self, fault: Fault, place: "Place", told: str) -> Held:
        key = f"{fault.id}@{place.name}"
        environment = {name: os.environ[name] for name in (HIDDEN,) if name in os.environ}

        def heal() -> None:
            self.clear(key, "ended by its command")

        try:
            if place.probe:
                user = place.container.attrs["Config"]["User"] if fault.user == "target" else ""
                words = ["python3", "-m", "probe", "fault", told]
                lines = self._execute(place.probe, words, environment, user)
            else:
                lines = self._holder(fault, place, told, environment, key)
            first = lines.first()
        except BaseException:  # also Ctrl-C: nobody knows yet whether it is applied
            with contextlib.suppress(LabError):
                heal()
            raise
        if "refused" in first:
            kinds = {exits.USAGE: UsageError, exits.INCONCLUSIVE: Inconclusive}
            raise kinds.get(first["code"], LabError)(f"{fault.id}: {first['refused']}")
        return Held(first["held"], lines, heal)

    def _inside(self, fault: Fault, parameters: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Start the fault's part in the server's container; what it answered."""
        source = FAULTS.file(fault.id).with_name(f"_inside_{fault.id.replace('-', '_')}.py").read_text(encoding="utf-8")
        words = ["python3", "-c", source, *map(str, parameters.values()), str(seconds)]
        answer = self._execute(self._service(SERVER), words).first()
        if "refused" in answer:
            raise Inconclusive(f"{fault.id}: {answer['refused']}")
        return answer

    def _execute(
        self, container: Container, words: list[str], environment: dict[str, str] | None = None, user: str = ""
    ) -> "Lines":
        """Run a command in a container that is there already; what it says, line by line."""
        api = self._client.api
        try:
            made = api.exec_create(str(container.id), words, environment=environment, user=user)
            return Lines(api.exec_start(made["Id"], stream=True, demux=True), container)
        except APIError as error:
            raise LabError(f"nothing can be run in {container.name}: {engine.explain(error)}; ./lab up") from None

    def _holder(self, fault: Fault, place: "Place", told: str, environment: dict[str, str], key: str) -> "Lines":
        """Start a container of its own that holds the fault: beside a client, or on the network as another client."""
        probe = self._service("probe")
        if fault.place == "network":
            where: dict[str, Any] = {"network": self._network()[0]}
        else:
            beside = f"container:{place.container.id}"
            where = {"network_mode": beside, "pid_mode": beside}
        made = self._client.containers.create(
            _PROBE,
            ["fault", told],
            environment=environment,
            labels={"forklab": "container", _PROJECT: self._project, LABEL: key},
            cap_drop=["ALL"],
            cap_add=list(_CAPABILITIES),
            security_opt=["no-new-privileges:true"],
            read_only=True,
            # The desk of the faults is in the probe's /dev/shm.
            ipc_mode=f"container:{probe.id}",
            auto_remove=True,
            **where,
        )
        output = self._client.api.attach(str(made.id), stream=True, demux=True)  # before it can say anything
        made.start()
        return Lines(output)

    def _network(self) -> tuple[str, str]:
        """The lab's network, and the server's address there."""
        networks = self._service(SERVER).attrs["NetworkSettings"]["Networks"]
        name = min(networks)
        return name, networks[name]["IPAddress"]

    def _ask(self, *words: str) -> dict[str, Any]:
        _, out, err = answer(self._service("probe"), ["python3", "-m", "probe", *words])
        try:
            found: dict[str, Any] = json.loads(out)
            return found
        except ValueError:
            last = (err.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
            raise LabError(f"the probe failed: {last}; ./lab build makes its image anew") from None

    def _sweep(self, target: str) -> list[str]:
        """Remove what a killed holder has left with a client that still runs."""
        client = next((one for one in self._clients() if f"{CLIENT}-{str(one.id)[:12]}" == target), None)
        if client is None:
            return []
        said = self._client.containers.run(
            _PROBE,
            ["fault-sweep", target],
            remove=True,
            labels={"forklab": "container", _PROJECT: self._project},
            cap_drop=["ALL"],
            cap_add=["NET_ADMIN"],
            network_mode=f"container:{client.id}",
            ipc_mode=f"container:{self._service('probe').id}",
        )
        return [f"{name} of {target}" for name in json.loads(said)["removed"]]

    def _remove_holders(self) -> None:
        """Containers of faults that are still there although their faults have been ended."""
        labels = [LABEL, f"{_PROJECT}={self._project}"]
        for holder in self._client.containers.list(all=True, filters={"label": labels}, ignore_removed=True):
            with contextlib.suppress(NotFound, APIError):  # it goes by itself as well
                holder.remove(force=True)


@dataclass(frozen=True)
class Place:
    """Where a fault is held: the name of its target, that container, and the probe beside it, None if it has none."""

    name: str
    container: Container
    probe: Container | None


def _killed(fault: Fault, place: Place, parameters: dict[str, Any]) -> Held:
    """The whole container, by the engine: PID 1 cannot be killed from within."""
    name = str(parameters["signal"]).upper()
    try:
        place.container.kill(signal=name)
        if name.removeprefix("SIG") in ("KILL", "9"):
            place.container.wait(timeout=_ANSWER_SECONDS)
    except APIError as error:
        raise UsageError(f'the engine does not send the signal "{name}": {error.explanation}') from None
    state = {
        "fault": fault.id,
        "target": place.name,
        "parameters": parameters,
        "way": "docker kill",
        "did": f"SIG{name.removeprefix('SIG')} was sent to the container {place.container.name}",
        "evidence": {},
    }
    ended = json.dumps({"ended": {"reason": "done at once", "evidence": {}}}).encode()
    return Held(state, Lines([(ended + b"\n", None)]), lambda: None)
