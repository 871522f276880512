"""Draws one look on a terminal of any size: processes, connections, zombies, and what happened. ASCII only."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from forklab import views
from forklab.observe import ESTABLISHED, ZOMBIE, Process, Snapshot, Socket
from forklab.watch.changes import Change

LEAST_WIDTH, LEAST_HEIGHT = 40, 12
KEYS = "space pause   left/right step   s save   q quit"
KIND_STYLES = {
    "connected": "green",
    "accepted": "green",
    "forked": "cyan",
    "ended": "bold red",
    "closing": "yellow",
    "stopped": "yellow",
}
LAST_OF_ALL = "TIME_WAIT"


@dataclass(frozen=True)
class View:
    """What is to be drawn."""

    seen: Snapshot
    mode: str
    """Live, or how far back."""
    happened: Sequence[tuple[float, Change]]
    clock: float
    """What has to be added to the kernel's monotonic time to have the time of day (seconds since 1970)."""
    message: str = ""


def draw(view: View, width: int, height: int) -> Text:
    """All of the screen: exactly ``height`` lines, none wider than ``width`` columns."""
    if width < LEAST_WIDTH or height < LEAST_HEIGHT:
        return _lines([Text(f"needs {LEAST_WIDTH}x{LEAST_HEIGHT}, better 80x24; q quits")], width, height)
    events = events_shown(height)
    rows = height - events - 5  # header, titles, zombies, title of the events, footer
    left = width * 9 // 20
    main = [
        Text.assemble(_fit(one, left - 2), "  ", _fit(other, width - left))
        for one, other in zip(_processes(view.seen, rows), _connections(view.seen, rows), strict=True)
    ]
    happened = [_event(when, change, view.clock) for when, change in view.happened[-events:]]
    happened += [Text()] * (events - len(happened))
    titles = Text.assemble(
        ("PROCESSES".ljust(left), "bold underline"), (_connections_title(view.seen), "bold underline")
    )
    footer = Text(view.message or KEYS, style="bold" if view.message else "dim")
    return _lines(
        [_header(view, width), titles, *main, _zombies(view.seen), _title("EVENTS"), *happened, footer], width, height
    )


def events_shown(height: int) -> int:
    """How many events a screen of that height has room for."""
    return max(4, height // 4)


def _header(view: View, width: int) -> Text:
    seen = view.seen
    counts = f" server {seen.server or 'none'}  processes {len(seen.processes)}  connections {len(seen.connections())}"
    zombies = len(seen.zombies())
    at = time.strftime("%H:%M:%S", time.localtime(view.clock + seen.time))
    left = Text.assemble(counts, "  ", (f"zombies {zombies}", "bold red reverse" if zombies else ""))
    right = f"{view.mode}  {at} "
    left.pad_right(max(1, width - left.cell_len - len(right)))
    left.append(right, style="bold")
    left.stylize("reverse")
    return left


def _title(words: str) -> Text:
    return Text(words, style="bold underline")


def _processes(seen: Snapshot, rows: int) -> list[Text]:
    tree = seen.tree()
    lines = [
        Text.assemble(
            (guide, "dim"), (str(process.pid), "bold"), " ", views.state(process.state), " ", _command(process, seen)
        )
        for (_, process), guide in zip(tree[:rows], views.guides(tree[:rows]), strict=True)
    ]
    return _cut(lines, len(tree), rows)


def _command(process: Process, seen: Snapshot) -> str:
    parent = seen.process(process.ppid)
    same = parent and process.state != ZOMBIE and views.command(parent) == views.command(process)
    return f"{process.cpu:.2f} s" if same else views.command(process)


def _connections_title(seen: Snapshot) -> str:
    listeners = [row for row in seen.served() if row.state == "LISTEN"]
    if not listeners:
        return "CONNECTIONS, no listener"
    limit = listeners[0].backlog_limit
    return f"CONNECTIONS, backlog {listeners[0].backlog}{'' if limit is None else f' of {limit}'}"


def _connections(seen: Snapshot, rows: int) -> list[Text]:
    """Those in a state in which none should stay come first, and those that are over last."""
    ordered = sorted(
        seen.connections(), key=lambda row: (row.state == LAST_OF_ALL, row.state == ESTABLISHED, row.state, row.remote)
    )
    return _cut([_connection(row) for row in ordered[:rows]], len(ordered), rows)


def _connection(row: Socket) -> Text:
    return Text.assemble((row.remote, "cyan"), " ", views.tcp_state(row.state), " ", _held(row))


def _held(row: Socket) -> str:
    if row.holders:
        return f"in {' '.join(map(str, row.holders))}"
    return "in the backlog" if row.state == ESTABLISHED and not row.inode else ""


def _zombies(seen: Snapshot) -> Text:
    zombies = seen.zombies()
    if not zombies:
        return Text.assemble(("ZOMBIES", "bold"), " none")
    parents = sorted({process.ppid for process in zombies})
    who = f"{', '.join(map(str, parents[:3]))} {'has' if len(parents) == 1 else 'have'} not waited"
    pids = " ".join(str(process.pid) for process in zombies[:5])
    more = f" and {len(zombies) - 5} more" if len(zombies) > 5 else ""
    return Text(f"ZOMBIES {len(zombies)}: {pids}{more}; {who}", style="bold red reverse")


def _event(when: float, change: Change, clock: float) -> Text:
    at = time.strftime("%H:%M:%S", time.localtime(clock + when))
    return Text.assemble((at, "dim"), " ", (change.words, KIND_STYLES.get(change.kind, "")))


def _cut(lines: list[Text], count: int, rows: int) -> list[Text]:
    """Exactly ``rows`` lines; when there are more, the last says how many."""
    if count > rows:
        return [*lines[: rows - 1], Text(f"and {count - rows + 1} more", style="bold")]
    return lines + [Text()] * (rows - len(lines))


def _fit(text: Text, width: int) -> Text:
    made = text.copy()
    made.truncate(max(0, width), overflow="crop", pad=True)
    return made


def _lines(lines: list[Text], width: int, height: int) -> Text:
    fitted = [_fit(line, width) for line in lines[:height]]
    return Text("\n", no_wrap=True, end="").join(fitted + [Text()] * (height - len(fitted)))
