"""The tables of descriptors, what they lead to, and the connections: as the calls and the segments change them.

A descriptor leads to an open file description, which fork(2) and dup(2) share (open(2)); here that is a Thing. What
strace says of a descriptor (-yy) is used where the calls alone do not tell: a recording that began late, or a
descriptor that came by a call that is not recorded.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forklab.timeline.model import Connection, Thing, Timeline
from forklab.timeline.tcp import TIME_WAIT_NS, Change, Tcp
from protocol.ports import SERVER_PORT

_PAIR = re.compile(r"TCP(?:v6)?:\[(.+)->(.+)\]")
_SOCKET = re.compile(r"(TCP|TCPv6|UDP|UDPv6|UNIX\S*|NETLINK|socket)(?:v6)?:\[")
_MAPPED = re.compile(r"\[::ffff:(\d+\.\d+\.\d+\.\d+)\]")
_ENDED = ("CLOSED", "TIME_WAIT")


@dataclass
class Slot:
    """A descriptor: where it leads, since when, and whether exec closes it (None: not known)."""

    thing: Thing
    since: int
    hold: list[int | None]
    cloexec: bool | None = None


def pair(leads: str) -> tuple[str, str] | None:
    """``TCP:[local->remote]`` as the two addresses; an IPv4 address that an IPv6 socket shows, as IPv4 (RFC 4291)."""
    match = _PAIR.fullmatch(leads)
    return (plain(match[1]), plain(match[2])) if match else None


def plain(address: str) -> str:
    """An address as everybody writes it."""
    return _MAPPED.sub(r"\1", address)


def kind_of(leads: str) -> str:
    """What kind of thing strace's words name."""
    if leads.startswith("pipe:"):
        return "pipe"
    if pair(leads):
        return "connection"
    if _SOCKET.match(leads):
        return "socket"
    anonymous = re.match(r"anon_inode:\[?(\w+)|(signalfd|pid):", leads)
    return (anonymous[1] or anonymous[2]).replace("eventpoll", "epoll") if anonymous else "file"


