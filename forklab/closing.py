"""Says in words why a connection is not over: who still has to close it, so that its FIN can leave.

TCP sends a FIN when the last descriptor of a socket is closed, in whatever process it is, or at shutdown(2) (close(2),
RFC 9293 3.6). So after a fork the kernel waits for every process that has a copy, also for one that has forgotten it.
"""

from dataclasses import dataclass

from forklab.observe import ESTABLISHED, Snapshot, Socket

CLOSE_WAIT, LISTEN = "CLOSE_WAIT", "LISTEN"
FIN_WAIT1, FIN_WAIT2, LAST_ACK, CLOSING = "FIN_WAIT1", "FIN_WAIT2", "LAST_ACK", "CLOSING"


@dataclass(frozen=True)
class Holder:
    """A process that can still use a socket; ``fd`` is None where the look left the descriptors out."""

    pid: int
    fd: int | None
    parent: bool


@dataclass(frozen=True)
class Waiting:
    """A connection that is not over, and in ``words`` for what its end waits."""

    remote: str
    state: str
    inode: int
    holders: tuple[Holder, ...]
    words: str


def waiting(seen: Snapshot) -> list[Waiting]:
    """The connections whose closing is under way, or will be held up, in order of their state and peer."""
    found = []
    for socket in sorted(seen.connections(), key=lambda socket: (socket.state, socket.remote)):
        holders = _holders(socket, seen)
        words = _words(socket, holders, seen)
        if words:
            found.append(Waiting(socket.remote, socket.state, socket.inode, holders, f"{socket.remote}: {words}"))
    return found


def _words(socket: Socket, holders: tuple[Holder, ...], seen: Snapshot) -> str:
    who = _who(holders)
    if socket.state == CLOSE_WAIT:
        return f"the client has closed (CLOSE_WAIT); the FIN of this side waits for {who or _nobody(socket, seen)}"
    if socket.state == FIN_WAIT2:
        return "this side has closed (FIN_WAIT2); the client has not" + (
            f"; it can still be read by {who}" if who else ""
        )
    if socket.state in (FIN_WAIT1, LAST_ACK, CLOSING):
        return f"this side has sent its FIN ({socket.state}); the client has not acknowledged it"
    if socket.remote in seen.consistent.sockets:  # between accept and fork, say: the next look knows more
        return ""
    if socket.state == ESTABLISHED and len(holders) > 1:
        return f"open in {who}; no FIN can leave before each of them has closed it"
    if socket.state == ESTABLISHED and holders and _kept(holders[0].pid, seen):
        return f"only {who} holds it; if a child served it, that child has ended and its FIN never left"
    return ""


def _kept(pid: int, seen: Snapshot) -> bool:
    """Whether the only holder may be a parent that has forgotten its copy: it listens, and has waited for a child.

    No proof: a server that serves clients itself and has forked helpers only looks the same. So the words say "if".
    """
    process = seen.process(pid)
    listens = any(pid in row.holders for row in seen.sockets if row.state == LISTEN)
    return bool(process and process.waited and listens)


def _holders(socket: Socket, seen: Snapshot) -> tuple[Holder, ...]:
    held = [(row.pid, row.fd) for row in seen.holders(socket.inode) if socket.inode]
    numbers: list[tuple[int, int | None]] = [*held] or [(pid, None) for pid in socket.holders]
    return tuple(Holder(pid, fd, seen.is_parent(pid)) for pid, fd in sorted(numbers, key=lambda pair: pair[0]))


def _who(holders: tuple[Holder, ...]) -> str:
    """For example: process 12 (parent), fd 7, and process 30, fd 7."""
    names = [
        f"process {holder.pid}{' (parent)' * holder.parent}{'' if holder.fd is None else f', fd {holder.fd}'}"
        for holder in holders
    ]
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])}, and {names[-1]}"


def _nobody(socket: Socket, seen: Snapshot) -> str:
    """No process of the server holds it."""
    if socket.inode:
        return "a process that is not the server's"
    port = f":{socket.local.rpartition(':')[2]}"
    listeners = [row for row in seen.sockets if row.state == LISTEN and row.local.endswith(port)]
    pids = sorted({pid for row in listeners for pid in row.holders})
    return f"accept: it is still in the backlog of process {', '.join(map(str, pids)) or 'unknown'}"
