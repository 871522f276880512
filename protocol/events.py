"""Names of the events a server or a client logs with ``--log json``: one JSON object a line, key ``event``.

Every line carries ``time`` (seconds of CLOCK_MONOTONIC, which all containers of one kernel share), ``pid`` and
``event``; the other keys are named beside each event.
"""

LISTENING = "listening"
"""The listener is bound. ``model``, ``service``, ``host``, ``port``, ``backlog``."""

CONNECTED = "connected"
"""A connection was accepted. ``peer``, ``fd`` (the connection's descriptor), ``child`` (the process that serves it)."""

DISCONNECTED = "disconnected"
"""A conversation ended. ``peer``, ``bytes`` (echoed), ``reason``: one of the ``REASON_`` words below."""

REAPED = "reaped"
"""A child was waited for. ``child``, and either ``status`` (its exit status) or ``signal`` (what killed it)."""

FORK_FAILED = "fork-failed"
"""The kernel refuses a process or a thread; the client waits. ``peer``, ``error``, ``retry`` (seconds)."""

ACCEPT_FAILED = "accept-failed"
"""accept(2) refused for want of a resource; clients wait in the backlog. ``error``, ``retry`` (seconds)."""

FULL = "full"
"""The cap on connections is reached; clients wait in the backlog. ``connections``; of a pool also ``waiting``."""

REFUSED = "refused"
"""select(2) cannot wait for a descriptor this high; the client is turned away. ``peer``, ``fd``, ``highest``."""

DRAINING = "draining"
"""SIGTERM: no new client is accepted, those being served have ``seconds`` left."""

CUT = "cut"
"""Time is up, or SIGINT: conversations still open are ended. ``connections``."""

SERVED = "served"
"""What the threads have counted together, at the end. ``clients``, ``bytes``."""

RECORDING = "recording"
"""Service store: a recorder, whose ``pid`` it is, begins or goes on after trouble. ``file``."""

HALF_LINE = "half-line"
"""Service store: the file did not end in a whole line; the rest goes to ``file``.half. ``file``, ``bytes``."""

RECORDER_DIED = "recorder-died"
"""Service store: the keeper, whose ``pid`` it is, forks another. ``recorder``, and ``status`` or ``signal``."""

RECORD_FAILED = "record-failed"
"""Service store: nothing can be recorded now; clients are told. ``error``, ``retry`` (seconds at most; none: never)."""

RECORDER_STAYS = "recorder-stays"
"""Service store: the server ends, though the recorder has not ended within ``seconds``."""

STOPPED = "stopped"
"""The last line of a server that ended as it was told."""

REASON_END = "end of input"
"""The peer half-closed; every byte went back, then FIN."""
REASON_RESET = "reset"
"""The peer reset the connection, or vanished while it was written to."""
REASON_IDLE = "idle"
"""Nothing came, or nothing was taken, for the idle timeout."""
REASON_CUT = "cut"
"""The server ended the conversation because it was told to stop."""
REASON_UNRECORDED = "not recorded"
"""Service store: a line could not be recorded; the peer was told why."""

ALL = (
    LISTENING,
    CONNECTED,
    DISCONNECTED,
    REAPED,
    FORK_FAILED,
    ACCEPT_FAILED,
    FULL,
    REFUSED,
    DRAINING,
    CUT,
    SERVED,
    RECORDING,
    HALF_LINE,
    RECORDER_DIED,
    RECORD_FAILED,
    RECORDER_STAYS,
    STOPPED,
)
