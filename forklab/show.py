"""Prints for a person or for a script: tables and trees with rich, or one JSON document.

Only ASCII is drawn with by ourselves, and rich falls back to ASCII boxes and guides where the console's encoding has no
others. Colour underlines what the words say already; NO_COLOR and pipes get the words alone.
"""

import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from forklab.doctor import Finding
from forklab.lab import Status, Thing
from forklab.observe import ZOMBIE, Process, Snapshot
from forklab.proof import Evidence, Proof
from protocol import verdicts

_STATES = {
    "R": ("running", "green"),
    "S": ("sleeping", ""),
    "D": ("uninterruptible", "yellow"),
    "T": ("stopped", "yellow"),
    "t": ("traced", "yellow"),
    "Z": ("ZOMBIE", "bold red"),
    "X": ("dead", "red"),
    "I": ("idle", ""),
}
"""The letters of proc_pid_stat(5)."""

_VERDICTS = {
    verdicts.PASS: "bold green",
    verdicts.FAIL: "bold red",
    verdicts.ERROR: "bold red",
    verdicts.WARN: "yellow",
    verdicts.INCONCLUSIVE: "yellow",
}
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
    console(stderr=True).print(text, markup=False, soft_wrap=True)


def document(content: object) -> None:
    """The one JSON document of ``--json``; dataclasses become objects."""
    print(json.dumps(plain(content), indent=2))


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
        "containers": ", ".join(f"{name} {_short(full)}" for name, full in now.containers.items()),
        "clients": ", ".join(map(_short, now.clients)) or "none",
        "images": ", ".join(f"{name} {_short(full)}" for name, full in now.images.items()),
        "project": now.project,
    }
    for name, value in rows.items():
        style = "bold red" if name == "zombies" and now.zombies else ""
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
    table = _table("The proof, read from the kernel", "client", "TCP state", "process", "parent", "fd", "socket inode")
    for client in shown.clients:
        for row in _evidence(client):
            table.add_row(*map(Text, row))
    after = (
        f"After they left: processes {shown.processes_after}, zombies {shown.zombies_after}, "
        f"their connections {shown.connections_after}."
    )
    server = f"The server is process {_known(shown.server)}; {shown.answered} of {len(shown.clients)} clients answered."
    reason = f"  {shown.reason}" if shown.reason else ""
    return Group(table, Text(server), Text(after), Text.assemble(_verdict(shown.verdict), reason))


def processes(seen: Snapshot) -> RenderableType:
    """The server's process tree, what each process holds, and the connections nobody has accepted."""
    root = Tree(Text(f"server: processes {len(seen.processes)}, zombies {len(seen.zombies())}", style="bold"))
    branches: dict[int, Tree] = {}
    for _, process in seen.tree():
        branches[process.pid] = branches.get(process.ppid, root).add(_process(process, seen))
    waiting = [row.remote for row in seen.established() if not row.inode]
    if not waiting:
        return root
    return Group(root, Text(f"waiting to be accepted: {', '.join(waiting)}", style="yellow"))


def things(found: Sequence[Thing], verb: str) -> RenderableType:
    """What was, or would be, removed."""
    if not found:
        return Text("Nothing to remove.")
    table = _table(f"{verb} ({len(found)})", "kind", "name", "id", "project")
    for thing in found:
        table.add_row(*map(Text, (thing.kind, thing.name, _short(thing.id), thing.project)))
    return table


def findings(rows: Iterable[Finding]) -> RenderableType:
    """What the doctor found, and how to mend it."""
    table = _grid()
    for row in rows:
        table.add_row(_verdict(row.verdict), Text(row.id, style="bold"), Text(row.what))
        if row.mend:
            table.add_row("", "", Text(f"-> {row.mend}", style="yellow"))
    return table


def _evidence(client: Evidence) -> Iterable[tuple[str, ...]]:
    if not client.holders:
        yield client.client, client.state, "none yet", "", "", "in the accept queue"
    for holder in client.holders:
        numbers = (str(holder.pid), _known(holder.ppid), str(holder.fd), str(client.inode))
        yield client.client, client.state, *numbers


def _process(process: Process, seen: Snapshot) -> Text:
    word, style = _STATES.get(process.state, (process.state, ""))
    remotes = {row.inode: row.remote for row in seen.connections() if process.pid in row.holders}
    mine = [(d.fd, remotes.get(d.inode or 0)) for d in seen.descriptors if d.pid == process.pid]
    held = [f"  [fd {fd} {remote}]" for fd, remote in mine if remote]
    memory = f" {process.pss_kib} KiB" if process.pss_kib is not None else ""
    name = process.name if process.state == ZOMBIE else process.command or process.name
    if not name.rpartition("/")[2].startswith(process.name) and "/" not in process.name:
        name = f"{process.name}: {name}"  # it has called itself so
    return Text.assemble((str(process.pid), "bold"), " ", (word, style), memory, f"  {name}", ("".join(held), "cyan"))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _grid() -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    return table


def _verdict(word: str) -> Text:
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
