"""Servers of others that are known to be good, and ours: how each is started, and what the examiner may say of it.

Each finding is a true property of that program, explained in ``docs/grading.md``, "Good programs, graded".
"""

import shutil
from pathlib import Path
from typing import NamedTuple

from forklab.grade.outcome import Outcome
from forklab.registry import MODELS, ROOT

PROGRAMS = Path(__file__).parent / "programs"


class Good(NamedTuple):
    """One of them.

    Attributes:
        run: how it is started.
        model: which one is found.
        findings: every verdict but PASS, SKIP and INFO, by check; two words where chance decides what is seen.
    """

    run: str
    model: str
    findings: dict[str, str]


TABLE = {
    "forking_tcp_server.py": Good(
        "python3 forking_tcp_server.py {port}",
        "fork",
        {"child-keeps-listener": "FAIL", "fd-exhaustion": "FAIL", "as-pid-1": "WARN"},
    ),
    "threading_tcp_server.py": Good(
        "python3 threading_tcp_server.py {port}", "thread", {"fd-exhaustion": "FAIL", "as-pid-1": "WARN"}
    ),
    "asyncio_streams.py": Good("python3 asyncio_streams.py {port}", "epoll", {"as-pid-1": "WARN"}),
    "socat-exec": Good(
        "socat TCP-LISTEN:{port},fork,reuseaddr EXEC:cat", "fork", {"fd-exhaustion": "FAIL", "fork-fails": "FAIL"}
    ),
    "socat-pipe": Good(
        "socat TCP-LISTEN:{port},fork,reuseaddr PIPE",
        "fork",
        {"short-write": "FAIL|INFO", "fd-exhaustion": "FAIL", "fork-fails": "FAIL"},
    ),
    "tcpserver": Good("tcpserver -v -c 200 127.0.0.1 {port} cat", "fork", {"fd-exhaustion": "FAIL"}),
    "ncat": Good(
        "ncat -lk -p {port} -e /bin/cat",
        "fork",
        {
            "child-keeps-listener": "FAIL",
            "half-close": "FAIL",
            "short-write": "FAIL",
            "fd-exhaustion": "FAIL",
            "sigpipe": "INCONCLUSIVE",
            "child-killed": "INCONCLUSIVE",
            "partial-line": "FAIL|PASS",
            "as-pid-1": "WARN",
        },
    ),
    "xinetd.sh": Good("sh xinetd.sh {port}", "fork", {}),
    **{
        f"forklab-{model}": Good(f"python3 -S -m server {model} --port {{port}} --log none", model, {})
        for model in MODELS.ids()
    },
}


def demanded(name: str) -> str:
    """What it is said to be: ours are graded as their models."""
    return TABLE[name].model if name.startswith("forklab-") else "any"


def wrong(name: str, outcome: Outcome) -> list[str]:
    """What was found otherwise, of the checks that were run."""
    good, found = TABLE[name], {each["id"]: each["verdict"] for each in outcome.results}
    expected = {check: good.findings.get(check, "PASS|SKIP|INFO").split("|") for check in found}
    model = [f"model {outcome.model}"] if outcome.model != good.model else []
    return model + [f"{check} {found[check]}" for check, words in expected.items() if found[check] not in words]


def submit(name: str, folder: Path) -> None:
    """Put into an empty folder what is to be graded."""
    if name.startswith("forklab-"):
        for package in ("server", "protocol"):
            shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    elif (PROGRAMS / name).exists():
        shutil.copy(PROGRAMS / name, folder)
    else:
        (folder / "README").write_text(f"{name}: a program of Debian's\n")
