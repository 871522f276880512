"""What keeps a subject in its place, and what it cannot do about that. Some of it needs two users, and so root."""

import ctypes
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examiner import _build, _jail, _jobs
from examiner._canaries import Canaries
from examiner._exam import Lane
from tests.deadline import until

UID = 61_234
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user; tests/hostile does")
STOPS_ALL = "import os, signal\nos.setsid()\nwhile True: os.kill(-1, signal.SIGSTOP)\n"


@pytest.fixture
def user() -> Iterator[_jail.User]:
    """Whom a subject could run as; nothing of it is left afterwards."""
    made = _jail.User(UID)
    yield made
    made.sweep()


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user reaches, as pytest's are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


@needs_root
def test_who_cleans_up_cannot_be_stopped(user: _jail.User) -> None:
    """A subject that stops all processes of its user does not stop those that act with its rights."""
    with subprocess.Popen(["python3", "-c", STOPS_ALL], user=UID, group=UID, extra_groups=[]) as attacker:
        until(lambda: user.runs(), "the attacker runs")
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline:
            assert user.run(lambda: None)
        user.sweep()
        assert attacker.wait() == -signal.SIGKILL


@needs_root
def test_what_acts_for_a_user_has_its_rights_only(user: _jail.User, place: Path) -> None:
    """It writes files as that user, and nowhere else."""
    mine = place / "mine"
    mine.mkdir(mode=0o700)
    assert user.run((place / "file").touch)
    assert (place / "file").stat().st_uid == UID
    assert not user.run((mine / "file").touch)
    assert not user.run(lambda: os.kill(os.getppid(), 0))


@needs_root
def test_what_outlives_a_subject_is_removed(user: _jail.User) -> None:
    """System V objects, and what it left in /tmp without any permission."""
    left = Path("/tmp/forklab-left")

    def leave() -> None:
        libc = ctypes.CDLL(None)
        assert libc.semget(0, 1, 0o1600) >= 0
        assert libc.msgget(0, 0o1600) >= 0
        assert libc.shmget(0, 4096, 0o1600) >= 0
        (left / "inside").mkdir(parents=True)
        (left / "inside").chmod(0)
        left.chmod(0)

    assert user.run(leave)
    assert all(user._ipc(kind) for kind in ("shm", "msg", "sem"))
    user.sweep()
    assert not any(user._ipc(kind) for kind in ("shm", "msg", "sem"))
    assert not left.exists()


@needs_root
def test_when_memory_ends_the_subject_does(user: _jail.User, place: Path) -> None:
    """When the kernel ends the first canary, the subject is ended, and the job goes on; there are canaries again."""
    lane = Lane(user, place / "lane0", 20_000)
    canaries = Canaries([user])
    before = list(canaries.pids)

    def work(lane: Lane) -> dict[str, Any]:
        with subprocess.Popen(["sleep", "1000"], user=UID, group=UID, extra_groups=[]) as subject:
            os.kill(canaries.first, signal.SIGKILL)
            return {"ended": subject.wait()}

    try:
        assert dict(_jobs.run([("x", work)], [lane], canaries)) == {"x": {"ended": -signal.SIGKILL}}
        assert not set(before) & set(canaries.pids)
        assert len(before) == len(canaries.pids)
    finally:
        canaries.end()


def test_no_look_reads_the_canaries_until_one_has_gone() -> None:
    """From then on another process may have its number."""
    canaries = Canaries([])
    try:
        ours = set(canaries.pids)
        assert not ours & _jail.table().keys()
        os.kill(canaries.first, signal.SIGKILL)
        until(lambda: ours <= _jail.table().keys(), "all are read")
    finally:
        canaries.end()
    assert os.getpid() in _jail.table()


def test_who_waits_for_a_file_system_in_a_process_waits_for_a_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sleeps as somebody who waits for a client does, and the kernel's function tells them apart."""
    for pid, function in (("7", "do_wait"), ("8", "request_wait_answer")):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "wchan").write_text(function)
    monkeypatch.setattr(_jail, "PROC", str(tmp_path))
    assert [_jail.User(None).waits_for_files(pids) for pids in ((), (7, 9), (7, 8))] == [False, False, True]


def test_folders_deeper_than_a_path_are_removed(place: Path) -> None:
    """Python's own rmtree gives up there."""
    deep, here = place / "deep", os.getcwd()
    deep.mkdir()
    try:
        os.chdir(deep)
        for _ in range(1500):
            os.mkdir("a_folder")
            os.chdir("a_folder")
    finally:
        os.chdir(here)
    _jail.User(None).remove(deep)
    assert not deep.exists()


def test_a_copy_has_everything_as_it_was(place: Path) -> None:
    """Links and pipes as such; and everybody may read it, whatever its builder thought."""
    source = place / "source"
    source.mkdir()
    (source / "program").write_text("x")
    (source / "program").chmod(0o700)
    (source / "link").symlink_to("program")
    os.mkfifo(source / "pipe")
    assert _jail.keep(source, place / "kept")
    kept = place / "kept"
    assert (kept / "program").stat().st_mode & 0o777 == 0o755
    assert os.readlink(kept / "link") == "program"
    assert (kept / "pipe").is_fifo()


def test_a_build_that_waits_is_not_waited_for(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of its processes runs: that is said, long before its time is over."""
    monkeypatch.setattr(_build, "_IDLE_SECONDS", 0.2)
    source = place / "source"
    source.mkdir()
    (source / "Makefile").write_text("server: ; sleep 1000\n")
    user = _jail.User(UID if os.geteuid() == 0 else None)
    with pytest.raises(_build.CannotBuild, match=r"make waits for something: .*; asleep: "):
        _build.build(source, place / "built" / "subject", user, main="", command="")


def test_a_build_that_was_kept_from_running_did_not_wait(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine stood still for longer than a build may: what it does is looked at again before it is given up."""
    real, began = time.monotonic, time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: real() + (100 if real() > began + 0.1 else 0))
    user = _jail.User(UID if os.geteuid() == 0 else None)
    assert _build._run(["sleep", "0.3"], place, user, "it") == []
