"""The examiner without a container: what it finds in real programs, and the parts that decide by themselves.

It runs as whoever runs the tests: as root with a user for each lane, else as one and the same user.
"""

import json
import os
import re
import resource
import shutil
import signal
import socket
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import chain, count, repeat
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from examiner import _build, _check, _jail, _store, _strace
from examiner._connection import Connection
from examiner._exam import Exam, Failed, Inconclusive, Lane, Skipped
from examiner._subject import Program, Subject
from examiner.checks import store_interleave
from forklab.grade import catalogue, flaws
from protocol import verdicts
from tests.deadline import until
from tests.unit.examining import examine, examiner

FLAWS = {(flaw.language, flaw.name): flaw for flaw in flaws.known()}
NOBODY = 2**22 + 1
"""More than PID_MAX_LIMIT (linux/threads.h)."""
needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="no compiler here; tests/lab has one")


def submit(tmp_path: Path, language: str, name: str) -> Path:
    """A flaw or a twin as a file."""
    flaw = FLAWS[language, name]
    path = tmp_path / flaw.file_name
    path.write_text(flaw.program)
    return path


def exam(tmp_path: Path, model: str = "fork") -> Exam:
    """One of a program that is not started in these tests."""
    program = Program(("./server", "{port}"), tmp_path)
    return Exam(program, Lane.number(0, tmp_path, None), service="echo", demanded="any", model=model)


def check_of(run: object, **words: object) -> _check.Check:
    """A check with this function."""
    return _check.Check("r", "ref", "e", "cause", "mend", run, **words)  # type: ignore[arg-type]


def test_a_good_server_in_python_fails_nothing(tmp_path: Path) -> None:
    """Its model is told, and every check that applies passes."""
    found = examine(
        submit(tmp_path, "python", "fork.py"), "--checks", "listens,echo-bytes,concurrent,process-per-client"
    )
    assert found["model"] == "fork"
    assert set(found["verdicts"].values()) == {verdicts.PASS}


def test_one_wait_for_five_children_is_one_finding(tmp_path: Path) -> None:
    """Four zombies stay in reap-burst; neither reap-one nor reap-never says anything."""
    found = examine(submit(tmp_path, "python", "reap-burst"), "--checks", "reap-one,reap-burst,reap-never")
    assert found["verdicts"] == {"reap-one": "PASS", "reap-burst": "FAIL", "reap-never": "PASS"}
    (burst,) = (each for each in found["checks"] if each["id"] == "reap-burst")
    assert burst["actual"] == "4 of 5 children stay zombies"
    assert "os.waitpid(-1, os.WNOHANG)" in burst["mend"]
    ends = {each["pid"]: each["state"] for each in burst["moments"] if each["kind"] == "process"}
    assert list(ends.values()).count("zombie") == 4
    assert {each["name"] for each in burst["moments"] if each["kind"] == "signal"} == {"SIGSTOP", "SIGCONT"}
    assert not any(each["moments"] for each in found["checks"] if each["verdict"] == verdicts.PASS)


def test_a_server_that_does_not_start_fails_listens_with_its_last_words(tmp_path: Path) -> None:
    """The other checks are inconclusive: nothing was seen of what they ask."""
    path = tmp_path / "server.py"
    path.write_text("import sys\nsys.exit('usage: server.py HOST PORT')\n")
    found = examine(path, "--checks", "listens,echo-bytes")
    assert found["verdicts"] == {"listens": "FAIL", "echo-bytes": "INCONCLUSIVE"}
    assert "exit status 1 before it listened" in found["checks"][0]["actual"]
    assert found["checks"][0]["evidence"] == ["it said: usage: server.py HOST PORT"]


@needs_gcc
def test_what_does_not_compile_is_told_in_the_compilers_words(tmp_path: Path) -> None:
    """As the FAIL of listens, with file and line."""
    path = tmp_path / "server.c"
    path.write_text("int main(void) { return nothing; }\n")
    found = examine(path, "--checks", "listens")
    assert found["verdicts"] == {"listens": "FAIL"}
    assert "server.c does not compile" in found["checks"][0]["actual"]
    assert any(line.startswith("server.c:1:") for line in found["checks"][0]["evidence"])


