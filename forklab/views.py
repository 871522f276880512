"""What the kernel says of the server, for a person: its processes, their descriptors, its sockets."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.text import Text

from forklab import closing, show
from forklab.errors import UsageError
from forklab.observe import ESTABLISHED, ZOMBIE, Descriptor, Process, Snapshot, Socket

STATES = {
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

TCP_STYLES = {ESTABLISHED: "green", "LISTEN": "cyan", closing.CLOSE_WAIT: "bold yellow", "TIME_WAIT": "dim"}
OTHER_TCP_STYLE = "yellow"
"""The states on the way to the end, in which a connection should not stay."""

_LONG = 60
"""Columns of a command line."""

_FEW = 4
"""So many holders are named, the others counted: a pipe for the log is held by every process."""


def state(letter: str) -> Text:
    """The state of a process in a word."""
    word, style = STATES.get(letter, (letter, ""))
    return Text(word, style=style)


def tcp_state(word: str) -> Text:
    """The state of a connection; the colour says again what the word does."""
    return Text(word, style=TCP_STYLES.get(word, OTHER_TCP_STYLE))


def guides(tree: list[tuple[int, Process]]) -> list[str]:
    """The lines that are drawn before each process of a tree, from its depth among those before and after it."""
    drawn: list[str] = []
    later: set[int] = set()  # the depths at which something still follows below
    for depth, _ in reversed(tree):
        later = {level for level in later if level <= depth}
        lead = "".join("|  " if level in later else "   " for level in range(1, depth))
        drawn.append(lead + ("|- " if depth in later else "`- ") if depth else "")
        later.add(depth)
    return drawn[::-1]


def ps(seen: Snapshot) -> RenderableType:
    """The process tree, with states, where each sleeps, what it costs, and the connections it holds."""
    table = show.listing(_counts(seen), "PID", "state", "sleeps in", "CPU s", "PSS KiB", "command and connections")
    tree = seen.tree()
    for (_, process), guide in zip(tree, guides(tree), strict=True):
        table.add_row(
            Text.assemble((guide, "dim"), (str(process.pid), "bold")),
            state(process.state),
            Text(process.wait_channel or ""),
            Text(f"{process.cpu:.2f}"),
            Text("" if process.pss_kib is None else str(process.pss_kib)),
            Text("\n").join([_command(process, seen), *_connections(process, seen)]),
        )
    table.columns[0].no_wrap = True
    waiting = [row.remote for row in seen.established() if not row.inode]
    notes = [Text(f"waiting to be accepted: {', '.join(waiting)}", style="yellow")] if waiting else []
    return Group(table, *_signals(seen), *notes, *_moved(seen))


def fds(seen: Snapshot, pid: int | None = None) -> RenderableType:
    """The descriptors of each process, or of one, and who else holds the same socket or pipe."""
    sockets = {row.inode: row for row in seen.sockets if row.inode}
    table = show.listing("Descriptors", "process", "fd", "what", "flags", "who else holds it")
    for process in _chosen(seen, pid):
        held = [row for row in seen.descriptors if row.pid == process.pid]
        who = Text.assemble((str(process.pid), "bold"), " (parent)" if seen.is_parent(process.pid) else "")
        if not held:
            nothing = "none left: a zombie has closed all" if process.state == ZOMBIE else "none"
            table.add_row(who, "", Text(nothing, style="red"), "", "")
        for row in held:
            table.add_row(who, str(row.fd), _what(row, sockets), _flags(row), _others(row, seen))
            who = Text()
        table.add_section()
    return Group(table, *_waiting(seen, pid), *_moved(seen))


def sockets(seen: Snapshot) -> RenderableType:
    """The server's TCP sockets: both ends, states, queues, backlog, and who holds them."""
    table = show.listing("TCP sockets", "here", "client", "state", "to read", "to send", "inode", "held by")
    for row in sorted(seen.served(), key=lambda row: (row.state != "LISTEN", row.state, row.remote)):
        table.add_row(
            Text(row.local),
            Text("" if row.state == "LISTEN" else row.remote),
            tcp_state(row.state),
            Text(_backlog(row) if row.backlog is not None else str(row.rx_queue)),
            Text("" if row.backlog is not None else str(row.tx_queue)),
            Text(str(row.inode or "")),
            _held_by(row, seen),
        )
    listener = any(row.state == "LISTEN" for row in seen.served())
    notes = [] if listener else [Text("No listener: nobody can connect.", style="bold red")]
    return Group(table, *notes, *_waiting(seen), *_moved(seen))


def fds_document(seen: Snapshot, pid: int | None = None) -> dict[str, object]:
    """For a script: descriptors, the holders of each socket and pipe, and what waits for whom to close."""
    processes = _chosen(seen, pid)
    pids = {process.pid for process in processes}
    mine = [row for row in seen.descriptors if row.pid in pids]
    shared = {row.target: row.inode for row in mine if row.inode is not None}
    return {
        "processes": processes,
        "descriptors": mine,
        "holders": {target: seen.holders(inode) for target, inode in shared.items()},
        "waiting": _waiting_for(seen, pid),
        "consistent": seen.consistent,
    }


def sockets_document(seen: Snapshot) -> dict[str, object]:
    """For a script: the server's sockets, where they are from, and what waits for whom to close."""
    return {
        "sockets": seen.served(),
        "source": seen.source,
        "waiting": closing.waiting(seen),
        "consistent": seen.consistent,
    }


