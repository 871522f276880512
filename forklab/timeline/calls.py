"""Says what each system call on descriptors did, and brings the tables up to date."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from forklab.timeline.model import Lane, Thing
from forklab.timeline.strace import Call, descriptor, descriptors
from forklab.timeline.tables import Tables, pair, plain


@dataclass
class Said:
    """What a call did: the kind of event, the words for it, its fields; ``minor`` is what one steps over at first."""

    kind: str
    text: str
    minor: bool = False
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass
class _Deed:
    """A call with what its handler needs."""

    tables: Tables
    lane: Lane
    call: Call
    at: int

    @property
    def ok(self) -> bool:
        return self.call.value is not None and self.call.value >= 0 and not self.call.error

    def argument(self, index: int) -> str:
        return self.call.args[index] if index < len(self.call.args) else ""

    def descriptor(self, index: int = 0) -> tuple[int, Thing] | None:
        """The descriptor that an argument names, and where it leads."""
        number, leads = descriptor(self.argument(index))
        if number is None or number < 0:
            return None
        return number, self.tables.resolve(self.lane.id, number, leads, self.at).thing

    @property
    def cloexec(self) -> bool:
        return "_CLOEXEC" in self.call.text.rpartition(" = ")[0]


def describe(tables: Tables, lane: Lane, call: Call, at: int) -> Said | None:
    """What ``call`` did; None for what nobody wants to see."""
    handler = _HANDLERS.get(call.name)
    return handler(_Deed(tables, lane, call, at)) if handler else None


def _about(deed: _Deed, number: int, thing: Thing) -> dict[str, Any]:
    found: dict[str, Any] = {"fd": number, "thing": thing.id}
    if thing.connection is not None:
        found["connection"] = thing.connection
    return found


def _is_minor(thing: Thing) -> bool:
    """What a server's start and a resolver are full of: anything but TCP sockets and pipes."""
    return thing.kind not in ("connection", "listener", "pipe") and not thing.label.startswith("TCP")


def _of(thing: Thing) -> str:
    return thing.label if thing.kind in ("connection", "pipe", "file") else f"{thing.kind} {thing.label}"


def _open(kind: str) -> Callable[[_Deed], Said | None]:
    def handle(deed: _Deed) -> Said | None:
        if not deed.ok or deed.call.value is None:
            return None
        thing = deed.tables.open(
            deed.lane.id, deed.call.value, deed.call.made, deed.at, kind=kind, cloexec=deed.cloexec
        )
        words = f"opens {_of(thing)} as fd {deed.call.value}"
        return Said("open", words, _is_minor(thing), _about(deed, deed.call.value, thing))

    return handle


def _pipe(deed: _Deed) -> Said | None:
    ends = descriptors(deed.argument(0))
    if not deed.ok or len(ends) != 2:
        return None
    names = ("read end", "write end") if deed.call.name.startswith("pipe") else ("one end", "other end")
    made = []
    for (number, leads), name in zip(ends, names, strict=True):
        thing = deed.tables.open(deed.lane.id, number, leads, deed.at, cloexec=deed.cloexec)
        thing.label = f"{plain(leads)} {name}"
        made.append(thing)
    first, second = ends[0][0], ends[1][0]
    word = "pipe" if deed.call.name.startswith("pipe") else "pair of sockets"
    fields = {"fds": [first, second], "things": [thing.id for thing in made]}
    return Said("pipe", f"makes a {word}: fd {first} and fd {second}", False, fields)


def _accept(deed: _Deed) -> Said | None:
    listener = deed.descriptor()
    number = deed.call.value
    if not deed.ok or number is None or listener is None:
        blocked = deed.call.error in ("EAGAIN", "ERESTARTSYS", None)
        return Said("accept", f"accepts nobody: {deed.call.error or 'still waits'}", blocked)
    ends = pair(deed.call.made) or _peer(deed, listener[1])
    thing = deed.tables.accept(deed.lane.id, number, ends, deed.call.made, deed.at, deed.cloexec)
    who = ends[1] if ends else "a client that has gone"
    return Said("accept", f"accepts {who} as fd {number}", False, _about(deed, number, thing) | {"peer": who})


