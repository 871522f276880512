"""ps, fds, sockets and watch as a user types them, on the lab and on a server that leaks a descriptor."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protocol import exits
from tests.deadline import PATIENCE, until
from tests.lab.conftest import ROOT, Hand, Rig, new_project
from tests.lab.test_commands import Shell
from tests.lab.test_probe import ALONE, in_the_probe

LEAKY = Path(__file__).parents[1] / "flawed" / "leaky_parent.py"

if sys.platform != "win32":
    import pexpect


@pytest.fixture
def lab(quiet: Rig) -> Shell:
    """Commands for the lab of this run."""
    return Shell(quiet.project)


@pytest.fixture
def leaky(rig: Rig, tmp_path: Path) -> Iterator[tuple[Shell, Rig]]:
    """A lab with a fork server whose parent keeps a copy of each connection."""
    shell = Shell(new_project())
    entrypoint = ["python3", "-c", LEAKY.read_text().replace("$", "$$")]
    override = tmp_path / "leaky.json"  # compose reads JSON too: it is YAML
    override.write_text(json.dumps({"services": {"server": {"entrypoint": entrypoint}}}))
    its = Rig(rig.client, shell.project, rig.compose[: rig.compose.index("--project-name")])
    files = ["--file", str(ROOT / "docker-compose.yml"), "--file", str(override)]
    try:
        subprocess.run([*its.compose, *files, "up", "--detach", "--no-build", "--wait", "server", "probe"], check=True)
        yield shell, its
    finally:
        shell.run("clean", "--project", shell.project)


def said(shell: Shell, *words: str) -> str:
    """What a command prints for a person, without line breaks."""
    done = shell.run(*words, COLUMNS="200")
    assert done.returncode == exits.OK, done.stderr
    return " ".join(done.stdout.split())


def test_a_leaked_descriptor_is_named(leaky: tuple[Shell, Rig]) -> None:
    """Who holds the socket whose FIN never left: the parent, as long as the child serves and when it has ended.

    Also when the child has closed first, and nothing but the parent's copy keeps the connection ESTABLISHED.
    """
    shell, rig = leaky
    with rig.hand() as hand:
        first, second = hand.open(2, "x")
        server = rig.snapshot().server
        child = max(pid for row in rig.snapshot().established() for pid in row.holders)
        words = said(shell, "fds")
        assert re.search(
            rf"{second}: open in process {server} \(parent\), fd 5, and process {child}, fd 5; no FIN", words
        )
        hand.close(first)
        until(lambda: len(rig.snapshot().processes) == 2, "the first child has ended")
        waits = f"the FIN of this side waits for process {server} (parent), fd 4"
        expected = f"{first}: the client has closed (CLOSE_WAIT); {waits}"
        for view in ("fds", "sockets"):
            assert expected in said(shell, view)
        hand.send(second, "bye\n")
        until(lambda: len(rig.snapshot().processes) == 1, "the second child has ended, and closed before")
        assert f"{second}: only process {server} (parent), fd 5 holds it; if a child" in said(shell, "fds")
        document = shell.json("fds")
        waiting = {each["remote"]: each for each in document["waiting"]}
        assert waiting[first]["holders"] == [{"pid": server, "fd": 4, "parent": True}]
        assert waiting[second]["state"] == "ESTABLISHED"
        assert document["holders"][f"socket:[{waiting[first]['inode']}]"][0]["pid"] == server


def stop_with_children(quiet: Rig, hand: Hand) -> int:
    """Clients have left while the parent is stopped: their children are zombies. The parent."""
    hand.open(3, "x")
    server = quiet.snapshot().server
    assert server
    quiet.kill(server, 19)
    hand.close()
    until(lambda: len(quiet.snapshot().zombies()) == 3, "three zombies")
    return server


def test_ps_shows_tree_states_and_zombies(lab: Shell, quiet: Rig) -> None:
    """A stopped parent, its zombies, and the SIGCHLD that it has not been given; memory and CPU where they are."""
    with quiet.hand() as hand:
        server = stop_with_children(quiet, hand)
        try:
            words = said(lab, "ps")
            document = lab.json("ps")
        finally:
            quiet.kill(server, 18)
    assert "processes 4, zombies 3" in words
    assert words.count("ZOMBIE") == 3
    assert words.count(f"has ended, {server} has not waited for it") == 3
    assert f"{server} has not yet been given: CHLD" in words
    rows = {row["pid"]: row for row in document["processes"]}
    assert (rows[server]["state"], rows[server]["pending"]) == ("T", ["SIGCHLD"])
    assert 0 < rows[server]["pss_kib"] <= rows[server]["rss_kib"]
    assert {"SIGCHLD", "SIGTERM"} <= set(rows[server]["caught"])
    assert document["consistent"]["whole"] is True


def test_fds_and_sockets_of_the_fork_server(lab: Shell, quiet: Rig) -> None:
    """The parent holds the listener alone, each child its connection alone; nothing waits for anybody to close."""
    with quiet.hand() as hand:
        (peer,) = hand.open(1, "x")
        until(lambda: quiet.snapshot().established()[0].holders != (quiet.snapshot().server,), "the parent has closed")
        seen = quiet.snapshot()
        (connection,) = seen.established()
        (child,) = connection.holders
        rows = lab.json("fds", "--pid", str(child))["descriptors"]
        held = [row for row in rows if row["inode"] == connection.inode]
        assert [row["pid"] for row in held] == [child]
        assert "O_CLOEXEC" in held[0]["flags"]
        document = lab.json("sockets")
        (listener,) = [row for row in document["sockets"] if row["state"] == "LISTEN"]
        assert listener["holders"] == [seen.server]
        assert (listener["backlog"], listener["backlog_limit"] > 0) == (0, True)
        assert [each for each in document["waiting"] if each["remote"] == peer] == []
        assert f"{peer} ESTABLISHED 0 0 {connection.inode} {child} fd {held[0]['fd']}" in said(lab, "sockets")


@pytest.mark.parametrize("words", [["fds", "--pid", "x"], ["fds", "--pid", "999999"], ["watch", "--interval", "0"]])
def test_wrong_words(lab: Shell, words: list[str]) -> None:
    """Exit code 2; one line that has the value."""
    done = lab.run(*words)
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (exits.USAGE, 1, "")
    assert words[-1] in done.stderr


@pytest.mark.parametrize("view", ["ps", "fds", "sockets"])
def test_without_a_lab(view: str) -> None:
    """The usual error says how to stand it up."""
    done = Shell("forklab-test-none").run(view, "--json")
    assert done.returncode == exits.LAB_FAILED
    assert "the lab is not up; ./lab up" in json.loads(done.stdout)["error"]["message"]


def test_watch_without_a_terminal(lab: Shell) -> None:
    """Exit code 2, and what to use instead."""
    done = lab.run("watch")
    assert done.returncode == exits.USAGE
    assert "ps --json" in done.stderr


@pytest.fixture
def terminal(lab: Shell, tmp_path: Path) -> Iterator[Any]:
    """``invoke watch`` on a terminal of 80x24; what it saves is in ``tmp_path``."""
    words = ["-m", "invoke", "--search-root", str(ROOT), "watch", "--interval", "0.2"]
    environment = lab.environment | {"TERM": "xterm", "PYTHONPATH": str(ROOT)}
    child = pexpect.spawn(
        sys.executable,
        words,
        cwd=str(tmp_path),
        env=environment,
        dimensions=(24, 80),
        timeout=PATIENCE,
        encoding="utf-8",
    )
    yield child
    child.close(force=True)


def test_watch_shows_pauses_steps_saves_and_quits(terminal: Any, quiet: Rig, tmp_path: Path) -> None:
    """Connections and zombies appear as they come; the keys do what they say; afterwards nothing runs on."""
    terminal.expect("PROCESSES")
    with quiet.hand() as hand:
        (peer,) = hand.open(1, "x")
        terminal.expect(f"{peer}.*ESTABLISHED")
        hand.close()
        terminal.expect(f"{peer} is gone|was reaped")
        server = stop_with_children(quiet, hand)
        terminal.expect("ZOMBIES 3: ")
        terminal.expect("has not waited")
        quiet.kill(server, 18)
        terminal.expect("ZOMBIES.{0,20} none")
    terminal.send(" ")
    terminal.expect(r"PAUSED [-+]\d+\.\d s")
    terminal.send("\x1b[D")
    terminal.expect("PAUSED -")
    terminal.send("s")
    terminal.expect("saved [0-9]+ looks: watch-")
    terminal.send("q")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == exits.OK
    (file,) = tmp_path.glob("watch-*.jsonl")
    looks = [json.loads(line) for line in file.read_text().splitlines()]
    assert any(change["words"].startswith(f"{peer} connected") for look in looks for change in look["changes"])
    until(lambda: in_the_probe(quiet) == [ALONE], "no process is left in the probe")


@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 130)])
def test_an_interrupted_watch_gives_the_terminal_back(terminal: Any, quiet: Rig, number: int, code: int) -> None:
    """Ctrl-C and SIGTERM: the screen is left, one line, no traceback, no process left."""
    terminal.expect("PROCESSES")
    terminal.kill(number)
    terminal.expect(pexpect.EOF)
    assert "\x1b[?1049l" in terminal.before
    assert "Traceback" not in terminal.before
    terminal.close()
    assert terminal.exitstatus == code
    until(lambda: in_the_probe(quiet) == [ALONE], "no process is left in the probe")


def test_a_killed_watch_leaves_no_process(terminal: Any, quiet: Rig) -> None:
    """SIGKILL: the probe's stream loses its input and ends by itself."""
    terminal.expect("PROCESSES")
    assert len(in_the_probe(quiet)) == 2
    terminal.kill(9)
    until(lambda: in_the_probe(quiet) == [ALONE], "no process is left in the probe")
