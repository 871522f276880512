"""Says what happens, a line an event, on standard output: in plain words, or as JSON with the names of ``protocol``.

Each line is one write(2). Parent and children share the descriptor; up to PIPE_BUF bytes a write to a pipe is
atomic (pipe(7)), so their lines never mix.

Not the logging module: it brings locks, and handlers around fork that take them, at a cost for each connection.
"""

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from protocol import events

TEXT = {
    events.LISTENING: "listening on {host}:{port}: model {model}, service {service}, backlog {backlog}",
    events.CONNECTED: "client connected: {peer}, descriptor {fd}",
    events.DISCONNECTED: "client disconnected: {peer}, {bytes} bytes echoed, {reason}",
    events.REAPED: "process removed: {child}",
    events.FORK_FAILED: "nobody to serve {peer}: {error}; it waits, next try in {retry} s",
    events.ACCEPT_FAILED: "cannot accept: {error}; clients wait in the backlog, next try in {retry} s",
    events.FULL: "serving {connections} clients, the most allowed; others wait in the backlog",
    events.REFUSED: "turned away: {peer}, descriptor {fd}; select waits for numbers up to {highest} only (FD_SETSIZE)",
    events.DRAINING: "draining: no new clients; those being served have {seconds:g} s",
    events.CUT: "time is up: ending {connections} conversations",
    events.SERVED: "served {clients} clients, {bytes} bytes echoed",
    events.RECORDING: "recording in {file}",
    events.HALF_LINE: "{file} did not end in a whole line: {bytes} bytes moved to {file}.half",
    events.RECORDER_DIED: "the recorder is gone: {recorder}",
    events.RECORD_FAILED: "cannot record: {error}; clients are told",
    events.RECORDER_STAYS: "the recorder has not ended within {seconds:g} s",
    events.STOPPED: "stopped",
}
LATER = {
    "child": ", served by process {child}",
    "status": ", exit status {status}",
    "waiting": "; {waiting} wait",
    "signal": ", killed by {signal}",
    "retry": ", next try in {retry} s",
}
"""What is added to a sentence when an event has more to say."""


def _as_text(event: str, facts: dict[str, Any]) -> str:
    sentence = TEXT[event]
    for key, more in LATER.items():
        if key in facts and "{" + key not in sentence:
            sentence += more
    return f"[{os.getpid()}] " + sentence.format(**facts)


_format: Callable[[str, dict[str, Any]], str] = _as_text


def speak_json() -> None:
    """Log JSON from now on."""
    # Imported here, in the parent and before any fork: every page of it would be copied into each child's page table.
    from json import dumps

    def as_json(event: str, facts: dict[str, Any]) -> str:
        return dumps({"time": time.monotonic(), "pid": os.getpid(), "event": event, **facts})

    global _format
    _format = as_json


def log(event: str, **facts: Any) -> None:
    """Write one line about ``event``, a name of ``protocol.events``, with the facts that belong to it."""
    line = _format(event, facts) + "\n"
    try:
        os.write(1, line.encode())
    except OSError:  # whoever read the log is gone, or its disk is full: no reason to stop serving
        pass


def signal_name(number: int) -> str:
    """The name of a signal, or its number in words for one without (the real-time signals)."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
