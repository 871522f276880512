"""Prints for a person or for a script: tables and trees with rich, or one JSON document.

Only ASCII is drawn with by ourselves, and rich falls back to ASCII boxes and guides where the console's encoding has no
others. Colour underlines what the words say already; NO_COLOR and pipes get the words alone.
"""

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from forklab.capture import CLIENT, SERVER, Connection, Reading, ladder
from forklab.capture.record import Captured
from forklab.doctor import Finding
from forklab.faults import Fault
from forklab.lab import Status, Thing
from forklab.printable import printable
from forklab.proof import Evidence, Proof
from protocol import verdicts

_VERDICTS = {
    verdicts.PASS: "bold green",
    verdicts.FAIL: "bold red",
    verdicts.ERROR: "bold red",
    verdicts.WARN: "yellow",
    verdicts.INCONCLUSIVE: "yellow",
}
_TICK_SECONDS = 0.2
_PIPE_WIDTH = 110
"""Columns where there is no terminal to ask."""


def console(*, stderr: bool = False) -> Console:
    """A console that no text can break: what its encoding lacks becomes a question mark."""
    stream = sys.stderr if stderr else sys.stdout
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")
    made = Console(stderr=stderr, highlight=False, emoji=False)
    if not made.is_terminal and "COLUMNS" not in made._environ:
        made.width = _PIPE_WIDTH
    return made


def say(text: str) -> None:
    """Progress, for a person, beside the answer."""
    console(stderr=True).print(printable(text), markup=False, soft_wrap=True)


@contextlib.contextmanager
def counting(what: str) -> Iterator[Callable[[int], None]]:
    """Tell how many there are so far: in place on a terminal, else a line a second at most while it changes."""
    screen = console(stderr=True)
    if screen.is_terminal:
        line = screen.status("", spinner="line")

        def update(count: int) -> None:
            line.update(f"{count:,} {what}")
            line.start()  # not before the first count, so that what is said until then stands above it

        try:
            yield update
        finally:
            line.stop()
        return
    told, again = 0, time.monotonic() + 1

    def tell(count: int) -> None:
        nonlocal told, again
        if count != told and time.monotonic() >= again:
            told, again = count, time.monotonic() + 1
            say(f"{count:,} {what}")

    yield tell


def document(content: object) -> None:
    """The one JSON document of ``--json``; dataclasses become objects."""
    print(text(content))


def text(content: object) -> str:
    """That document as text."""
    return json.dumps(plain(content), indent=2)


def render(content: RenderableType) -> None:
    """The answer, for a person."""
    console().print(content)


def tasks(groups: Mapping[str, Iterable[tuple[str, str]]]) -> RenderableType:
    """What there is to do, in groups of (name, one line)."""
    table = _grid()
    for group, rows in groups.items():
        table.add_row(Text(group, style="bold"), "")
        for name, summary in rows:
            table.add_row(Text(f"  {name}"), Text(summary))
    return table


def demos(questions: Mapping[str, str]) -> RenderableType:
    """What each demo answers."""
    table = _grid()
    for name, question in questions.items():
        table.add_row(Text(name, style="bold"), Text(question))
    return table


def status(now: Status) -> RenderableType:
    """The lab in a few lines."""
    if now.state is None:
        return Text(f"The lab {now.project} is down. ./lab up stands it up.")
    table = _grid()
    health = f", {now.health}" if now.running and now.health else ""
    pids = f"{_known(now.server_pid)} in its container, {_known(now.host_pid)} on the engine's host"
    rows = {
        "model": f"{now.model}, service {now.service}",
        "state": f"{now.state}{health}",
        "address": now.address or "none",
        "server PID": pids,
        "connections": _known(now.connections),
        "processes": _known(now.processes),
        "zombies": _known(now.zombies),
        "faults": "unknown" if now.faults is None else "; ".join(map(_held, now.faults)) or "none",
        "containers": ", ".join(f"{name} {_short(full)}" for name, full in now.containers.items()),
        "clients": ", ".join(map(_short, now.clients)) or "none",
        "images": ", ".join(f"{name} {_short(full)}" for name, full in now.images.items()),
        "project": now.project,
    }
    for name, value in rows.items():
        style = "bold red" if name == "zombies" and now.zombies else ""
        style = "bold yellow" if name == "faults" and now.faults else style
        table.add_row(Text(name, style="bold"), Text(value, style=style))
    if now.running and now.processes is None:
        return Group(table, Text("The probe does not run, so nothing is known of the inside. ./lab up mends it."))
    return table


