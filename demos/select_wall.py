"""select marks what is ready among its descriptors, and knows none above 1,023.

Question: What does select see, and where does it end?

Theory: select gets three sets, to read, to write, exceptional, and gives back those that are ready. A set is an array
of FD_SETSIZE = 1024 bits, fixed when the C library was built: descriptor 1024 has no bit, whatever the process may
open. In C, FD_SET writes past the array; Python refuses with ValueError. poll gets a list of numbers and has no such
wall.

Source: select(2), poll(2); UNP 6.3 and 6.10; TLPI 63.2.1
"""

import fcntl
import os
import resource
import select

from demos._show import Inconclusive, Show

FD_SETSIZE = 1024


def main(show: Show) -> str:
    """Ask select about three pipes, then about descriptors on both sides of the wall, and poll about the last one."""
    pipes = [os.pipe() for _ in range(3)]
    readers, writers = zip(*pipes, strict=True)
    os.write(writers[1], b"x")
    to_read, to_write, _ = select.select(readers, writers, [], 0)
    show(f"asked to read {list(readers)}, to write {list(writers)}; a byte was written into {writers[1]}")
    show(f"ready to read {to_read}, to write {to_write}")

    allow(FD_SETSIZE + 1)
    below = fcntl.fcntl(readers[1], fcntl.F_DUPFD, FD_SETSIZE - 1)
    above = fcntl.fcntl(readers[1], fcntl.F_DUPFD, FD_SETSIZE)
    show(f"the same pipe as {below} and {above}: {os.readlink(f'/proc/self/fd/{above}')}")
    seen = {}
    for name, ask in (("select", by_select), ("poll", by_poll)):
        seen[name] = [ask(descriptor) for descriptor in (below, above)]
        show(f"{name}: {below} {seen[name][0]}, {above} {seen[name][1]}")

    show.measure(ready_to_read=to_read, last_seen_by_select=below, **seen)
    show.expect(to_read == [readers[1]], "select names the one pipe with a byte in it")
    show.expect(to_write == list(writers), "each pipe with room is ready to write")
    show.expect(seen["select"] == ["ready", "ValueError"], f"select ends at descriptor {FD_SETSIZE - 1}")
    show.expect(seen["poll"] == ["ready", "ready"], f"poll sees descriptor {FD_SETSIZE} as well")
    return f"select saw {below} and refused {above}; poll saw both"


def by_select(descriptor: int) -> str:
    """The mistake in a server for many: a wall that no limit on open files moves."""
    try:
        return "ready" if select.select([descriptor], [], [], 0)[0] else "not ready"
    except ValueError as error:
        return type(error).__name__


def by_poll(descriptor: int) -> str:
    """The right way, or epoll(7) where most of them are idle."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return "ready" if poll.poll(0) else "not ready"


def allow(descriptors: int) -> None:
    """Raise the soft limit on open files so far, which any process may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < descriptors:
        raise Inconclusive(f"this process may open {hard} files at most, and the wall is at {FD_SETSIZE}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, descriptors), hard))
