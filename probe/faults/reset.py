"""Reset connections of the server's port: their peers get a RST.

Where the kernel can it destroys the socket (SOCK_DESTROY of sock_diag(7), as ``ss -K`` does): the peer gets a RST with
the right sequence number and sees ECONNRESET, the target's own process sees ECONNABORTED.

Elsewhere the segments are made here, as somebody on the path could make them. A SYN within an open connection makes
each end say what it expects next (the challenge ACK of RFC 5961, 4), and a RST with exactly that number is believed
(3.2). Both ends see ECONNRESET. That way is for IPv4 only.

It is done at once, and nothing undoes it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from probe.faults import _destroy
from probe.faults._effect import Effect, Refused
from probe.faults._rst import both_ends
from probe.faults._system import hidden
from probe.sockets import sockets
from protocol import exits
from protocol.ports import SERVER_PORT

PARAMETERS = {
    "which": {
        "unit": "connection",
        "default": "all",
        "choices": ["all", "one"],
        "help": "all connections, any one (the answer names it), or that of a peer, ADDRESS:PORT",
    }
}
MOMENT = True
OPEN = ("ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT1", "FIN_WAIT2", "SYN_RECV")


@contextmanager
def hold(which: str) -> Iterator[Effect]:
    """Reset ``which`` connections."""
    rows = [row for row in sockets() if row["state"] in OPEN and _is_ours(row)]
    wanted = rows if which == "all" else rows[:1] if which == "one" else [r for r in rows if which in _ends(r)]
    if not wanted:
        there = ", ".join(row["remote"] for row in rows) or "none"
        code = exits.INCONCLUSIVE if which in ("all", "one") else exits.USAGE
        raise Refused(f'no connection to reset for "{which}"; there are: {there}', code)
    destroys = not hidden("sock_destroy") and _destroy.available()
    way, reset = ("sock_destroy", _destroy.destroy) if destroys else ("crafted RST", both_ends)
    gone = [row["remote"] for row in wanted if reset(row["local"], row["remote"])]
    if not gone:
        raise Refused(f"none of {len(wanted)} connections could be reset by {way}")
    yield Effect(way, f"reset: {', '.join(gone)}", lambda: {"reset": gone})


def _is_ours(row: dict[str, object]) -> bool:
    return any(end.endswith(f":{SERVER_PORT}") for end in _ends(row))


def _ends(row: dict[str, object]) -> tuple[str, str]:
    return str(row["local"]), str(row["remote"])