def up(now: Status, shown: Proof) -> RenderableType:
    """What stands, and how to go on."""
    table = _grid()
    table.add_row(Text("up", style="bold"), f"model {now.model}, service {now.service}, project {now.project}")
    table.add_row(Text("address", style="bold"), now.address or "none")
    table.add_row(Text("talk", style="bold"), "./lab client   or   docker compose run --rm client")
    table.add_row(Text("look", style="bold"), "./lab ps   ./lab status   ./lab logs --follow")
    table.add_row(Text("end", style="bold"), "./lab down")
    return Group(proof(shown), Text(), table)


def proof(shown: Proof) -> RenderableType:
    """What the kernel says about three clients."""
    table = listing("The proof, read from the kernel", "client", "TCP state", "process", "parent", "fd", "socket inode")
    for client in shown.clients:
        for row in _evidence(client):
            table.add_row(*map(Text, row))
    after = (
        f"After they left: processes {shown.processes_after}, zombies {shown.zombies_after}, "
        f"their connections {shown.connections_after}."
    )
    server = f"The server is process {_known(shown.server)}; {shown.answered} of {len(shown.clients)} clients answered."
    reason = f"  {shown.reason}" if shown.reason else ""
    return Group(table, Text(server), Text(after), Text.assemble(verdict(shown.verdict), reason))


def captured(done: Captured) -> RenderableType:
    """What a capture has, and what it lacks."""
    lost = "" if not done.dropped else f", {done.dropped:,} more dropped by the kernel"
    words = Text(f"{done.packets:,} packets in {done.seconds:.1f} s{lost}")
    if done.dropped:
        words.stylize("yellow")
    return Group(words, Text(f"./lab flow {done.file}   shows a connection")) if done.file else words


def flows(reading: Reading) -> RenderableType:
    """The connections of a capture, one a line."""
    if not reading.connections:
        return Group("There is no TCP connection in it.", *ladder.remarks(reading))
    count = len(reading.connections)
    servers = sorted({each.server for each in reading.connections})
    one = len(servers) == 1
    title = f"{count:,} connections{f' to {servers[0]}' if one else ''}"
    table = listing(title, "", "start s", "client", *([] if one else ["server"]), "bytes", "bytes back", "end")
    start = reading.connections[0].start
    for each in reading.connections:
        ends = (each.client,) if one else (each.client, each.server)
        counts = (f"{each.bytes[CLIENT]:,}", f"{each.bytes[SERVER]:,}")
        cells = (str(each.number), f"{(each.start - start) / 1e9:.3f}", *ends, *counts, _end(each))
        table.add_row(*map(Text, cells), style="red" if each.reset_by else "")
    return Group(table, Text("--connection N shows one of them."), *map(Text, ladder.remarks(reading)))


def _end(each: Connection) -> str:
    """How it ended, and by whom."""
    if each.reset_by:
        return f"{each.end} by {each.reset_by}"
    first = f", {each.closed_first} first" if each.closed_first else ""
    return f"{each.end}{first}" if not each.silent else f"{each.end}, {each.silent} silent"


def things(found: Sequence[Thing], verb: str) -> RenderableType:
    """What was, or would be, removed."""
    if not found:
        return Text("Nothing to remove.")
    table = listing(f"{verb} ({len(found)})", "kind", "name", "id", "project")
    for thing in found:
        table.add_row(*map(Text, (thing.kind, thing.name, _short(thing.id), thing.project)))
    return table


def trace(lines: Iterable[str], written: Sequence[str]) -> RenderableType:
    """A recording in words, and the files that it was written to."""
    return Group(*(Text(line, overflow="fold") for line in lines), *(Text(f"wrote {name}") for name in written))