MAIN = "int main(void) { return work(); }\n"


@pytest.mark.parametrize(
    ("files", "program"),
    [
        ({"echo.py": "", "notes.txt": ""}, ["echo.py"]),
        ({"server.py": "", "parts.py": ""}, ["server.py"]),
        ({"main.py": "", "server.py": ""}, ["server.py"]),
        ({"echo.c": MAIN, "b.c": "int b;", "a.c": "// main()\nint a;", "a.h": ""}, ["echo.c", "a.c", "b.c"]),
        ({"server.c": MAIN, "client.c": MAIN, "net.c": ""}, ["server.c", "net.c"]),
        ({"main.c": MAIN, "server.c": "int work(void);"}, ["main.c", "server.c"]),
        ({"server.c": MAIN, "test.py": ""}, ["server.c"]),
        ({"a.c": "", "b.c": ""}, ["a.c", "b.c"]),
        ({"src/a.c": MAIN}, []),
    ],
)
def test_a_folder_of_sources_is_the_program_that_they_make(
    tmp_path: Path, files: dict[str, str], program: list[str]
) -> None:
    """The only one, the one with main and what belongs to it, or the one that is called as such files are."""
    fill(tmp_path, files)
    assert _build._sources(tmp_path, ("server", "main"), told=False) == program


def test_a_folder_of_sources_that_could_be_several_programs_is_told_so(tmp_path: Path) -> None:
    """With the names, and what to do; whoever says how to start it is not asked."""
    fill(tmp_path, {"a.c": MAIN, "b.py": ""})
    with pytest.raises(_build.CannotBuild, match=r"there are a\.c, b\.py: call one server\.c or server\.py, .*--run"):
        _build._sources(tmp_path, ("server", "main"), told=False)
    assert _build._sources(tmp_path, ("server", "main"), told=True) == []


def fill(folder: Path, files: dict[str, str]) -> None:
    """Write files by their names."""
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


def test_a_folder_with_one_source_is_graded_as_that_file(tmp_path: Path) -> None:
    """As learning platforms export a class: ``alice/server.py``."""
    submit(tmp_path, "python", "fork.py")
    found = examine(tmp_path, "--checks", "listens")
    assert (found["verdicts"], found["command"]) == ({"listens": "PASS"}, "python3 fork.py {port}")


