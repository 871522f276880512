"""What the bench can measure and who takes part, in the words that tables and pictures use.

The container has the programs; this has their names and what a reader must know of them. Both know the same ids:
tests/lab/test_bench.py compares them.
"""

import difflib
from dataclasses import dataclass

from forklab.errors import UsageError


@dataclass(frozen=True)
class Section:
    """One kind of load. ``title`` says what is done, ``figure`` what is counted; the unit comes with the samples."""

    title: str
    figure: str


@dataclass(frozen=True)
class Entrant:
    """One program under test. ``family`` is one of FAMILIES, ``words`` say what it is."""

    family: str
    words: str


OURS, C, OTHERS = "forklab", "C", "others"
FAMILIES = (OURS, C, OTHERS)
"""Which way to serve is best is one question, what Python costs against C another: a picture tells them by colour."""

SECTIONS = {
    "churn-1": Section("Connect, 32 bytes, echo, close: one client at a time", "rate"),
    "paced": Section("Connect, 32 bytes, echo, close: one client, and 2 ms later the next", "median latency"),
    "churn-8": Section("Connect, 32 bytes, echo, close: 8 clients at once", "rate"),
    "churn-64": Section("Connect, 32 bytes, echo, close: 64 clients at once", "rate"),
    "bulk-1": Section("Bulk echo over one connection", "echoed"),
    "bulk-4": Section("Bulk echo over 4 connections", "echoed"),
    "memory": Section("Memory with 1,000 connections held", "PSS for each connection"),
    "hold": Section("As many connections held as possible", "answered"),
    "burst": Section("1,000 clients at the same instant", "until the slowest was answered"),
    "unp": Section("UNP's workload: 5,000 connections, 4,000 bytes each, 10 at once", "until all were answered"),
    "faults": Section("Page faults of the whole system, one client at a time", "of all programs together"),
    "split": Section("2,000 lines over a round trip of 20 ms", "echoed"),
    "fsync": Section("The service store: what fsync(2) costs", "recorded"),
}

ENTRANTS = {
    "iterative": Entrant(OURS, "one client after the other"),
    "fork": Entrant(OURS, "a process for each connection"),
    "fork-spare": Entrant(OURS, "the same, with children forked ahead"),
    "fork-log": Entrant(OURS, "the same as fork, with its log on"),
    "prefork": Entrant(OURS, "a pool of processes"),
    "thread": Entrant(OURS, "a thread for each connection"),
    "select": Entrant(OURS, "one process, select(2)"),
    "poll": Entrant(OURS, "one process, poll(2)"),
    "epoll": Entrant(OURS, "one process, epoll(7)"),
    "c-fork": Entrant(C, "fork in C, buffer of 64 KiB"),
    "c-prefork": Entrant(C, "a pool of processes in C"),
    "c-epoll": Entrant(C, "one process in C, epoll(7)"),
    "forking-tcpserver": Entrant(OTHERS, "CPython's socketserver.ForkingTCPServer"),
    "threading-tcpserver": Entrant(OTHERS, "CPython's socketserver.ThreadingTCPServer"),
    "asyncio": Entrant(OTHERS, "an asyncio protocol"),
    "uvloop": Entrant(OTHERS, "the same protocol on uvloop"),
    "socat": Entrant(OTHERS, "socat TCP-LISTEN,fork and a pipe"),
    "tcpserver": Entrant(OTHERS, "ucspi-tcp's tcpserver and cat"),
    "ncat": Entrant(OTHERS, "ncat --keep-open and cat"),
    "fork-split": Entrant(OURS, "the client that writes and reads in two processes"),
    "lock-step": Entrant(OURS, "the client that waits for each echo"),
    "fsync-never": Entrant(OURS, "the kernel writes when it likes"),
    "fsync-0.1": Entrant(OURS, "at most every 0.1 s"),
    "fsync-always": Entrant(OURS, "before a line goes back"),
}


def choose(only: str) -> list[str]:
    """The ids in ``only``, a text with commas; empty means all.

    Raises:
        UsageError: a word is no id; the message lists what there is and the nearest one.
    """
    words = [word.strip() for word in only.split(",") if word.strip()]
    known = [*SECTIONS, *ENTRANTS]
    for word in words:
        if word not in known:
            near = difflib.get_close_matches(word, known, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise UsageError(
                f'only "{word}" is neither a section nor an entrant{hint}; '
                f"sections: {', '.join(SECTIONS)}; entrants: {', '.join(ENTRANTS)}"
            )
    return words


def family(entrant: str) -> str:
    """The family of an entrant; one that the catalogue does not know is one of the others."""
    return ENTRANTS[entrant].family if entrant in ENTRANTS else OTHERS


def title(section: str) -> str:
    """What is done in a section; its id where the catalogue does not know it."""
    return SECTIONS[section].title if section in SECTIONS else section


def figure(section: str) -> str:
    """What a section's number is."""
    return SECTIONS[section].figure if section in SECTIONS else "value"