class Tables:
    """All tables of one recording, by the lane that owns them."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self._tables: dict[int, dict[int, Slot]] = {}
        self._users: dict[int, int] = {}
        self._deltas: list[list[Any]] = []
        self._current: dict[tuple[str, str], Connection] = {}
        self._tcp: dict[int, Tcp] = {}
        self._heard: set[int] = set()
        self._by_leads: dict[tuple[int, str], Thing] = {}

    def take_deltas(self) -> list[list[Any]]:
        """What has changed since the last call, in order."""
        taken, self._deltas = self._deltas, []
        return taken

    def change(self, delta: list[Any]) -> None:
        """Note a change."""
        self._deltas.append(delta)

    # Tables

    def table(self, lane: int) -> dict[int, Slot]:
        """The descriptors that a lane uses."""
        return self._tables.setdefault(self.timeline.lanes[lane].owner, {})

    def born(self, lane: int, parent: int | None) -> None:
        """A process with a copy of its parent's table, or an empty one."""
        self._users[lane] = 1
        self._tables[lane] = {}
        at = self.timeline.lanes[lane].born
        for number, slot in list(self._tables.get(parent, {}).items()) if parent is not None else ():
            self._put(lane, number, slot.thing, at, slot.cloexec)

    def share(self, lane: int, owner: int) -> None:
        """A task that uses the table of another (CLONE_FILES)."""
        for number in list(self._tables.pop(lane, {})):
            self.change(["-", lane, number])
        self._users[owner] = self._users.get(owner, 1) + 1

    def drop(self, lane: int, at: int) -> None:
        """A process ends: its table goes, and what nobody else holds is closed."""
        for number in list(self._tables.get(lane, {})):
            self.close(lane, number, at)

    def execute(self, lane: int) -> None:
        """exec: descriptors with FD_CLOEXEC are closed (execve(2))."""
        owner = self.timeline.lanes[lane].owner
        at = self.timeline.length
        for number, slot in list(self._tables.get(owner, {}).items()):
            if slot.cloexec:
                self.close(owner, number, at)

    def open(self, lane: int, number: int, leads: str, at: int, *, kind: str = "", cloexec: bool = False) -> Thing:
        """A new description under a new number."""
        thing = self._thing(self.timeline.lanes[lane].place, kind or kind_of(leads), leads)
        self._put(self.timeline.lanes[lane].owner, number, thing, at, cloexec)
        return thing

    def copy(self, lane: int, old: int, new: int, leads: str, at: int, *, cloexec: bool = False) -> Thing:
        """Dup and its kind: ``new`` leads where ``old`` does."""
        slot = self.resolve(lane, old, leads, at)
        owner = self.timeline.lanes[lane].owner
        if new != old:
            if new in self._tables[owner]:
                self.close(owner, new, at)
            self._put(owner, new, slot.thing, at, cloexec)
        return slot.thing

    def set_cloexec(self, lane: int, number: int, on: bool) -> None:
        """Fcntl F_SETFD, ioctl FIOCLEX."""
        if slot := self.table(lane).get(number):
            slot.cloexec = on
            self.change(["x", self.timeline.lanes[lane].owner, number, on])

    def resolve(self, lane: int, number: int, leads: str, at: int) -> Slot:
        """Where a descriptor leads; what strace says of it mends what the tables do not know."""
        table = self.table(lane)
        place = self.timeline.lanes[lane].place
        slot = table.get(number)
        if slot is None or self._contradicts(slot.thing, leads):
            thing = self._by_leads.get((place, leads)) or self._thing(place, kind_of(leads), leads)
            if slot is not None:
                self.close(lane, number, at)
            slot = self._put(self.timeline.lanes[lane].owner, number, thing, at, None)
        if ends := pair(leads):
            self.join(slot.thing, *ends, at)
        return slot

    def close(self, lane: int, number: int, at: int) -> Thing | None:
        """Take a descriptor away; what it led to, None if it was not known."""
        owner = self.timeline.lanes[lane].owner
        slot = self._tables.get(owner, {}).pop(number, None)
        if slot is None:
            return None
        slot.hold[3] = at
        self.change(["-", owner, number])
        if not self.holders(slot.thing):
            self._last_close(slot.thing, at)
        return slot.thing

    def holders(self, thing: Thing) -> list[tuple[int, int]]:
        """Lane and number of each descriptor that leads to it now."""
        return [(int(lane or 0), int(number or 0)) for lane, number, _, end in thing.holds if end is None]

    def _put(self, owner: int, number: int, thing: Thing, at: int, cloexec: bool | None) -> Slot:
        table = self._tables.setdefault(owner, {})
        if number in table:
            self.close(owner, number, at)
        hold: list[int | None] = [owner, number, at, None]
        thing.holds.append(hold)
        table[number] = Slot(thing, at, hold, cloexec)
        self.change(["+", owner, number, thing.id, *([bool(cloexec)] if cloexec is not None else [])])
        return table[number]

    def _thing(self, place: int, kind: str, leads: str) -> Thing:
        made = Thing(len(self.timeline.things), place, kind, plain(leads))
        self.timeline.things.append(made)
        self._by_leads[place, leads] = made
        return made

    def _contradicts(self, thing: Thing, leads: str) -> bool:
        """Strace tells another inode or another pair of addresses than the one we know: a close was missed."""
        ends = pair(leads)
        if ends and thing.connection is not None:
            known = self.timeline.connections[thing.connection]
            return set(ends) != {known.client, known.server}
        return leads.startswith("pipe:") and thing.kind == "pipe" and leads not in thing.label

    # Connections

    def join(self, thing: Thing, local: str, remote: str, at: int) -> Connection:
        """A socket turns out to be an end of this connection."""
        if thing.connection is not None:
            return self.timeline.connections[thing.connection]
        end = "server" if thing.place == 0 else "client"
        client, server = (remote, local) if end == "server" else (local, remote)
        connection = self._known(client, server, at)
        connection.things.setdefault(end, thing.id)
        thing.connection, thing.kind, thing.label = connection.id, "connection", f"{local} -> {remote}"
        self.change(["k", thing.id, connection.id])
        if connection.id not in self._heard and not connection.state(end):
            self._set(connection, end, "ESTABLISHED", at)
        return connection

    def accept(self, lane: int, number: int, ends: tuple[str, str] | None, leads: str, at: int, cloexec: bool) -> Thing:
        """A connection comes off the listener's queue."""
        thing = self.open(lane, number, leads, at, kind="connection", cloexec=cloexec)
        if ends:
            connection = self.join(thing, *ends, at)
            connection.accepted, connection.accepted_by = at, lane
        return thing

    def said_end(self, thing: Thing, at: int, *, has_read: bool) -> None:
        """From calls alone, where no segments were heard: end of file was read, or the writing end shut."""
        connection = self.timeline.connections[thing.connection] if thing.connection is not None else None
        if connection is None or connection.id in self._heard:
            return
        end = "server" if thing.place == 0 else "client"
        state = connection.state(end)
        if has_read:
            following = {"ESTABLISHED": "CLOSE_WAIT", "FIN_WAIT1": "TIME_WAIT", "FIN_WAIT2": "TIME_WAIT"}
        else:
            following = {"ESTABLISHED": "FIN_WAIT1", "CLOSE_WAIT": "LAST_ACK"}
            connection.fin.setdefault(end, at)
        if state in following:
            self._set(connection, end, following[state], at)

    def _last_close(self, thing: Thing, at: int) -> None:
        if thing.connection is not None:
            self.said_end(thing, at, has_read=False)

    def segment(
        self, at: int, source: str, target: str, flags: str, seq: int, ack: int, length: int
    ) -> tuple[Connection, str, list[Change]]:
        """A segment was heard: its connection, which end sent it, and which states changed."""
        client, server = (target, source) if _is_server(source) else (source, target)
        sender = "client" if client == source else "server"
        connection = self._known(client, server, at, syn=seq if flags == "S" else None)
        tcp = self._tcp[connection.id]
        self._heard.add(connection.id)
        changed = tcp.take(at, sender, flags, seq, ack, length)
        if "F" in flags:
            connection.fin.setdefault(sender, at)
        if "R" in flags:
            connection.reset.setdefault(sender, at)
        for end, state, since in changed:
            self._note(connection, end, state, since)
        return connection, sender, changed

    def _known(self, client: str, server: str, at: int, syn: int | None = None) -> Connection:
        """The connection between these addresses; with ``syn`` a new one, unless that SYN is only sent again."""
        found = self._current.get((client, server))
        if found is not None and syn is not None:
            known = self._tcp[found.id].isn
            # Whoever joined by a call a moment before its SYN was read has no first number yet.
            fresh = known is None and not found.before and found.state("server") not in _ENDED
            if not fresh and known != syn:
                found = None
        if found is None:
            found = Connection(len(self.timeline.connections), client, server, at)
            self.timeline.connections.append(found)
            self._current[client, server] = found
            self._tcp[found.id] = Tcp()
            self.change(["k+", found.id])
        return found

    def _set(self, connection: Connection, end: str, state: str, at: int) -> None:
        self._tcp[connection.id].put(end, state, at)
        self._note(connection, end, state, at)

    def _note(self, connection: Connection, end: str, state: str, at: int) -> None:
        connection.states[end].append((at, state))
        self.change(["t", connection.id, end, state])

    # What was there before

    def look(self, seen: Mapping[str, Any], lanes: Mapping[int, int]) -> None:
        """The descriptors and connections of a snapshot."""
        sockets = {row["inode"]: row for row in seen.get("sockets", []) if row["inode"]}
        for row in seen.get("sockets", []):
            if row["state"] != "LISTEN" and _is_server(plain(row["local"])):
                self._look_at(row)
        shared: dict[str, Thing] = {}
        for row in seen.get("descriptors", []):
            if row["pid"] in lanes:
                leads = _leads(row, sockets)
                # A snapshot does not tell which descriptors share a description; those of one inode do, mostly.
                key = leads if row["inode"] else f"{row['pid']} {row['fd']}"
                key += str(row.get("end") or "")
                if key not in shared:
                    shared[key] = self._thing(0, kind_of(leads), leads)
                    shared[key].label += f" {row['end']} end" if row.get("end") else ""
                cloexec = "O_CLOEXEC" in row["flags"] if row.get("flags") else None
                self._put(lanes[row["pid"]], int(row["fd"]), shared[key], 0, cloexec)
                if ends := pair(leads):
                    self.join(shared[key], *ends, 0)

    def _look_at(self, row: Mapping[str, Any]) -> None:
        connection = self._known(plain(row["remote"]), plain(row["local"]), 0)
        connection.before = True
        self._heard.add(connection.id)
        self._set(connection, "server", str(row["state"]).replace("CLOSE", "CLOSED", row["state"] == "CLOSE"), 0)
        if row["state"] in ("ESTABLISHED", "SYN_RECV"):
            self._set(connection, "client", "ESTABLISHED", 0)

    def expire(self) -> None:
        """TIME_WAIT ends after a minute, with no segment and no call."""
        for connection in self.timeline.connections:
            for states in connection.states.values():
                if states and states[-1][1] == "TIME_WAIT" and states[-1][0] + TIME_WAIT_NS < self.timeline.length:
                    states.append((states[-1][0] + TIME_WAIT_NS, "CLOSED"))


def _is_server(address: str) -> bool:
    return address.endswith(f":{SERVER_PORT}")


def _leads(row: Mapping[str, Any], sockets: Mapping[int, Mapping[str, Any]]) -> str:
    """A row of /proc/PID/fd in the words of strace."""
    socket = sockets.get(row["inode"]) if row["kind"] == "socket" else None
    if socket is None:
        return str(row["target"])
    if socket["state"] == "LISTEN":
        return f"TCP:[{socket['local']}]"
    return f"TCP:[{socket['local']}->{socket['remote']}]"
