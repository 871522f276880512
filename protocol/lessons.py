"""The lessons: the order in which they are taught, and how to read the docstring that each begins with."""

PARTS = {
    "processes": ("fork-memory", "process-states", "zombie", "wait", "waitpid"),
    "signals": ("signal-alarm", "sigaction", "reap-sigchld", "reap-burst", "pid1"),
    "connections": (
        "waiting-time",
        "fork-server",
        "fd-copies",
        "listener-leak",
        "half-close",
        "lockstep-deadlock",
        "split-io",
    ),
    "pipes": ("pipe-oneway", "pipe-twoway", "store"),
    "models": ("select-wall", "multiplexing", "thread-race", "cost", "slow-reader"),
    "faults": (
        "kill-child",
        "kill-parent",
        "reset",
        "peer-vanishes",
        "partition",
        "time-wait",
        "fork-fails",
        "fd-exhaustion",
    ),
}
"""The parts of the course. Each lesson needs those before it, none after it."""

SCENARIOS = tuple(scenario for part in PARTS.values() for scenario in part)
"""All lessons, as they are taught."""

_NO_DEMO = {"waiting-time", "fork-server", "split-io", "store", "cost", "slow-reader", *PARTS["faults"]}
"""They need a server and clients, not one small program."""

DEMOS = tuple(scenario for scenario in SCENARIOS if scenario not in _NO_DEMO)

QUESTION, THEORY, SOURCE = "Question", "Theory", "Source"


def part(docstring: str, word: str) -> str:
    """The paragraph of a lesson's docstring that begins with ``word`` and a colon, on one line; empty if none does."""
    for paragraph in docstring.split("\n\n"):
        if paragraph.startswith(f"{word}: "):
            return " ".join(paragraph.removeprefix(f"{word}: ").split())
    return ""
