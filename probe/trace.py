"""Records what the server does: strace on each of its processes, and the segments that open and end its connections.

A recording is a folder of files: ``meta`` (one JSON object), ``first`` and ``last`` (the snapshots at begin and end),
``server-N`` (what strace wrote), ``segments`` (JSON lines), ``client-ID`` (written by the strace of a client's own
container) and ``faults`` (their journal). Nothing of it needs the server's help, and nothing stops the server for good:
the kernel detaches a tracer that died, also by SIGKILL, and lets its tracees go on (ptrace(2)).
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, Any

from probe.faults._desk import events
from probe.processes import PROC, status
from probe.segments import listen, record
from probe.snapshot import snapshot
from protocol import exits

FOLDER = Path("/trace")
"""Where a recording goes that begins with the server; clients write there too."""
MEMORY = Path("/dev/shm")
"""Where a recording of a running server goes: every container has 64 MiB there, whatever else it may write."""
OPTIONS = Path("/lab/strace.options")
GATE = "gate"
"""The name of the script that the server's container starts with when the lab is traced (images/gate)."""

_POLL_SECONDS = 0.005
_ATTACH_SECONDS = 20.0
_ROUNDS = 5
"""A process that was forked while we attached to its parent is found in the next round."""


class Failed(Exception):
    """strace did not attach; the message is its own."""


class Recorder:
    """One recording, from ``start`` to ``stop``, in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tracers: list[subprocess.Popen[bytes]] = []
        self._done = threading.Event()
        self._listener: threading.Thread | None = None
        self._meta: dict[str, Any] = {}

    def start(self) -> None:
        """Attach to every process of the server; then let it go on if it waits at the gate.

        Raises:
            Failed: strace cannot attach, or there is no server.
        """
        for old in self.folder.iterdir():
            if old.is_file():
                old.unlink()
        self._meta = {"clock": clock(), "gate": False}
        self._listen()
        server = _await_server()
        self._meta["gate"] = _is_gate(server)
        for number in range(_ROUNDS):
            seen = snapshot()["processes"]
            pids = [found["pid"] for found in seen if found["state"] != "Z" and not _tracer(found["pid"])]
            if not pids:
                break
            self._attach(pids, self.folder / f"server-{number}")
        _write(self.folder / "first", snapshot())
        _write(self.folder / "meta", self._meta)
        if self._meta["gate"]:
            os.kill(server, signal.SIGCONT)

    def stop(self) -> None:
        """Detach; the server goes on as if nothing had been."""
        for tracer in self._tracers:
            tracer.send_signal(signal.SIGINT)
        for tracer in self._tracers:
            try:
                tracer.wait(5)
            except subprocess.TimeoutExpired:
                tracer.kill()
                tracer.wait()
        self._done.set()
        if self._listener:
            self._listener.join()

    def _attach(self, pids: list[int], file: Path) -> None:
        words = OPTIONS.read_text().split()
        targets = [word for pid in pids for word in ("-p", str(pid))]
        # A session of its own: Ctrl-C in the terminal of an exec is for us, and we end strace in good order.
        tracer = subprocess.Popen(
            ["strace", *words, "-o", str(file), *targets],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._tracers.append(tracer)
        deadline = time.monotonic() + _ATTACH_SECONDS
        while any(_tracer(pid) == 0 for pid in pids):
            if tracer.poll() is not None or time.monotonic() > deadline:
                tracer.kill()
                said = tracer.communicate()[1].decode(errors="replace").strip().splitlines()
                raise Failed(said[-1] if said else "strace did not attach")
            time.sleep(_POLL_SECONDS)
        threading.Thread(target=_heed, args=(tracer,), name="heed", daemon=True).start()

    def _listen(self) -> None:
        """Record segments beside strace; without NET_RAW the recording does without them and says so."""
        try:
            link = listen()
        except OSError as error:
            self._meta["no_segments"] = error.strerror or "no packet socket"
            return
        words = (link, self.folder / "segments", self._done)
        self._listener = threading.Thread(target=record, args=words, name="segments", daemon=True)
        self._listener.start()


def clock() -> dict[str, int]:
    """How CLOCK_REALTIME, which strace prints, and CLOCK_MONOTONIC stand to each other, in nanoseconds.

    ``offset`` is realtime minus monotonic; ``error`` how far it may be off: half of the shortest of ten readings.
    """
    best = None
    for _ in range(10):
        before, real, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        if best is None or after - before < best["error"] * 2:
            best = {"offset": real - (before + after) // 2, "error": (after - before + 1) // 2, "monotonic": before}
    assert best
    return best


def stay_recording(end: set[signal.Signals]) -> None:
    """Record into the lab's own folder until a signal of ``end``; a failure is written there for the host to read."""
    recorder = Recorder(FOLDER)
    try:
        recorder.start()
    except (Failed, OSError) as error:
        _write(FOLDER / "meta", {"failed": str(error)})
        _open_gate()
    # Only now: strace inherits the mask, and one that blocks SIGINT would not end.
    signal.pthread_sigmask(signal.SIG_BLOCK, end)
    signal.sigwait(end)
    recorder.stop()


