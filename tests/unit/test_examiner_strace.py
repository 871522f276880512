"""What strace writes of a process that sleeps in a call, or slept in one when strace let it go."""

import pytest

from examiner import _strace


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
