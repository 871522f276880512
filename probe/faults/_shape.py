"""The choice between the two ways to handle packets on their way out: netem, else NFQUEUE."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from probe.faults._effect import Effect
from probe.faults._qdisc import Taken, discipline
from probe.faults._system import can

LIMIT = "10000"
"""How many packets netem keeps; as many as a queue of ``_nfqueue``."""


@contextmanager
def shaped(
    fault: str, did: str, netem: list[str], nfqueue: Callable[[], AbstractContextManager[Effect]]
) -> Iterator[Effect]:
    """Hold a discipline ``netem`` with these words where the kernel has it and the device is free, else ``nfqueue``.

    Raises:
        Refused: there is neither.
    """
    with ExitStack() as stack:
        if can("netem"):
            try:
                stack.enter_context(discipline(fault, "netem", "limit", LIMIT, *netem))
            except Taken:
                pass
            else:
                yield Effect("netem", did)
                return
        yield stack.enter_context(nfqueue())


def milliseconds(seconds: float) -> str:
    """As tc(8) and a person read it: ``50ms``, ``0.5ms``."""
    return f"{seconds * 1000:.12g}ms"


def share(fraction: float) -> str:
    """As tc(8) and a person read it: ``10%``."""
    return f"{fraction * 100:.6g}%"