def recorded() -> int:
    """Write what has been recorded since the lab came up to standard output.

    Returns:
        The exit code: FAILED where the lab is not traced.
    """
    if not (FOLDER / "meta").exists():
        print("the lab is not traced", file=sys.stderr)
        return exits.FAILED
    bundle(FOLDER, sys.stdout.buffer)
    return exits.OK


def trace(seconds: float) -> int:
    """Record a running server for ``seconds``, at most until standard input ends or says a line; then write it out.

    The end of standard input without a line means that nobody waits for the recording any more.

    Returns:
        The exit code.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        recorder = Recorder(Path(name))
        try:
            recorder.start()
            print(json.dumps({"attached": True}), flush=True)
            ready, _, _ = select.select([sys.stdin], [], [], seconds)
            wanted = not ready or bool(sys.stdin.readline())
        except (Failed, OSError) as error:
            print(error, file=sys.stderr)
            return exits.LAB_FAILED
        except KeyboardInterrupt:
            wanted = False
        finally:
            recorder.stop()
        if wanted:
            bundle(Path(name), sys.stdout.buffer)
    return exits.OK


def bundle(folder: Path, out: IO[bytes]) -> None:
    """Write each file as a JSON line with its name and length, then its bytes; files that still grow end where read.

    The second look and the second reading of the clock are taken here: the end of the recording.
    """
    meta = json.loads((folder / "meta").read_text()) | {"clock_end": clock(), "truncated": _full(folder)}
    last = json.dumps(snapshot()).encode()
    faults = "".join(json.dumps(event) + "\n" for event in events()).encode()
    parts = {"meta": json.dumps(meta).encode(), "last": last, "faults": faults}
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.name not in parts:
            parts[file.name] = file.read_bytes()
    for name, content in parts.items():
        out.write(json.dumps({"file": name, "bytes": len(content)}).encode() + b"\n" + content)
    out.flush()


def _heed(tracer: subprocess.Popen[bytes]) -> None:
    """End strace at its first complaint: no space is left. Unread, its complaints would fill the pipe and stop it, and
    with it the server.
    """
    assert tracer.stderr
    if tracer.stderr.readline():
        tracer.send_signal(signal.SIGINT)
    for _ in tracer.stderr:  # to its end
        pass
    tracer.wait()


def _full(folder: Path) -> bool:
    """Whether the memory for recordings is used up, so that something may be missing at the end."""
    left = os.statvfs(folder)
    return left.f_bavail * left.f_frsize < 64 * 1024


def _await_server() -> int:
    """The server's main process; where it begins with the gate, once that sleeps."""
    deadline = time.monotonic() + _ATTACH_SECONDS
    while time.monotonic() < deadline:
        seen = snapshot()
        states = {found["pid"]: found["state"] for found in seen["processes"]}
        pid = seen["server"]
        if pid and states[pid] != "Z" and (not _is_gate(pid) or states[pid] == "T"):
            return int(pid)
        time.sleep(_POLL_SECONDS)
    raise Failed("there is no server to trace")


def _open_gate() -> None:
    """The server shall serve although nobody records it."""
    with contextlib.suppress(Failed, OSError):
        server = _await_server()
        if _is_gate(server):
            os.kill(server, signal.SIGCONT)


def _is_gate(pid: int) -> bool:
    try:
        words = Path(PROC, str(pid), "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return len(words) > 1 and os.path.basename(words[1].decode(errors="replace")) == GATE


def _tracer(pid: int) -> int | None:
    """The PID of who traces a process (proc_pid_status(5)); 0: nobody; None: the process has gone."""
    try:
        return int(status(pid)["TracerPid"])
    except OSError:
        return None


def _write(file: Path, content: dict[str, Any]) -> None:
    """Whole or not at all: a reader may come at any time."""
    new = file.with_name(f".{file.name}")
    new.write_text(json.dumps(content))
    new.replace(file)
