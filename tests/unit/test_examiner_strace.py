"""What strace writes of a process that sleeps in a call, or slept in one when strace let it go; and whom it holds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from examiner import _strace
from tests.deadline import until


@pytest.mark.parametrize("last", ['7  12.5 write(4, "abc"..., 4096', "7  12.5 read(4,  <detached ...>"])
def test_a_call_that_has_not_returned_is_known(last: str) -> None:
    """Its line has no end yet, or strace has let go of it."""
    *_, call = _strace.parse(f'7  12.0 read(4, "abc", 4096) = 3\n{last}')
    assert (call.pid, call.value, call.error) == (7, None, "")
    assert call.name == last.split()[2].partition("(")[0]


def test_a_call_reads_as_strace_wrote_it() -> None:
    """The report shows it so."""
    (call,) = _strace.parse("7  12.0 accept(3, NULL, NULL) = -1 EMFILE (Too many open files)")
    assert str(call) == "7 accept(3, NULL, NULL) = -1 EMFILE"


@pytest.mark.skipif(sys.platform != "linux", reason="the examiner reads Linux's /proc")
def test_a_process_that_has_ended_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording begins when whoever is left is traced: nobody can attach to a zombie, or to one that was reaped."""
    with subprocess.Popen(["sleep", "60"]) as left, subprocess.Popen(["true"]) as zombie:
        reaped = subprocess.Popen(["true"])
        reaped.wait()
        until(lambda: Path(f"/proc/{zombie.pid}/stat").read_text().split()[2] == "Z", "it is a zombie")
        pids = (left.pid, zombie.pid, reaped.pid)
        assert [_strace._tracer(pid) for pid in pids] == [0, None, None]
        assert not _strace._holds(os.getpid(), pids)
        monkeypatch.setattr(_strace, "_tracer", {left.pid: os.getpid()}.get)
        assert _strace._holds(os.getpid(), pids)
        assert not _strace._holds(os.getpid(), pids[1:])
        left.kill()
