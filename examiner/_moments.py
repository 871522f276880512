"""What happened in a check, in order of time: what the examiner did, and what the kernel showed of the subject.

The host draws the time-line of a verdict from it. Nothing is looked at for its sake, so that it disturbs no check: a
process or a socket changes here when the check looked and found it changed. Each record is a mapping for JSON:

- ``at``: seconds since the check began; ``until`` where it took longer; ``kind``, and by kind:
- ``start``: the subject's first process, ``pid``, is there; ``end``: all of it is killed.
- ``ready``: the subject listens and has served a first client; from here on the check provokes it.
- ``process``: ``pid``, ``ppid`` (0: the examiner), ``name``, ``threads``, and ``state``: ``alive`` (it runs or sleeps),
  ``stopped``, ``zombie``, ``gone``.
- ``socket``: the subject's end of the connection of ``client``, 0 its listener: ``state`` as tcp(7) has it, empty when
  there is none any more, ``open`` where only its holders are known; and the ``pids`` that hold it, None where nobody
  looked.
- ``connect``, ``refused``, ``accept`` (the subject is a client, and ``client`` our end of its connection),
  ``send`` and ``receive`` (``bytes``), ``fin`` and ``rst`` (the subject's side ended so), ``half-close``, ``reset``,
  ``close``: of a ``client``; then so many are ``open``.
- ``signal``: ``name`` sent to ``pid``; ``limit``: ``name`` is now ``soft`` for ``pid``; ``type`` (``bytes``) and
  ``end-of-input``: at the keyboard of a client; ``trace``: strace attached, with ``words`` of what it injects.
- ``note``: ``words`` of the evidence; ``verdict``: ``words`` of it, with the ``verdict``.
- ``left-out``: ``count`` records from here ``until`` there were too many; what follows holds again.
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from probe.sockets import LISTEN

Record = dict[str, Any]

FIRST, LAST = 100, 300
"""Records that are kept of many: how it began, and what led to the verdict."""
MOST_BETWEEN = 64
"""Processes and sockets whose state is told after the records that were left out."""
MOST_CLIENTS = 12
"""Clients whose sockets are followed; beyond, a picture shows no single ones."""
_LONGEST = 300
"""Letters of a note."""
_TOGETHER = 0.05
"""Seconds: bytes that follow each other as fast as that are one record."""
_STILL = 0.3
"""Seconds: a socket that is seen again so soon was like that all the time."""
_OPEN = ("ESTABLISHED", "CLOSE_WAIT")
_OVER = ("gone", "")
_STATES = {"T": "stopped", "Z": "zombie", "X": "gone"}

Tell = Callable[..., None]


class Moments:
    """The records of one check."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._first: list[Record] = []
        self._last: deque[Record] = deque()
        self._known: set[tuple[str, int]] = set()
        self._between: dict[tuple[str, int], Record] = {}
        self._gap: Record = {}
        self._clients = self._open = 0
        self._peers: dict[str, int] = {}
        self._bytes: dict[tuple[int, str], Record] = {}
        self._processes: dict[int, Record] = {}
        self._inodes: dict[int, int] = {}
        self._sockets: dict[int, Record] = {}
        self._stale: set[int] = set()
        self._frozen: set[int] = set()
        self._over = False

    def add(self, kind: str, **facts: Any) -> None:
        """Something happened now; nothing that happens after the verdict counts."""
        if not self._over:
            self._bytes.clear()
            self._keep({"at": self._now(), "kind": kind, **facts})

    def note(self, kind: str, words: str, **facts: Any) -> None:
        """The same with words, of which only the first letters are kept."""
        self.add(kind, words=words if len(words) <= _LONGEST else f"{words[:_LONGEST]} …", **facts)

    def start(self, pid: int, name: str) -> None:
        """The subject's first process is there; it may have ended before anybody looks at it."""
        self.add("start", pid=pid)
        self._see(pid, ppid=0, name=name, threads=1, state="alive")

    def signal(self, pid: int, name: str) -> None:
        """It was sent to a process of the subject."""
        self.add("signal", pid=pid, name=name)
        if name == "SIGSTOP":
            self._frozen.add(pid)
        elif name == "SIGCONT":
            self._frozen.discard(pid)

    def end(self, verdict: str, words: str) -> None:
        """The verdict; then it is over."""
        self.note("verdict", words, verdict=verdict)
        self._over = True

    def told(self) -> list[Record]:
        """What was recorded."""
        if not self._gap:
            return [*self._first, *self._last]
        still = [{**each, "at": self._gap["until"]} for each in self._between.values()]
        return [*self._first, self._gap, *still[-MOST_BETWEEN:], *self._last]

    # Connections.

    def client(self, address: str, kind: str = "connect") -> Tell:
        """There is a new connection with this ``address`` of ours; what is told of it goes to the function."""
        self._clients += 1
        self._open += 1
        number = self._clients
        self._peers[address] = number
        self.add(kind, client=number, open=self._open)

        def tell(what: str, count: int | None = None) -> None:
            if count is None:
                self._open -= what in ("close", "reset")
                self._stale.add(number)  # an end of it changes the state of the other end
                self.add(what, client=number, open=self._open)
            else:
                self._flow(number, what, count)

        return tell

    def _flow(self, client: int, kind: str, count: int) -> None:
        """Bytes go by: together with those just before them, if nothing else has happened."""
        last, now = self._bytes.get((client, kind)), self._now()
        if last and now - last["until"] < _TOGETHER:
            last["until"], last["bytes"] = now, last["bytes"] + count
        elif not self._over:
            self._bytes[client, kind] = {"at": now, "until": now, "kind": kind, "client": client, "bytes": count}
            self._keep(self._bytes[client, kind])

    # What the kernel shows.

    def processes(self, first: int, tree: Mapping[int, Mapping[str, Any]]) -> None:
        """The subject's processes were looked at.

        Args:
            first: its first one, our child; when it has ended it stays a zombie until we wait for it, by our own doing.
            tree: by PID, as ``Subject.tree`` has them.
        """
        for pid, process in tree.items():
            state = _STATES.get(process["state"], "alive")
            if process["state"] == "t" and pid in self._frozen:
                state = "stopped"  # and traced by strace
            if pid == first and state == "zombie":
                state = "gone"
            ppid = process["ppid"] if process["ppid"] in tree else 0
            self._see(pid, ppid=ppid, name=process["name"], threads=process["threads"], state=state)
        for pid in [pid for pid in self._processes if pid not in tree]:
            self._see(pid, state="gone")

    def _see(self, pid: int, *, state: str, **facts: Any) -> None:
        last = self._processes.get(pid, {"state": "gone"})
        if last["state"] == state and (state == "gone" or all(last[name] == value for name, value in facts.items())):
            return
        self.add("process", pid=pid, state=state, **facts)
        self._processes[pid] = {"state": state, **facts}
        if state == "gone":
            del self._processes[pid]
        if state in ("zombie", "gone"):  # neither has descriptors any more
            for client, socket in list(self._sockets.items()):
                if pid in (socket["pids"] or ()):
                    self._released(client, socket["state"], [each for each in socket["pids"] if each != pid])

    def _released(self, client: int, state: str, pids: list[int]) -> None:
        """A process has ended. With the last one that held a listener this goes, too; a connection begins to end."""
        self._socket(client, state if pids else "open" if client else "", pids)

    def sockets(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """All sockets of the subject's port were looked at, as ``probe.sockets`` has them."""
        found = {0 if row["state"] == LISTEN else self._peers.get(row["remote"], -1): row for row in rows}
        self._stale -= found.keys()
        for client, row in found.items():
            if 0 <= client <= MOST_CLIENTS:
                if row["inode"]:
                    self._inodes[row["inode"]] = client
                waits = not row["inode"] and row["state"] in _OPEN  # in the backlog: nobody has accepted it
                self._socket(client, row["state"], [] if waits else self._held(client, row["state"]))
        for client in self._sockets.keys() - found.keys():
            self._socket(client, "", None)

    def _held(self, client: int, state: str) -> list[int] | None:
        """Who held a socket when that was looked at last, as long as its state is the same."""
        last = self._sockets.get(client, {})
        return last.get("pids") or None if last.get("state") == state else None

    def holders(self, held: Mapping[int, Collection[int]]) -> None:
        """All descriptors of the subject were looked at: PIDs by inode."""
        for inode, client in self._inodes.items():
            if state := self._sockets[client]["state"]:
                self._socket(client, "open" if client in self._stale else state, sorted(held.get(inode, ())))

    def _socket(self, client: int, state: str, pids: list[int] | None) -> None:
        """The same as just before makes the record longer; what was not seen for a while begins anew."""
        last, now = self._sockets.get(client), self._now()
        if self._over or (last and not last["state"] and not state):
            return
        if last and (last["state"], last["pids"]) == (state, pids) and now - last["until"] < _STILL:
            last["until"] = now
        elif last and last["state"] == state and last["pids"] is None and now - last["at"] < _TOGETHER:
            last["until"], last["pids"] = now, pids  # the two looks of which one wants to know both
        else:
            seen = {"at": now, "until": now, "kind": "socket", "client": client, "state": state, "pids": pids}
            self._sockets[client] = seen
            self._keep(seen)

    # The bound.

    def _now(self) -> float:
        return round(time.monotonic() - self._begin, 6)

    def _keep(self, record: Record) -> None:
        if len(self._first) < FIRST:
            self._first.append(record)
            self._known.add(_about(record))
            return
        self._last.append(record)
        if len(self._last) > LAST:
            old = self._last.popleft()
            self._gap = self._gap or {"at": old["at"], "kind": "left-out", "count": 0}
            self._gap["count"] += 1
            self._gap["until"] = old["at"]
            self._between.pop(_about(old), None)
            if old["kind"] in ("process", "socket") and (old["state"] not in _OVER or _about(old) in self._known):
                self._between[_about(old)] = old


def _about(record: Record) -> tuple[str, int]:
    """Whose state a record tells."""
    return record["kind"], record["pid"] if "pid" in record else record.get("client", 0)
