"""What forklab promises about its speed, and whether a run keeps it.

A ratio holds on any machine, an absolute figure only where one is a property of the program: memory, page faults, how
many connections are held. The one time among them (burst) is so far from the peers' that a slow machine keeps it, too.
"""

from dataclasses import dataclass

from forklab.bench.run import Run
from forklab.bench.summary import LEFT_OUT, Spread, absence, errors, measured, ratio

MET, MISSED, NOT_MEASURED = "met", "missed", "not measured"


@dataclass(frozen=True)
class Goal:
    """``entrant`` in each of ``sections``, alone or divided by ``peer``, shall be ``at_least`` or ``at_most`` so much.

    ``detail`` takes another figure than the section's own. A ``flawless`` goal is missed by a single error.
    """

    id: str
    what: str
    sections: tuple[str, ...]
    entrant: str
    peer: str = ""
    at_least: float | None = None
    at_most: float | None = None
    detail: str = ""
    unit: str = ""
    flawless: bool = False


@dataclass(frozen=True)
class Finding:
    """A goal in one section. ``verdict`` is one of MET, MISSED, NOT_MEASURED.

    ``words`` say by how much it was missed, ``reason`` why it was not measured.

    ``reach`` is how far the measured figure is on the good side: 1 is the goal itself, more is better than it.
    """

    goal: str
    what: str
    section: str
    bound: str
    limit: float
    unit: str
    measured: Spread | None
    reach: Spread | None
    verdict: str
    words: str
    reason: str = ""


_ALONE = ("paced", "churn-1")
_CHURN = ("churn-8", "churn-64")
_BULK = ("bulk-1", "bulk-4")

GOALS = (
    Goal("fork-c", "fork / c-fork", _CHURN, "fork", "c-fork", at_least=0.45),
    Goal("fork-forking", "fork / forking-tcpserver", _CHURN, "fork", "forking-tcpserver", at_least=2.5),
    Goal("fork-tcpserver", "fork / tcpserver", _CHURN, "fork", "tcpserver", at_least=1.6),
    Goal("fork-socat", "fork / socat", _CHURN, "fork", "socat", at_least=1.05),
    Goal(
        "spare-p50",
        "fork-spare / c-fork, p50",
        ("paced", "churn-1"),
        "fork-spare",
        "c-fork",
        at_most=1.1,
        detail="p50_us",
    ),
    Goal("prefork-c-fork", "prefork / c-fork", ("churn-64",), "prefork", "c-fork", at_least=3.0),
    Goal("prefork-c-prefork", "prefork / c-prefork", ("churn-64",), "prefork", "c-prefork", at_least=0.95),
    Goal("epoll-c", "epoll / c-epoll", ("churn-64",), "epoll", "c-epoll", at_least=1.0),
    Goal("epoll-asyncio", "epoll / asyncio", ("churn-64",), "epoll", "asyncio", at_least=1.6),
    Goal("epoll-uvloop", "epoll / uvloop", ("churn-64",), "epoll", "uvloop", at_least=1.1),
    Goal("bulk-fork", "fork / c-fork", _BULK, "fork", "c-fork", at_least=1.0),
    Goal("bulk-epoll", "epoll / c-fork", _BULK, "epoll", "c-fork", at_least=1.15),
    Goal("memory-fork", "fork, each connection", ("memory",), "fork", at_most=200, unit="kB"),
    Goal("memory-forking", "fork / forking-tcpserver", ("memory",), "fork", "forking-tcpserver", at_most=0.25),
    Goal("hold-fork", "fork, no error", ("hold",), "fork", at_least=10_000, flawless=True),
    Goal("hold-epoll", "epoll, no error", ("hold",), "epoll", at_least=15_000, flawless=True),
    Goal("burst-fork", "fork, slowest of 1,000", ("burst",), "fork", at_most=400, unit="ms", flawless=True),
    Goal("faults-fork", "fork, each connection", ("faults",), "fork", at_most=90),
    Goal("split", "fork-split / lock-step", ("split",), "fork-split", "lock-step", at_least=1000),
)


def judge(run: Run) -> list[Finding]:
    """Each goal in each of its sections."""
    return [_judge(goal, section, run) for goal in GOALS for section in goal.sections]


def _judge(goal: Goal, section: str, run: Run) -> Finding:
    bound, limit = ("at least", goal.at_least) if goal.at_most is None else ("at most", goal.at_most)
    assert limit is not None
    if goal.peer:
        found = ratio(run, section, goal.entrant, goal.peer, goal.detail)
    else:
        found = Spread.of(measured(run, section, goal.entrant, goal.detail).values())
    wrong = sum(errors(run, section, goal.entrant).values()) if goal.flawless else 0
    verdict, words = _verdict(found, bound, limit, wrong)
    reach = _reach(found, bound, limit) if found else None
    reason = "" if found else _reason(goal, section, run)
    return Finding(goal.id, goal.what, section, bound, limit, goal.unit, found, reach, verdict, words, reason)


def _verdict(found: Spread | None, bound: str, limit: float, wrong: int) -> tuple[str, str]:
    if found is None:
        return NOT_MEASURED, NOT_MEASURED
    short = (limit - found.median if bound == "at least" else found.median - limit) / limit
    if short > 0:
        return MISSED, f"{MISSED} by {max(100 * short, 0.1):.{0 if short >= 0.01 else 1}f} %"
    if wrong:
        return MISSED, f"{MISSED} by {wrong:,} error{'s' * (wrong > 1)}"
    return MET, MET


def _reason(goal: Goal, section: str, run: Run) -> str:
    lacking = [each for each in (goal.entrant, goal.peer) if each and not measured(run, section, each, goal.detail)]
    reasons = {each: absence(run, section, each) for each in lacking}
    if LEFT_OUT in reasons.values():
        return LEFT_OUT
    return "; ".join(f"{each}: {reason}" for each, reason in reasons.items()) or "never both in one round"


def _reach(found: Spread, bound: str, limit: float) -> Spread | None:
    ends = [found.median, found.low, found.high]
    if bound == "at least":
        median, low, high = (end / limit for end in ends)
    elif found.low:
        median, high, low = (limit / end for end in ends)
    else:
        return None
    return Spread(median, low, high, found.rounds)