def _peer(deed: _Deed, listener: Thing) -> tuple[str, str] | None:
    """The client's address from the second argument, where the kernel has no socket left to ask for it."""
    text = deed.argument(1)
    port = re.search(r"port=htons\((\d+)\)", text)
    address = re.search(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"', text)
    if not port or not address:
        return None
    host = address[1] or address[2].removeprefix("::ffff:")
    client = f"{host}:{port[1]}" if ":" not in host else f"[{host}]:{port[1]}"
    found = [c for c in deed.tables.timeline.connections if c.client == client]
    return (found[-1].server if found else listener.label.partition("[")[2].rstrip("]")), client


def _connect(deed: _Deed) -> Said | None:
    found = deed.descriptor()
    text = deed.argument(1)
    port = re.search(r"port=htons\((\d+)\)", text)
    address = re.search(r'"([^"]+)"', text)
    if found is None or not port or not address or "UDP" in found[1].label:
        return None
    to = f"{address[1]}:{port[1]}"
    trouble = "" if deed.ok or deed.call.error == "EINPROGRESS" else f": {deed.call.error}"
    return Said("connect", f"connects to {to}{trouble}", False, _about(deed, *found) | {"peer": to})


def _close(deed: _Deed) -> Said | None:
    number, leads = descriptor(deed.argument(0))
    if number is None or (deed.call.error and deed.call.error != "EINTR"):
        return None
    deed.tables.resolve(deed.lane.id, number, leads, deed.at)
    thing = deed.tables.close(deed.lane.id, number, deed.at)
    if thing is None:
        return None
    holders = deed.tables.holders(thing)
    others = sorted({deed.tables.timeline.lanes[lane].pid for lane, _ in holders})
    rest = f"; still held by {', '.join(map(str, others))}" if others and thing.kind != "file" else ""
    return Said("close", f"closes fd {number} {_of(thing)}{rest}", _is_minor(thing), _about(deed, number, thing))


def _close_range(deed: _Deed) -> Said | None:
    try:
        first, last = int(deed.argument(0)), int(re.sub(r"\D.*", "", deed.argument(1)) or "4294967295")
    except ValueError:
        return None
    gone = [number for number in deed.tables.table(deed.lane.id) if first <= number <= last]
    for number in gone:
        if "CLOSE_RANGE_CLOEXEC" in deed.argument(2):
            deed.tables.set_cloexec(deed.lane.id, number, True)
        else:
            deed.tables.close(deed.lane.id, number, deed.at)
    return Said("close", f"closes {len(gone)} descriptors from fd {first} on", not gone) if gone else None


def _dup(deed: _Deed) -> Said | None:
    old, leads = descriptor(deed.argument(0))
    new = deed.call.value
    if not deed.ok or old is None or new is None:
        return None
    thing = deed.tables.copy(deed.lane.id, old, new, leads, deed.at, cloexec=deed.cloexec)
    return Said(
        "dup", f"fd {new} is now a copy of fd {old} {_of(thing)}", thing.kind == "file", _about(deed, new, thing)
    )


_QUEUES = {"FIONREAD": "unread", "TIOCOUTQ": "unconfirmed"}
"""What ioctl(2) tells of a socket: bytes received that nobody has read; bytes sent that the peer has not confirmed."""


def _fcntl(deed: _Deed) -> Said | None:
    found = deed.descriptor()
    word = deed.argument(1)
    if found is None or not deed.ok:
        return None
    if word.startswith("F_DUPFD"):
        return _dup(deed)
    if word == "F_SETFD" or word in ("FIOCLEX", "FIONCLEX"):
        on = word == "FIOCLEX" or "FD_CLOEXEC" in deed.argument(2)
        deed.tables.set_cloexec(deed.lane.id, found[0], on)
        return Said("flags", f"fd {found[0]} {'closes' if on else 'stays open'} at exec", True, _about(deed, *found))
    if (word == "F_SETFL" or word == "FIONBIO") and found[1].kind != "file":
        on = "O_NONBLOCK" in deed.argument(2) or deed.argument(2) == "[1]"
        return Said("flags", f"fd {found[0]} {'never blocks' if on else 'may block'}", True, _about(deed, *found))
    told = re.fullmatch(r"\[(\d+)\]", deed.argument(2))
    if word in _QUEUES and told:
        about = {**_about(deed, *found), "queue": _QUEUES[word], "bytes": int(told[1])}
        return Said("queue", f"fd {found[0]} has {told[1]} bytes {_QUEUES[word]}", True, about)
    return None


def _bind(deed: _Deed) -> Said | None:
    found = deed.descriptor()
    if found is None or "inet" not in deed.argument(1):
        return None
    trouble = "" if deed.ok else f": {deed.call.error}"
    address = re.search(r'"([^"]+)"', deed.argument(1))
    port = re.search(r"htons\((\d+)\)", deed.argument(1))
    where = f"{address[1] if address else '?'} port {port[1] if port else '?'}"
    return Said("bind", f"binds fd {found[0]} to {where}{trouble}", False, _about(deed, *found))


def _listen(deed: _Deed) -> Said | None:
    found = deed.descriptor()
    if found is None:
        return None
    leads = plain(descriptor(deed.argument(0))[1])
    if deed.ok:
        address = re.fullmatch(r"TCP(?:v6)?:\[(.+:\d+)\]", leads)
        found[1].kind, found[1].label = "listener", address[1] if address else leads
        deed.tables.change(["l", found[1].id, found[1].kind, found[1].label])
    return Said("listen", f"listens on {found[1].label}, backlog {deed.argument(1)}", False, _about(deed, *found))


def _transfer(kind: str) -> Callable[[_Deed], Said | None]:
    def handle(deed: _Deed) -> Said | None:
        found = deed.descriptor()
        if found is None:
            return None
        number, thing = found
        thing.used_by.add(deed.lane.owner)
        _passed(deed)
        if thing.kind == "file" or thing.label.startswith(("UDP", "NETLINK")):
            return None
        fields = _about(deed, *found)
        if deed.call.error or deed.call.value is None:
            why = deed.call.error or "it has not returned"
            blocked = why in ("EAGAIN", "EINTR", "ERESTARTSYS", "it has not returned")
            return Said(kind, f"{kind}s nothing on fd {number}: {why}", blocked, fields)
        count = deed.call.value
        to = "from" if kind == "read" else "to"
        words = f"{kind}s {count} bytes {to} fd {number} {_of(thing)}"
        if count == 0 and kind == "read":
            words = f"reads end of file from fd {number} {_of(thing)}"
            deed.tables.said_end(thing, deed.at, has_read=True)
        return Said(kind, words, thing.kind not in ("connection", "pipe", "socket"), fields | {"bytes": count})

    return handle


def _at_offset(kind: str) -> Callable[[_Deed], Said | None]:
    def handle(deed: _Deed) -> Said | None:
        found = deed.descriptor()
        if found is None or not deed.ok:
            return None
        words = f"{kind}s {deed.call.value} bytes at {deed.argument(3)} of {found[1].label}"
        return Said(kind, words, True, _about(deed, *found) | {"bytes": deed.call.value})

    return handle


def _passed(deed: _Deed) -> None:
    """Descriptors that came by message (SCM_RIGHTS, unix(7))."""
    for inner in (
        re.findall(r"SCM_RIGHTS, cmsg_data=(\[.*?\])\}", deed.call.text) if deed.call.name == "recvmsg" else ()
    ):
        for number, leads in descriptors(inner):
            deed.tables.open(deed.lane.id, number, leads, deed.at, cloexec="MSG_CMSG_CLOEXEC" in deed.call.text)


def _move(deed: _Deed) -> Said | None:
    """splice, tee and sendfile: bytes go from one descriptor to another and never through the process."""
    source, target = (0, 2 if deed.call.name == "splice" else 1)
    if deed.call.name == "sendfile":
        source, target = 1, 0
    first, second = deed.descriptor(source), deed.descriptor(target)
    if first is None or second is None or deed.call.value is None:
        return None
    for _, thing in (first, second):
        thing.used_by.add(deed.lane.owner)
    words = f"moves {deed.call.value} bytes from fd {first[0]} to fd {second[0]}"
    fields = {"from_fd": first[0], "fd": second[0], "thing": second[1].id, "bytes": deed.call.value}
    return Said("splice", words, deed.call.value <= 0, fields)


def _shutdown(deed: _Deed) -> Said | None:
    found = deed.descriptor()
    if found is None:
        return None
    found[1].used_by.add(deed.lane.owner)
    how = deed.argument(1)
    if deed.ok and how != "SHUT_RD":
        deed.tables.said_end(found[1], deed.at, has_read=False)
    trouble = f": {deed.call.error}" if deed.call.error else ""
    return Said("shutdown", f"shuts fd {found[0]} ({how}){trouble}", False, _about(deed, *found) | {"how": how})


def _poll(deed: _Deed) -> Said | None:
    for text in re.findall(r"\{fd=(\d+<[^{}]*?>), ", deed.call.text):
        number, leads = descriptor(text)
        if number is not None:
            deed.tables.resolve(deed.lane.id, number, leads, deed.at)
    if deed.call.value is None:
        why = "until a signal comes" if deed.call.error else "to the end of the recording"
        return Said("poll", f"sleeps in {deed.call.name} {why}", True)
    return Said("poll", f"{deed.call.name} says that {deed.call.value} are ready", True)


def _kill(deed: _Deed) -> Said | None:
    if deed.call.name == "tgkill":
        target, name = deed.argument(1), deed.argument(2)
    else:
        target, name = deed.argument(0), deed.argument(1)
    trouble = f": {deed.call.error}" if deed.call.error else ""
    pid = int(target) if re.fullmatch(r"-?\d+", target) else None
    return Said("kill", f"sends {name} to process {target}{trouble}", name == "0", {"signal": name, "target_pid": pid})


def _asleep(deed: _Deed) -> Said | None:
    return Said("sleep", f"waits for a signal in {deed.call.name}", True)


def _nap(deed: _Deed) -> Said | None:
    until = "a signal comes" if deed.call.error else "the time is up"
    return Said("sleep", f"sleeps in {deed.call.name} until {until}", True)


def _alarm(deed: _Deed) -> Said | None:
    return Said("alarm", "sets its alarm clock, or takes it back", True)


def _sigreturn(deed: _Deed) -> Said | None:
    return Said("sigreturn", "returns from a handler", True)


_HANDLERS: dict[str, Callable[[_Deed], Said | None]] = {
    **dict.fromkeys(("accept", "accept4"), _accept),
    **dict.fromkeys(("read", "readv", "recvfrom", "recvmsg"), _transfer("read")),
    **dict.fromkeys(("write", "writev", "sendto", "sendmsg"), _transfer("write")),
    **dict.fromkeys(("poll", "ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait", "epoll_pwait2"), _poll),
    **dict.fromkeys(("dup", "dup2", "dup3"), _dup),
    **dict.fromkeys(("pipe", "pipe2"), _pipe),
    **dict.fromkeys(("fcntl", "ioctl"), _fcntl),
    **dict.fromkeys(("kill", "tkill", "tgkill"), _kill),
    **dict.fromkeys(("pause", "rt_sigsuspend", "rt_sigtimedwait"), _asleep),
    **dict.fromkeys(("nanosleep", "clock_nanosleep"), _nap),
    **dict.fromkeys(("alarm", "setitimer"), _alarm),
    **dict.fromkeys(("splice", "tee", "sendfile"), _move),
    **dict.fromkeys(("eventfd", "eventfd2"), _open("eventfd")),
    **dict.fromkeys(("epoll_create", "epoll_create1"), _open("epoll")),
    **dict.fromkeys(("signalfd", "signalfd4"), _open("signalfd")),
    **dict.fromkeys(("open", "openat", "openat2", "memfd_create", "inotify_init1"), _open("")),
    "pread64": _at_offset("read"),
    "pwrite64": _at_offset("write"),
    "rt_sigreturn": _sigreturn,
    "timerfd_create": _open("timerfd"),
    "pidfd_open": _open("pidfd"),
    "socket": _open("socket"),
    "socketpair": _pipe,
    "bind": _bind,
    "listen": _listen,
    "connect": _connect,
    "close": _close,
    "close_range": _close_range,
    "shutdown": _shutdown,
}