def findings(rows: Iterable[Finding]) -> RenderableType:
    """What the doctor found, and how to mend it."""
    table = _grid()
    for row in rows:
        table.add_row(verdict(row.verdict), Text(row.id, style="bold"), Text(row.what))
        if row.mend:
            table.add_row("", "", Text(f"-> {row.mend}", style="yellow"))
    return table


def faults(known: Iterable[Fault], held: Sequence[Mapping[str, Any]], left: Sequence[str]) -> RenderableType:
    """Which faults there are, which are held now, and what is left of killed ones."""
    table = listing("Faults", "fault", "what it does", "chosen with", "target")
    for fault in known:
        chosen = "\n".join(f"--{one.name} {one.default}" for one in fault.parameters)
        table.add_row(*map(Text, (fault.id, fault.summary, chosen, " or ".join(fault.targets))))
    lines = [Text(f"held now: {_held(state)}", style="bold yellow") for state in held]
    lines += [Text(f"left behind: {name}; ./lab fault.clear removes it", style="bold red") for name in left]
    return Group(table, *(lines or [Text("None is held now.")]))


def fault(state: Mapping[str, Any], ended: Mapping[str, Any] | None) -> RenderableType:
    """A fault from its begin to its end."""
    ended = ended or {"reason": "unknown", "evidence": {}}
    table = _grid()
    rows = {"fault": f"{state['fault']}, target {state['target']}", "what": state["did"], "way": state["way"]}
    evidence = {**state.get("evidence", {}), **ended["evidence"]}
    rows |= {name.replace("_", " "): _listed(value) for name, value in evidence.items()}
    if "time" in ended and ended["reason"]:
        rows |= {"held for": f"{ended['time'] - state['begin']:.1f} s", "ended": ended["reason"]}
    for name, value in rows.items():
        table.add_row(Text(name, style="bold"), Text(value))
    return table


def cleared(done: Mapping[str, Sequence[str]]) -> RenderableType:
    """What was undone, and what was removed."""
    lines = [f"ended: {key}" for key in done["ended"]] + [f"removed: {name}" for name in done["removed"]]
    return Text("\n".join(lines or ["No fault is held, and none has left anything."]))


def countdown(state: Mapping[str, Any], ended: Callable[[float], bool]) -> None:
    """Say what is held, and on a terminal how long still, until ``ended`` (which waits so many seconds) says so."""
    say(_held(state))
    seconds = state.get("until", 0.0) - state.get("begin", 0.0)
    columns = (BarColumn(), TextColumn("{task.fields[left]:.0f} s left, Ctrl-C ends it"))
    with Progress(*columns, console=console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task, begin = bar.add_task("", total=seconds, left=seconds), time.monotonic()
        while not ended(_TICK_SECONDS):
            gone = min(time.monotonic() - begin, seconds)
            bar.update(task, completed=gone, left=seconds - gone)


def _held(state: Mapping[str, Any]) -> str:
    return f"{state['fault']} at {state['target']}: {state['did']} (by {state['way']})"


def _listed(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {each}" for name, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _evidence(client: Evidence) -> Iterable[tuple[str, ...]]:
    if not client.holders:
        yield client.client, client.state, "none yet", "", "", "in the accept queue"
    for holder in client.holders:
        numbers = (str(holder.pid), _known(holder.ppid), str(holder.fd), str(client.inode))
        yield client.client, client.state, *numbers


def listing(title: str, *columns: str) -> Table:
    """A table as all views of the lab have it; what is too wide for a column goes on in the next line."""
    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def _grid() -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    return table


def verdict(word: str) -> Text:
    """One of protocol/verdicts.py, in its colour."""
    return Text(word, style=_VERDICTS.get(word, ""))


def _known(number: int | None) -> str:
    return "unknown" if number is None else str(number)


def _short(full: str) -> str:
    """An id as docker shows it: twelve digits, without the name of the hash."""
    return full.removeprefix("sha256:")[:12]


def plain(content: object) -> Any:
    """``content`` as json.dumps takes it; dataclasses become objects."""
    if dataclasses.is_dataclass(content) and not isinstance(content, type):
        return dataclasses.asdict(content)
    if isinstance(content, Mapping):
        return {key: plain(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [plain(item) for item in content]
    return content
