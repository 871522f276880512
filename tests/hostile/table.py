"""What must come of each attack: the table that ``test_hostile.py`` goes through.

An attack is a file or a folder in ``attacks/``, whose first line says what it tries; or a folder that cannot be in a
repository, which ``folders.py`` makes.
"""

from pathlib import Path
from typing import NamedTuple

ATTACKS = Path(__file__).parent / "attacks"


class End(NamedTuple):
    """How an attack must end.

    Attributes:
        verdicts: of each check that is run; several words where chance decides.
        said: what must stand in the report, as a regular expression.
    """

    verdicts: dict[str, str]
    said: str = ""


SERVES = {"listens": "PASS", "echo-bytes": "PASS"}
"""It attacks beside a good server, and is told that it serves well: how else should a student trust the verdict?"""


def no_server(said: str) -> End:
    """It never listens, and the report says what it did instead."""
    return End({"listens": "FAIL", "echo-bytes": "INCONCLUSIVE"}, said)


TABLE = {
    # Processes.
    "fork_bomb.c": no_server("it runs, but does not listen"),
    "fork_bomb_spinning.c": no_server("it runs, but does not listen"),
    "orphans.c": no_server("exit status 3 before it listened"),
    "comet.c": no_server("exit status 3 before it listened"),
    "kill_all.c": no_server("exit status 3 before it listened"),
    "stop_all.c": no_server("does not listen|before it listened"),
    "signals.py": no_server(r"were tried: True signals that arrived: \[\]"),
    # The examiner.
    "examiner_memory.py": no_server(r"others were tried: True reached: \[\]"),
    "examiner_files.py": no_server(r"written: \[\]"),
    "imitation.py": End({"listens": "PASS", "echo-bytes": "FAIL"}, "different from byte 0 on"),
    "disguise.py": End(SERVES),
    # What all of its checks share.
    "ports.py": End(SERVES),
    "other_ports.py": no_server("it listens on .* and .* more, not on port"),
    "client_ports.py": End({"listens": "PASS", "echo-bytes": "INCONCLUSIVE"}, "Cannot assign requested address"),
    # The host.
    "network.py": no_server(r"devices: \['lo'\] reached: \[\]"),
    "engine.py": no_server(r"reached: \[\]"),
    "privileges.py": no_server(r"got: \[\]"),
    # Memory.
    "memory_hog.c": no_server("killed by SIGKILL"),
    "memory_hogs.c": End({"listens": "FAIL|INCONCLUSIVE"}, "SIGKILL|memory ended"),
    "kernel_memory.c": End({"listens": "FAIL|INCONCLUSIVE"}, "SIGKILL|memory ended|does not listen"),
    "lasting_memory.py": no_server("bounded: True"),
    # Files.
    "empty_files.py": End(SERVES),
    "full_disk.py": End(SERVES),
    "file_sizes.py": no_server("64 MiB, then File too large; File too large; .*not allowed.*; .*not allowed"),
    "deep_folders.py": End(SERVES),
    "closed_folders.py": End(SERVES),
    "no_folder.py": End(SERVES),
    "odd_files.py": End(SERVES | {"unsafe-handler": "SKIP"}),
    # Words.
    "output_flood.py": End(SERVES),
    "escapes.py": no_server(r"owned"),
    "call_flood.py": End({"listens": "PASS", "reset-by-client": "PASS|INCONCLUSIVE", "echo-bytes": "PASS"}),
    # Servers.
    "infinite_answer.py": End({"listens": "PASS", "echo-bytes": "FAIL"}),
    "never_answers.py": End({"listens": "PASS", "echo-bytes": "FAIL", "concurrent": "INCONCLUSIVE"}),
    "own_limits.py": End(SERVES),
    "stops_itself.py": End({"listens": "PASS", "echo-bytes": "FAIL"}),
    "double_listen.py": End(SERVES),
    "closes_all.py": End(SERVES),
    "leaves_early.py": End({"listens": "PASS", "concurrent": "PASS|FAIL|INCONCLUSIVE"}),
    # Compilers.
    "include_zero.c": no_server("include_zero.c does not compile"),
    "include_urandom.c": no_server("include_urandom.c does not compile"),
    "macro_bomb.c": no_server("macro_bomb.c does not compile"),
    "template_bomb": no_server("make fails"),
    "make_recursion": no_server("make fails"),
    "make_sleep": no_server("make waits for something"),
    "make_daemon": End(SERVES),
    # Folders.
    "links_out": End(SERVES),
    "odd_names": End(SERVES),
    "deep": End(SERVES),
    "special_files": End(SERVES),
    "long_line": End(SERVES),
    "no_text": End(SERVES),
    "deep_source": End({"listens": "PASS", "unsafe-handler": "PASS|SKIP|INCONCLUSIVE"}),
}

BRIEF = {
    *("fork_bomb.c", "kill_all.c", "signals.py"),
    *("examiner_files.py", "imitation.py", "disguise.py", "ports.py", "client_ports.py"),
    *("network.py", "engine.py", "privileges.py", "memory_hog.c", "file_sizes.py", "closed_folders.py"),
    *("output_flood.py", "escapes.py", "never_answers.py", "stops_itself.py"),
    *("include_zero.c", "make_daemon", "odd_names", "special_files"),
}
"""Those that every run of the suite tries. All of them need minutes, and the whole of a small machine."""
