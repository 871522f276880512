"""Follows the state of both ends of a connection from the segments that the probe has heard (RFC 9293, 3.3.2).

An end has received a FIN when it confirms it: a segment that a fault drops behind the packet socket changes nothing.
"""

from dataclasses import dataclass, field

TIME_WAIT_NS = 60_000_000_000
"""TCP_TIMEWAIT_LEN of Linux, net/tcp.h."""

_SENDS_FIN = {"SYN_RECV": "FIN_WAIT1", "ESTABLISHED": "FIN_WAIT1", "CLOSE_WAIT": "LAST_ACK"}
_HAS_FIN = {"SYN_RECV": "CLOSE_WAIT", "ESTABLISHED": "CLOSE_WAIT", "FIN_WAIT1": "CLOSING", "FIN_WAIT2": "TIME_WAIT"}
_CONFIRMED = {"FIN_WAIT1": "FIN_WAIT2", "CLOSING": "TIME_WAIT", "LAST_ACK": "CLOSED"}

OTHER = {"client": "server", "server": "client"}


Change = tuple[str, str, int]
"""An end, its new state, and since when."""


@dataclass
class Tcp:
    """Both ends; ``isn`` is the client's first sequence number, which tells a SYN sent again from a new connection."""

    isn: int | None = None
    states: dict[str, str] = field(default_factory=lambda: {"client": "", "server": ""})
    _since: dict[str, int] = field(default_factory=lambda: {"client": 0, "server": 0})
    _fins: dict[str, tuple[int, int]] = field(default_factory=dict)
    _changes: list[Change] = field(default_factory=list)

    def put(self, end: str, state: str, at: int) -> None:
        """An end changes its state, as is known from elsewhere."""
        if self.states[end] != state:
            self.states[end], self._since[end] = state, at
            self._changes.append((end, state, at))

    def take(self, at: int, sender: str, flags: str, seq: int, ack: int, length: int) -> list[Change]:
        """One segment, heard at ``at``; what has changed, in order.

        Whoever confirms a FIN has had it since it was last sent.
        """
        self._changes = []
        receiver = OTHER[sender]
        if "R" in flags:
            self.put("client", "CLOSED", at)
            self.put("server", "CLOSED", at)
        elif "S" in flags:
            self._shake(at, sender, flags, seq)
        else:
            self._confirm(at, sender, receiver, flags, ack)
        if "F" in flags and "R" not in flags:
            self._fins[sender] = ((seq + length + 1) & 0xFFFFFFFF, at)
            self._step(sender, _SENDS_FIN, at)
        return self._changes

    def _shake(self, at: int, sender: str, flags: str, seq: int) -> None:
        if sender == "client" and "A" not in flags:
            self.isn = seq
            self.put("client", "SYN_SENT", at)
            self.put("server", "SYN_RECV", at)
        elif sender == "server" and self.states["client"] in ("", "SYN_SENT"):
            self.put("client", "ESTABLISHED", at)

    def _confirm(self, at: int, sender: str, receiver: str, flags: str, ack: int) -> None:
        if self.states["server"] == "SYN_RECV" and sender == "client" and "A" in flags:
            self.put("server", "ESTABLISHED", at)
        fin, sent = self._fins.get(receiver, (-1, 0))
        if "A" in flags and fin == ack:
            del self._fins[receiver]
            self._step(sender, _HAS_FIN, max(sent, self._since[sender]))
            self._step(receiver, _CONFIRMED, at)

    def _step(self, end: str, table: dict[str, str], at: int) -> None:
        self.put(end, table.get(self.states[end], self.states[end]), at)