def command(process: Process) -> str:
    """What it runs, in one short line; what it calls itself comes first if that is something else."""
    if process.state == ZOMBIE or not process.command:
        return process.name
    words = " ".join(process.command.split())  # a program after -c may have lines
    if not words.rpartition("/")[2].startswith(process.name) and "/" not in process.name:
        words = f"{process.name}: {words}"
    return words if len(words) <= _LONG else f"{words[: _LONG - 3]}..."


def _counts(seen: Snapshot) -> str:
    return f"server: processes {len(seen.processes)}, zombies {len(seen.zombies())}"


def _command(process: Process, seen: Snapshot) -> Text:
    if process.state == ZOMBIE:
        return Text(f"{process.name}: has ended, {process.ppid} has not waited for it", style="red")
    parent = seen.process(process.ppid)
    if parent and command(parent) == command(process):
        return Text('"')  # as above: a fork, and no exec
    return Text(command(process))


def _connections(process: Process, seen: Snapshot) -> list[Text]:
    held = {row.inode: row for row in seen.connections() if process.pid in row.holders}
    rows = [(d.fd, held[d.inode]) for d in seen.descriptors if d.pid == process.pid and d.inode in held]
    lines = [Text.assemble((f"fd {fd} {row.remote} ", "cyan"), tcp_state(row.state)) for fd, row in rows]
    return lines[:_FEW] + ([Text(f"and {len(lines) - _FEW} more connections")] if len(lines) > _FEW else [])


def _signals(seen: Snapshot) -> Iterable[Text]:
    """How the main process has set its signals, and what any process has not yet been given."""
    main = seen.process(seen.server or 0)
    if main and main.caught is not None:
        words = [f"catches {_names(main.caught)}", f"ignores {_names(main.ignored)}", f"blocks {_names(main.blocked)}"]
        yield Text(f"{main.pid} {'; '.join(words)}")
    for process in seen.processes:
        if process.pending and process.state != ZOMBIE:
            yield Text(f"{process.pid} has not yet been given: {_names(process.pending)}", style="yellow")


def _names(signals: tuple[str, ...] | None) -> str:
    return " ".join(name.removeprefix("SIG") for name in signals or ()) or "none"


def _chosen(seen: Snapshot, pid: int | None) -> list[Process]:
    if pid is None:
        return [process for _, process in seen.tree()]
    process = seen.process(pid)
    if process:
        return [process]
    there = sorted(seen.processes, key=lambda process: process.pid)
    names = [str(process.pid) for process in there[:_FEW]] + (["..."] if len(there) > _FEW else [])
    raise UsageError(f"process {pid} is none of the server's; there are {', '.join(names) or 'none'}: ./lab ps")


def _what(row: Descriptor, sockets: dict[int, Socket]) -> Text:
    if row.kind == "pipe":
        return Text(f"pipe, {row.end or '?'} end [{row.inode}]")
    if row.kind != "socket":
        return Text(row.target)
    socket = sockets.get(row.inode or 0)
    if not socket:
        return Text(f"{row.target}, not TCP")
    if socket.state == "LISTEN":
        return Text.assemble(tcp_state("LISTEN"), f" {socket.local}, backlog {_backlog(socket)}")
    return Text.assemble(socket.remote, " ", tcp_state(socket.state))


def _flags(row: Descriptor) -> Text:
    """Without the access mode where it says nothing: a socket is always for both."""
    flags = (row.flags or ())[1 if row.kind in ("socket", "pipe") else 0 :]
    return Text(" ".join(flag.removeprefix("O_") for flag in flags))


def _others(row: Descriptor, seen: Snapshot) -> Text:
    if row.inode is None:
        return Text()
    others = [each for each in seen.holders(row.inode) if (each.pid, each.fd) != (row.pid, row.fd)]
    if row.kind == "pipe":
        ends = {end: [each for each in others if each.end == end] for end in ("read", "write")}
        parts = [Text(f"{end}: {_some(held, seen)}") for end, held in ends.items() if held]
        return Text("; ").join(parts)
    return Text(_some(others, seen))


def _some(held: list[Descriptor], seen: Snapshot) -> str:
    names = [f"{each.pid}{' (parent)' * seen.is_parent(each.pid)} fd {each.fd}" for each in held[:_FEW]]
    return ", ".join(names + ([f"and {len(held) - _FEW} more"] if len(held) > _FEW else []))


def _backlog(row: Socket) -> str:
    """The kernel lets one more connection wait than it was told, since it compares with > (sk_acceptq_is_full)."""
    limit = "" if row.backlog_limit is None else f" of {row.backlog_limit}"
    return f"{row.backlog}{limit}"


def _held_by(row: Socket, seen: Snapshot) -> Text:
    if row.holders:
        return Text(_some(seen.holders(row.inode), seen))
    if row.state == ESTABLISHED and not row.inode:
        return Text("nobody: in the backlog", style="yellow")
    return Text("" if not row.inode else "a process that is not the server's", style="yellow")


def _waiting_for(seen: Snapshot, pid: int | None) -> list[closing.Waiting]:
    return [each for each in closing.waiting(seen) if pid is None or pid in {held.pid for held in each.holders}]


def _waiting(seen: Snapshot, pid: int | None = None) -> list[Text]:
    return [Text(each.words, style="bold yellow") for each in _waiting_for(seen, pid)]


def _moved(seen: Snapshot) -> list[Text]:
    """Whoever reads a table shall know when it is not one moment."""
    moved = seen.consistent
    if moved.whole:
        return []
    counts = {"began": len(moved.began), "ended": len(moved.ended), "connections moved": len(moved.sockets)}
    words = ", ".join(f"{name}: {count}" for name, count in counts.items() if count)
    return [Text(f"While this was read ({moved.seconds * 1000:.0f} ms) {words}.", style="dim")]
