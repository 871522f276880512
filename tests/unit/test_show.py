"""What a person sees and what a script gets."""

import io
import json
import sys

import pytest
from rich.console import Console, RenderableType

from forklab import show, views
from forklab.doctor import Finding
from forklab.lab import Status, Thing
from forklab.observe import Snapshot
from forklab.proof import Evidence, Holder, Proof
from tests.unit.test_observe import answer, process, row

STATUS = Status(
    project="demo",
    running=True,
    model="fork",
    service="echo",
    state="running",
    health="healthy",
    address="127.0.0.1:32768",
    containers={"server": "a" * 64, "probe": "b" * 64},
    clients=[],
    images={"server": "sha256:" + "c" * 64},
    server_pid=7,
    host_pid=4711,
    connections=2,
    processes=3,
    zombies=0,
)
DOWN = Status("demo", False, None, None, None, None, None, {}, [], {}, None, None, None, None, None)
PROOF = Proof(
    model="fork",
    verdict="FAIL",
    reason="a reason",
    server=7,
    clients=(
        Evidence("172.18.0.4:50000", "ESTABLISHED", 123, (Holder(9, 7, 6),)),
        Evidence("172.18.0.5:50001", "ESTABLISHED", 0, ()),
    ),
    answered=1,
    connections_after=0,
    processes_after=1,
    zombies_after=0,
)
SEEN = Snapshot.parse(
    answer(
        [process(7, 1), process(8, 7, "Z"), process(9, 7, "S")],
        [row(12, "172.18.0.4:50000", holders=(9,)), row(0, "172.18.0.5:50001")],
    )
)
EVERYTHING: list[RenderableType] = [
    show.status(STATUS),
    show.status(DOWN),
    show.up(STATUS, PROOF),
    views.ps(SEEN),
    views.fds(SEEN),
    views.sockets(SEEN),
    show.things([Thing("container", "demo-server-1", "d" * 64, "demo")], "Removed"),
    show.things([], "Removed"),
    show.findings([Finding("engine", "FAIL", "no answer", "start it")]),
    show.tasks({"Look": [("ps", "Show [the] tree.")]}),
]


def printed(content: RenderableType, *, encoding: str = "utf-8", width: int = 110, colour: bool = False) -> str:
    """What a console of that encoding and width gets; an unencodable character would raise."""
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding=encoding, errors="strict", newline="\n")
    Console(file=out, width=width, force_terminal=colour, color_system="standard" if colour else None).print(content)
    out.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("content", EVERYTHING)
@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_everything_fits_every_console(content: RenderableType, encoding: str) -> None:
    """Also one that has no box-drawing characters, and one of 40 columns: no line is longer."""
    assert all(len(line) <= 40 for line in printed(content, encoding=encoding, width=40).splitlines())


def test_the_proof_names_who_holds_what() -> None:
    """Process, parent, descriptor and inode of a served client; a waiting one is said to wait."""
    served, waiting = (line for line in printed(show.proof(PROOF)).splitlines() if "172.18" in line)
    assert served.split() == ["172.18.0.4:50000", "ESTABLISHED", "9", "7", "6", "123"]
    assert "accept queue" in waiting


def test_a_verdict_comes_with_its_reason() -> None:
    """FAIL alone would help nobody."""
    assert "FAIL  a reason" in printed(show.proof(PROOF))


def test_a_lab_that_is_down_says_how_to_stand_it_up() -> None:
    """One line, no table of unknowns."""
    assert printed(show.status(DOWN)).strip() == "The lab demo is down. ./lab up stands it up."


def test_the_document_is_json_with_the_fields_names(capsys: pytest.CaptureFixture[str]) -> None:
    """Also for dataclasses within lists and mappings."""
    show.document({"now": STATUS, "all": [PROOF]})
    read = json.loads(capsys.readouterr().out)
    assert read["now"]["server_pid"] == 7
    assert read["all"][0]["clients"][0]["holders"] == [{"pid": 9, "ppid": 7, "fd": 6}]


def test_progress_goes_beside_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output stays clean, and square brackets are no markup."""
    show.say("a [b] c")
    written = capsys.readouterr()
    assert (written.out, written.err) == ("", "a [b] c\n")


def test_what_the_encoding_lacks_becomes_a_question_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file's name in Japanese on a Windows console does not end the task."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="cp1252", newline="\n"))
    show.render("実 x")
    sys.stdout.flush()
    assert raw.getvalue() == b"? x\n"
