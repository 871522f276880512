"""Submissions that attack: each ends within its limits, with the right verdict, and with no effect on anything else.

Several run at once, as the submissions of a class do: what is told of one must not depend on what the next one tries.
"""

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from docker.errors import NotFound

from forklab.errors import UsageError
from forklab.grade import container, flaws
from forklab.grade.submission import Submission
from forklab.lab import Lab
from protocol import exits
from tests import grading
from tests.deadline import until
from tests.hostile import folders
from tests.hostile.table import ATTACKS, BRIEF, SERVES, TABLE

AT_ONCE = 3
MOST_SECONDS = 300.0
"""Until any of them has ended, also on a busy machine: the limits of a build and of a few checks, and no more."""
FIRST = ("fork_bomb_spinning.c", "memory_hogs.c", "kernel_memory.c", "output_flood.py", "client_ports.py")
"""Those that could be felt by the submission next to them."""
LONG = ("template_bomb", "make_recursion")
TWIN = {**SERVES, "reap-burst": "PASS"}
CONTROL = re.compile("[\\x00-\\x09\\x0b-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069]")
"""What a terminal obeys instead of showing it, but for the line's end."""

Ends = dict[str, "Future[grading.Graded]"]


@pytest.fixture(scope="module")
def lab() -> Lab:
    """The engine."""
    return grading.lab()


@pytest.fixture(scope="module")
def before(lab: Lab) -> set[tuple[str, str]]:
    """What the engine had."""
    return grading.things(lab.client)


@pytest.fixture(scope="module")
def ends(
    request: pytest.FixtureRequest, before: set[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ends]:
    """The attacks that were chosen, under way."""
    chosen = {item.callspec.params.get("name") for item in request.session.items if hasattr(item, "callspec")}
    names = [name for name in dict.fromkeys((*FIRST, *LONG, *TABLE)) if name in chosen]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name: pool.submit(attack, name, tmp_path_factory.mktemp("attack")) for name in names}
        pool.shutdown(cancel_futures=True)


def submit(name: str, folder: Path) -> tuple[Path, str]:
    """An attack as a submission, and how it is started."""
    source = ATTACKS / name
    if name in folders.FOLDERS:
        folders.make(name, folder / name)
        return folder / name, ""
    if name.endswith(".py"):
        shutil.copy(source, folder)
        shutil.copy(ATTACKS.parent / "honest.py", folder)
        return folder, f"python3 {name} {{port}}"
    if source.is_dir():
        shutil.copytree(source, folder / name)
        (folder / name / "server.c").write_text(folders.GOOD, encoding="utf-8")
        return folder / name, ""
    return Path(shutil.copy(source, folder)), ""


def attack(name: str, folder: Path) -> grading.Graded:
    """Have an attack graded."""
    path, run = submit(name, folder)
    begin = time.monotonic()
    graded = grading.examine(grading.lab(), path, run=run, check=",".join(TABLE[name].verdicts))
    assert time.monotonic() - begin < MOST_SECONDS
    return graded


def test_the_table_is_complete() -> None:
    """Each attack has a row, and says in its first line what it tries."""
    assert {each.name for each in ATTACKS.iterdir()} | set(folders.FOLDERS) == set(TABLE)
    for name in TABLE:
        source = ATTACKS / name / "Makefile" if (ATTACKS / name).is_dir() else ATTACKS / name
        first = source.read_text().splitlines()[0] if source.exists() else folders.FOLDERS[name].__doc__
        assert "Tries to " in str(first), name


def test_an_attack_is_not_felt_by_the_one_next_to_it(lab: Lab, ends: Ends, tmp_path: Path) -> None:
    """A good server that is graded as long as the worst of them run has the verdicts of a good server."""
    twin, rounds = Path(shutil.copy(flaws.TWINS / "fork.c", tmp_path)), 0
    beside = [ends[name] for name in FIRST if name in ends]
    while not all(end.done() for end in beside):
        outcome = grading.examine(lab, twin, check=",".join(TWIN)).outcome
        found = grading.verdicts(outcome)
        assert {check: found[check] for check in TWIN} == TWIN, grading.printed(outcome)
        rounds += 1
    assert rounds or not beside


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in BRIEF else [pytest.mark.long]) for name in TABLE]
)
def test_an_attack_ends_as_it_must(lab: Lab, ends: Ends, name: str) -> None:
    """The verdicts of the table, its words, nothing that a terminal would obey; and nothing of it is left."""
    graded = ends[name].result()
    found, report = grading.verdicts(graded.outcome), grading.printed(graded.outcome)
    wrong = [check for check, word in TABLE[name].verdicts.items() if found.get(check) not in word.split("|")]
    assert not wrong, report
    assert graded.outcome.exit_code != exits.LAB_FAILED
    said = "\n".join(str(part) for each in graded.outcome.results for part in (each["actual"], *each["evidence"]))
    assert re.search(TABLE[name].said, said), said
    assert not CONTROL.search(report)
    grading.gone(lab.client, graded.container)


def test_nothing_stays_on_the_engine(lab: Lab, before: set[tuple[str, str]], ends: Ends) -> None:
    """After all of them: no image, no network and no volume that was not there before."""
    for end in ends.values():
        end.exception()
    assert grading.things(lab.client) <= before


def test_an_examiner_is_seen_from_here_while_it_runs(lab: Lab, tmp_path: Path) -> None:
    """What the other tests look for at its end is there before."""
    seen: list[bool] = []

    def tell(seen_in: str) -> None:
        seen.append(bool(grading.processes(seen_in) and grading.groups(seen_in)))

    grading.examine(lab, Path(shutil.copy(flaws.TWINS / "fork.py", tmp_path)), check="listens", tell=tell)
    if not any(seen):
        pytest.skip("the engine runs on another computer: its processes are not in this one's list")
    assert all(seen[:-1])


def test_a_container_that_was_never_started_is_swept(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A grading that was killed before its container began leaves it; the next one removes it, but no fresh one."""
    left = container._create(lab.client, [], 1, "", None)
    try:
        container._sweep(lab.client)
        left.reload()
        assert left.status == "created"
        monkeypatch.setattr(container, "_LEFT_SECONDS", 3)  # what others make meanwhile is started sooner

        def swept() -> bool:
            container._sweep(lab.client)
            found = lab.client.containers.list(all=True, ignore_removed=True)  # others remove theirs meanwhile
            return left.id not in {each.id for each in found}

        until(swept, "it is removed")
        grading.gone(lab.client, str(left.id))
    finally:
        with contextlib.suppress(NotFound):
            left.remove(force=True)


def test_a_file_with_a_hole_of_a_terabyte_is_refused(tmp_path: Path) -> None:
    """Before any of it is read."""
    (tmp_path / "hole.c").touch()
    os.truncate(tmp_path / "hole.c", 1 << 40)
    with pytest.raises(UsageError, match="more than 16 MiB"):
        Submission.at(tmp_path).packed()