@needs_gcc
def test_a_folder_of_c_files_is_compiled_together(tmp_path: Path) -> None:
    """A missing part is an error of all of them."""
    fill(tmp_path, {"echo.c": "int work(void);\n" + MAIN, "work.c": "int work(void) { return other(); }\n"})
    found = examine(tmp_path, "--checks", "listens")
    assert "echo.c work.c do not compile" in found["checks"][0]["actual"]
    (tmp_path / "work.c").write_text("int work(void) { return 5; }\n")
    found = examine(tmp_path, "--checks", "listens")
    assert "it ended with exit status 5" in found["checks"][0]["actual"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change its root")
def test_a_subject_of_another_file_system_stays_in_it() -> None:
    """Its folder is made there, what it runs sees that root and nothing else, and what it leaves is found there."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for folder in ("app", "tmp", "lent"):
            (root / folder).mkdir()
        root.chmod(0o755)
        (root / "tmp").chmod(0o1777)
        fill(root / "app", {"data": "it"})
        user = _jail.User(54_321, root)
        user.make_folder(Path("/lent/lane0/0"), Path("/app"))
        assert (root / "lent/lane0/0/data").stat().st_uid == 54_321

        def look() -> None:
            assert Path("/lent/lane0/0/data").read_text() == "it"
            assert sorted(os.listdir("/")) == ["app", "lent", "tmp"]
            assert (os.geteuid(), os.getgroups()) == (54_321, [])
            Path("/tmp/left").write_text("")

        assert user.run(look)
        assert user.left_in(Path("/tmp")) == [Path("/tmp/left")]
        user.remove(Path("/lent/lane0/0"))
        assert not (root / "lent/lane0/0").exists()


def test_why_there_is_no_image_is_told(tmp_path: Path) -> None:
    """By the check that every server must pass, in the words of the host, which has built it."""
    fill(tmp_path, {"Dockerfile": "FROM x"})
    image = json.dumps({"trouble": "Dockerfile:2: RUN make ended with exit status 2", "said": ["make: no rule"]})
    found = examine(tmp_path, "--checks", "listens,reap-one", "--image", image)
    assert found["verdicts"] == {"listens": "FAIL", "reap-one": "INCONCLUSIVE"}
    assert found["checks"][0]["actual"] == "Dockerfile:2: RUN make ended with exit status 2"
    assert found["checks"][0]["evidence"] == ["make: no rule"]


@pytest.mark.parametrize(("files", "in_place"), [(3, False), (2001, True)])
def test_an_image_is_started_in_a_copy_of_a_small_folder(tmp_path: Path, files: int, in_place: bool) -> None:
    """Of the folder that it names; in a large one, such as /, itself."""
    for number in range(files):
        (tmp_path / str(number)).touch()
    image = {"words": ["./server", "{port}"], "folder": str(tmp_path), "environment": {"PORT": "{port}"}}
    program = _build.of_image({**image, "warnings": []}, Path("/")).program
    assert (program.in_place, program.command(7), program.variables(7)) == (in_place, ["./server", "7"], {"PORT": "7"})


def test_another_model_than_demanded_is_a_finding(tmp_path: Path) -> None:
    """A fork server that should have been epoll."""
    found = examine(submit(tmp_path, "python", "fork.py"), "--checks", "listens", "--model", "epoll")
    assert found["verdicts"] == {"listens": "PASS", "model": "FAIL"}


def test_a_good_client_fails_nothing(tmp_path: Path) -> None:
    """Typed to, left alone, and left behind; nobody asks for its model."""
    checks = "client-bytes,client-half-close,client-server-gone,client-waits-child"
    found = examine(submit(tmp_path, "python", "client.py"), "--service", "client", "--checks", checks)
    assert found["model"] == "unknown"
    assert found["verdicts"] == dict.fromkeys(checks.split(","), "PASS"), found


def test_a_client_that_closes_only_its_copy_sends_no_fin(tmp_path: Path) -> None:
    """And the evidence names the process that keeps the connection open."""
    flaw = submit(tmp_path, "python", "client-half-close")
    found = examine(flaw, "--service", "client", "--checks", "client-half-close")
    assert found["verdicts"] == {"client-half-close": "FAIL"}
    assert "still hold the connection" in found["checks"][0]["actual"]


def test_a_program_that_is_no_client_is_told_so(tmp_path: Path) -> None:
    """A server does not connect; a check of servers does not apply."""
    server = submit(tmp_path, "python", "fork.py")
    run = ("--command", f"python3 {server.name} {{port}}", "--service", "client")
    found = examine(server, *run, "--checks", "client-bytes,reap-one")
    assert found["verdicts"] == {"client-bytes": "FAIL", "reap-one": "SKIP"}
    assert "does not connect" in found["checks"][0]["actual"]


def test_an_examiner_whose_input_ends_leaves_no_process(tmp_path: Path) -> None:
    """Its host may have been killed: the subject and its children go with it."""
    with examiner(submit(tmp_path, "python", "fork.py"), "--checks", "listens,concurrent,reap-burst") as run:
        for event in run.events():
            if event["event"] == "model":
                break
        run.stdin.close()
        run.process.wait(60)
        until(lambda: not belonging(run.folder), "no process of the subject is left")


def belonging(folder: Path) -> list[str]:
    """The processes whose working directory is below a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            place = os.readlink(entry / "cwd")
        except OSError:
            continue
        if place.startswith(str(folder)):
            found.append(entry.name)
    return found


@contextmanager
def exam_of(program: str) -> Iterator[Exam]:
    """An exam that can start this program in Python; nothing of it is left afterwards."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "source").mkdir()
        (folder / "source" / "server.py").write_text(program)
        lane = Lane.number(0, folder, 54_321 if os.geteuid() == 0 else None)
        words = ("python3", "server.py", "{port}")
        starts = Exam(Program(words, folder / "source"), lane, service="echo", demanded="any")
        try:
            yield starts
        finally:
            starts.close()


def test_what_is_done_to_a_subject_arrives() -> None:
    """It is stopped and goes on, its limit falls, its calls are recorded, and at the end nothing of it is left."""
    with exam_of(FLAWS["python", "fork.py"].program) as starts:
        subject = starts.start()
        assert subject.stop()
        assert subject.tree()[subject.pid]["state"] == "T"
        subject.go_on()
        assert subject.limit(resource.RLIMIT_NOFILE, 77)
        limits = Path(f"/proc/{subject.pid}/limits").read_text()
        assert re.search(r"^Max open files +77 +\d", limits, re.MULTILINE)
        (client,) = starts.clients(subject, 1)
        assert len(subject.held_by(client)) == 1
        if shutil.which("strace"):
            with subject.traced(calls="recvfrom,sendto", pids=tuple(subject.held_by(client))) as trace:
                assert client.ask(b"traced\n") == b"traced\n"
            assert any('"traced' in call.arguments for call in trace.calls())
    assert subject.tree() == {}
    assert not subject.alive()


LOOP = """
import os, signal, socket, sys, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
if os.fork() == 0 or {asleep}:
    signal.pause()
while True:
    until = time.monotonic() + {busy}
    while time.monotonic() < until:
        pass
    time.sleep({pause})
"""


@pytest.mark.parametrize(
    ("asleep", "busy", "pause", "spins"),
    [
        pytest.param(False, 3600, 0, True, id="without a pause"),
        pytest.param(False, 0.001, 0.02, False, id="looks fifty times a second"),
        pytest.param(True, 0, 0, False, id="sleeps"),
    ],
)
def test_who_never_sleeps_spins(asleep: bool, busy: float, pause: float, spins: bool) -> None:
    """A loop without a pause is told from one that pauses, and from its sibling that sleeps."""
    with exam_of(LOOP.format(asleep=asleep, busy=busy, pause=pause)) as starts:
        subject = starts.start(greet=False)
        others = set(subject.tree()) - {subject.pid}
        found = subject.spinning()
        assert set(found) == ({subject.pid} if spins else set())
        assert subject.spinning(others) == {}


def test_a_loop_that_waited_once_for_a_page_spins(monkeypatch: pytest.MonkeyPatch) -> None:
    """At one look of ten it did not run."""
    with exam_of(LOOP.format(asleep=False, busy=3600, pause=0)) as starts:
        subject = starts.start(greet=False)
        looks = count()
        awake = subject._awake
        monkeypatch.setattr(subject, "_awake", lambda: set() if next(looks) == 2 else awake())
        assert set(subject.spinning()) == {subject.pid}


def test_nothing_provoked_is_nothing_proven(tmp_path: Path) -> None:
    """Neither a PASS nor a FAIL counts when the check never said that it provoked something."""

    def fail(exam: Exam) -> str:
        raise Failed("bad")

    for run in (lambda exam: "well", fail):
        assert _check.examine("x", check_of(run), exam(tmp_path)).verdict == verdicts.INCONCLUSIVE


def test_a_fail_has_cause_and_mend_and_others_have_none(tmp_path: Path) -> None:
    """The check's own, or those of the special case."""

    def plain(exam: Exam) -> str:
        exam.provoked(True, "it")
        exam.expect(False, "bad")
        return "well"

    def special(exam: Exam) -> str:
        exam.provoked(True, "it")
        raise Failed("bad", cause="another")

    def skipped(exam: Exam) -> str:
        raise Skipped("no")

    results = [_check.examine("x", check_of(run), exam(tmp_path)) for run in (plain, special, skipped)]
    assert [(each.verdict, each.cause, each.mend) for each in results] == [
        ("FAIL", "cause", "mend"),
        ("FAIL", "another", "mend"),
        ("SKIP", "", ""),
    ]


def test_what_could_not_be_brought_about_is_inconclusive(tmp_path: Path) -> None:
    """With the words of what it was."""
    with pytest.raises(Inconclusive, match="could not be brought about that a child ends"):
        exam(tmp_path).provoked(False, "a child ends")


def test_who_ends_under_the_checks_hands_is_no_error_of_ours(tmp_path: Path) -> None:
    """A signal for a process that has gone proves nothing; it is not left out of the points either."""

    def signals(exam: Exam) -> str:
        os.kill(NOBODY, signal.SIGSTOP)
        return "never"

    result = _check.examine("x", check_of(signals), exam(tmp_path))
    assert (result.verdict, "No such process" in result.actual) == (verdicts.INCONCLUSIVE, True)


def test_a_comment_without_an_end_is_one_comment(tmp_path: Path) -> None:
    """Ten times as many beginnings take about ten times as long; looked for one by one, a hundred times."""
    path = tmp_path / "a.c"

    def seconds(beginnings: int) -> float:
        path.write_text("/*x" * beginnings + "main (")
        begin = time.process_time()
        assert not _build._has_main(path)
        return time.process_time() - begin

    assert seconds(20_000) < 50 * max(seconds(2_000), 0.0001)


@pytest.mark.parametrize(("model", "verdict"), [("fork", "PASS"), ("thread", "SKIP"), ("unknown", "INCONCLUSIVE")])
def test_a_check_runs_only_for_its_models(tmp_path: Path, model: str, verdict: str) -> None:
    """Where the model is not known, neither is whether it applies."""

    def run(exam: Exam) -> str:
        exam.provoked(True, "it")
        return "well"

    assert _check.examine("x", check_of(run, models=("fork",)), exam(tmp_path, model)).verdict == verdict


def test_calls_are_read_from_strace() -> None:
    """Whole ones, those in two halves, those that never return, and signals."""
    text = """\
7 1.5 accept(3, NULL, NULL) = ? ERESTARTSYS (To be restarted if SA_RESTART is set)
7 1.6 --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=9, si_uid=0} ---
7 1.7 accept(3,  <unfinished ...>
8 1.8 write(4, "a", 1) = -1 EPIPE (Broken pipe)
7 1.9 <... accept resumed>NULL, NULL) = 5
7 2.0 accept(3, NULL, NULL <unfinished ...>
"""
    calls = [(call.pid, call.name, call.value, call.error) for call in _strace.parse(text)]
    assert calls == [
        (7, "accept", None, "ERESTARTSYS"),
        (7, "SIGCHLD", None, ""),
        (7, "accept", 5, ""),
        (8, "write", -1, "EPIPE"),
        (7, "accept", None, ""),
    ]


def test_container_and_host_read_the_same_checks() -> None:
    """What the host takes from the syntax is what Python makes of it."""
    for check in catalogue.known():
        here = _check.load(check.id)
        for name in ("requirement", "reference", "expected", "cause", "mend", "group", "models", "services", "where"):
            assert getattr(check, name) == getattr(here, name), f"{check.id}: {name}"
        assert check.follows == here.follows
    assert sorted(check.id for check in catalogue.known()) == _check.ids()


def closing_late(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    """A fork server in Python whose parent closes its copies when it waits for the children, changed further."""
    program = FLAWS["python", "child-keeps-other-clients"].program
    for old, new in changes:
        assert program.count(old) == 1
        program = program.replace(old, new)
    path = tmp_path / "late.py"
    path.write_text(program)
    return path


def test_children_keep_connections_also_when_the_parent_is_late(tmp_path: Path) -> None:
    """It waits, and closes its copies, when the next client comes. So one comes, and what the children keep is told."""
    path = closing_late(
        tmp_path,
        ("signal.signal(signal.SIGCHLD, reap)\n", ""),
        ("    serve(connection)\ndrain", "    reap()\n    serve(connection)\ndrain"),
    )
    found = examine(path, "--checks", "child-keeps-other-clients")
    assert found["verdicts"] == {"child-keeps-other-clients": "FAIL"}


def test_children_keep_connections_also_when_the_parent_has_still_to_note_them(tmp_path: Path) -> None:
    """A child serves its client while the parent, kept from running, has not come back from fork."""
    kept = "    until = time.monotonic() + 0.3\n    while time.monotonic() < until:\n        pass\n"
    noted = "    connection_of[child] = connection\n"
    path = closing_late(tmp_path, (noted, kept + noted))
    found = examine(path, "--checks", "child-keeps-other-clients")
    assert found["verdicts"] == {"child-keeps-other-clients": "FAIL"}


@pytest.mark.parametrize(("late", "keeps", "reaps"), [(4, "PASS", "PASS"), (8, "FAIL", "WARN")])
def test_a_parent_that_is_late_has_two_chances(late: int, keeps: str, reaps: str, tmp_path: Path) -> None:
    """It hears no SIGCHLD until so many clients have come; the first is the greeting, then three, three, and one."""
    hear = f"    clients += 1\n    if clients > {late}:\n        signal.signal(signal.SIGCHLD, reap)\n        reap()\n"
    path = closing_late(
        tmp_path,
        ("signal.signal(signal.SIGCHLD, reap)\n", "clients = 0\n"),
        ("    serve(connection)\ndrain", f"{hear}    serve(connection)\ndrain"),
    )
    found = examine(path, "--checks", "parent-keeps-client-fd,reap-late")
    assert found["verdicts"] == {"parent-keeps-client-fd": keeps, "reap-late": reaps}


def test_who_is_full_until_all_have_left_still_serves(tmp_path: Path) -> None:
    """For a moment after two clients have left together it closes each new one, as a full fd_set makes it do."""
    program = FLAWS["python", "select.py"].program
    for old, new in [
        ("def end(connection):\n", "def end(connection):\n    left.append(time.monotonic())\n"),
        ("if connection.fileno() >= FD_SETSIZE:", "if len(left) > 1 and time.monotonic() < left[-1] + 0.1:"),
        ("waiting = {}", "left = []\nwaiting = {}"),
    ]:
        assert program.count(old) == 1
        program = program.replace(old, new)
    path = tmp_path / "full.py"
    path.write_text(program)
    assert examine(path, "--checks", "concurrent")["verdicts"] == {"concurrent": "PASS"}


def reset(connection: socket.socket) -> None:
    """Close it with RST (SO_LINGER of socket(7))."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def at_once(true: Callable[[], object], _: float = 0) -> bool:
    """In place of ``Subject.eventually``: on a loopback all has come."""
    return bool(true())


def test_a_connection_that_was_reset_at_once_is_one_that_ended() -> None:
    """Its server ended in the moment in which the kernel had completed it: it is not served, and nothing breaks."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wire = socket.create_connection(listener.getsockname())
        reset(listener.accept()[0])
        connection = Connection(wire, listener.getsockname(), at_once)
    connection.half_close()
    assert not connection.served()
    assert connection.ended == "RST"


def test_a_reset_before_connect_has_returned_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The listener was there: whoever asks for the connection gets it, ended."""

    class Wire(socket.socket):
        def connect(self, address: Any) -> None:
            super().connect(address)
            reset(listener.accept()[0])
            raise ConnectionResetError

    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setattr(socket, "socket", Wire)
        subject = mock.Mock(port=listener.getsockname()[1], eventually=at_once)
        connection = Subject.connect(subject)
    assert connection.ended == "RST"
    assert not connection.served()


def looks(*found: object) -> mock.Mock:
    """What is found at one look after the other; the last one ever after."""
    return mock.Mock(side_effect=chain(found, repeat(found[-1])))


@pytest.mark.parametrize(("used", "slept"), [((0.0,), True), ((0.0, 0.1, 0.2, 0.3), False)])
def test_who_is_kept_from_running_is_waited_for_and_who_spins_is_not(used: tuple[float, ...], slept: bool) -> None:
    """Both run at many looks; only one uses the processor meanwhile."""
    subject = mock.Mock(runs=looks(*[True] * 150, False), _used=looks(*used))
    subject.eventually = partial(Subject.eventually, subject)
    Subject.sleeps(subject)
    assert subject.runs() != slept


def test_a_server_that_is_late_to_write_is_not_one_that_asks_for_room(tmp_path: Path) -> None:
    """Its buffers are not full when nobody sends any more, for it pauses once before it goes on."""
    program = FLAWS["python", "short-write"].program
    loop = "    while data := connection.recv(4096):\n"
    assert program.count(loop) == 1
    pause = "        if len(data) == 4096 and not paused:\n            paused = time.sleep(1.5) or True\n"
    path = tmp_path / "late.py"
    path.write_text(program.replace(loop, "    paused = False\n" + loop + pause))
    assert examine(path, "--checks", "short-write")["verdicts"] == {"short-write": "FAIL"}


@pytest.mark.parametrize("rests", [True, False])
def test_writers_that_are_late_at_the_pipe_are_waited_for(
    rests: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine they may need longer than patience lasts: all are there when the server rests."""
    subject = mock.MagicMock(**{"eventually.return_value": False, "at_rest.return_value": rests})
    clients: list[Any] = [mock.Mock(got=b"", **{"more.return_value": False}) for _ in range(2)]
    monkeypatch.setattr(store_interleave, "_writing", lambda subject: [7, 8] if subject.at_rest.called else [7])
    monkeypatch.setattr(store_interleave, "_last", lambda subject: -1)
    told = nullcontext() if rests else pytest.raises(Inconclusive, match="all that can write to the pipe do")
    with told:
        store_interleave._crowd(exam(tmp_path), subject, {5}, clients)
    assert {call.args[1] for call in subject.kill.call_args_list} == ({7, 8} if rests else set())
    still = [mock.call({5}), mock.call()]
    assert subject.frozen.call_args_list == (still if rests else still[:1]), "not all stand still before one goes on"


def test_who_waits_for_the_pipe_elsewhere_than_in_write_stands_still_as_well(tmp_path: Path) -> None:
    """Its line is the one to be torn; on a busy machine that is so of any writer that does not sleep yet.

    Here two clients' lines are written without a lock, and those of the others with one, by who sleeps in select(2).
    """
    program = FLAWS["python", "store-interleave"].program
    patient = """def patient(data):
    fcntl.lockf(lock, fcntl.LOCK_EX)
    while data:
        try:
            data = data[os.write(polite, data) :]
        except BlockingIOError:
            select.select([], [polite], [])
    fcntl.lockf(lock, fcntl.LOCK_UN)


def store(line):
    if line[:3] in (b"<0.", b"<3.", b"<4."):
        return patient(line)
"""
    opened = 'polite = os.open(f"/proc/self/fd/{write_end}", os.O_WRONLY | os.O_NONBLOCK)\n'
    for old, new in [
        ("import os\n", "import os\nimport select\n"),
        ("def store(line):\n", patient),
        ("    os.close(write_end)\n    while", "    os.close(write_end)\n    os.close(polite)\n    while"),
        ("read_end, write_end = os.pipe()\n", "read_end, write_end = os.pipe()\n" + opened),
    ]:
        assert program.count(old) == 1
        program = program.replace(old, new)
    path = tmp_path / "polite.py"
    path.write_text(program)
    found = examine(path, "--service", "store", "--checks", "store-interleave")
    assert found["verdicts"] == {"store-interleave": "FAIL"}


def test_the_last_line_of_a_file_is_looked_for_when_its_recorder_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not while a busy machine has not let it write yet, and the file is the same at two looks."""
    subject = mock.Mock()
    subject.eventually = partial(Subject.eventually, subject)
    lines = (b"forklab 1\n", b"forklab 1\n<2.0:cc>\n<3.0:dd")
    monkeypatch.setattr(_store, "recorded", lambda subject: lines[subject.at_rest.called])
    assert store_interleave._last(subject) == 3


def test_a_machine_that_stood_still_costs_no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What should happen gets the time to, after a gap that is longer than all patience."""
    clock = mock.Mock(side_effect=chain((0.0,), count(100.0, 0.01)))
    monkeypatch.setattr(time, "monotonic", clock)
    subject = mock.Mock(runs=looks(True))
    assert Subject.eventually(subject, looks(*[False] * 20, True))


def test_the_greeting_is_over_when_the_kernel_has_its_end(tmp_path: Path) -> None:
    """Not when close(2) returns: on a busy machine the FIN is brought later."""
    connection = mock.Mock(local="here", got=b"")
    row = {"remote": "here", "state": "ESTABLISHED"}
    subject = mock.Mock(sockets=looks([row], [row], [{**row, "state": "CLOSE_WAIT"}]))
    subject.eventually = lambda true: any(true() for _ in range(10))
    subject.connect.return_value = connection
    assert exam(tmp_path)._greeted(subject)
    connection.close.assert_called_once()
    assert subject.sockets.call_count == 3
