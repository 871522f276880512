"""The page of a grading: one file that loads nothing; its pictures show what was recorded, whatever a subject says."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from forklab.grade import picture
from forklab.grade.catalogue import Check
from forklab.grade.moments import MOST_PROCESSES, MOST_STEPS, UNSEEN, Timeline, timeline
from forklab.grade.outcome import Outcome
from forklab.grade.page import MOST_LETTERS, MOST_LINES, code, page
from tests.chromium import Browser
from tests.unit.test_scenario_pages import FETCHED

CHILDREN = range(21, 26)
SVG = "{http://www.w3.org/2000/svg}"


def seen(at: float, pid: int, state: str, ppid: int = 17, **more: Any) -> dict[str, Any]:
    """A process, looked at."""
    return {
        "at": at,
        "kind": "process",
        "pid": pid,
        "state": state,
        "ppid": ppid,
        "name": "server",
        "threads": 1,
        **more,
    }


def of_client(at: float, kind: str, client: int, **more: Any) -> dict[str, Any]:
    """Something a client did."""
    return {"at": at, "until": at, "kind": kind, "client": client, **more}


def burst() -> list[dict[str, Any]]:
    """Five children that ended while their parent was stopped; it waits for one of them only."""
    verdict = {"at": 4.5, "kind": "verdict", "verdict": "FAIL", "words": "4 of 5 children stay zombies"}
    return [
        {"at": 0.1, "kind": "start", "pid": 17},
        seen(0.1, 17, "alive", 0),
        {"at": 0.5, "kind": "ready"},
        *(of_client(0.51, "connect", number) for number in range(1, 6)),
        *(seen(0.52, pid, "alive") for pid in CHILDREN),
        *(of_client(0.52, kind, number, bytes=10) for number in range(1, 6) for kind in ("send", "receive")),
        {"at": 0.53, "kind": "signal", "pid": 17, "name": "SIGSTOP"},
        seen(0.531, 17, "stopped", 0),
        *(of_client(0.54, "close", number) for number in range(1, 6)),
        *(seen(0.55, pid, "zombie") for pid in CHILDREN),
        {"at": 0.56, "kind": "note", "words": "parent 17 stopped"},
        {"at": 0.57, "kind": "signal", "pid": 17, "name": "SIGCONT"},
        seen(0.575, 17, "alive", 0),
        seen(0.58, 21, "gone"),
        {"at": 4.49, "kind": "note", "words": "zombies after SIGCONT"},
        verdict,
    ]


def read(records: list[dict[str, Any]]) -> Timeline:
    """Their time-line."""
    line = timeline(records)
    assert line
    return line


def drawn(records: list[dict[str, Any]]) -> ElementTree.Element:
    """The picture of them."""
    return ElementTree.fromstring(picture.svg(read(records), "p1-", lambda words: words))


def outcome(*results: dict[str, Any], subject: str = "server.c") -> Outcome:
    """One whose results have what the others leave out."""
    made = Outcome.of(subject, [Check("reap-burst", "sums it up", "r", "waitpid(2)", "e", "c", "m")])
    blank: dict[str, Any] = dict.fromkeys(("requirement", "expected", "actual", "cause", "mend", "replay"), "")
    made.results += [{**blank, "evidence": [], "seconds": 0.1, "moments": [], **each} for each in results]
    return made


def failed(**more: Any) -> dict[str, Any]:
    """A FAIL of reap-burst with its moments."""
    return {"id": "reap-burst", "verdict": "FAIL", "actual": "4 of 5 stay", "moments": burst(), **more}


def test_lanes_are_what_the_kernel_showed() -> None:
    """The parent stopped for a while, each child a zombie to the end but one; clients until they closed."""
    line = read(burst())
    lanes = {lane.key: lane for lane in line.lanes}
    assert list(lanes) == ["p17", *(f"p{pid}" for pid in CHILDREN), *(f"c{number}" for number in range(1, 6))]
    spans = {key: [(round(s.begin, 3), round(s.end, 3), s.look) for s in lane.spans] for key, lane in lanes.items()}
    assert spans["p17"] == [(0.0, 0.031, "alive"), (0.031, 0.075, "stopped"), (0.075, 4.0, "alive")]
    assert spans["p21"] == [(0.02, 0.05, "alive"), (0.05, 0.08, "zombie")]
    assert spans["p22"] == [(0.02, 0.05, "alive"), (0.05, 4.0, "zombie")]
    assert spans["c1"] == [(0.01, 0.04, "connected")]
    assert "The first 0.50 s" in line.notes[0]


def test_steps_tell_the_same_in_words() -> None:
    """What several do together is one step; each has its number on each lane that it touches."""
    steps = read(burst()).steps
    assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    assert [step.words for step in steps] == [
        "clients 1-5 connect",
        "21, 22, 23, 24 and 25 are there",
        "clients 1-5: 50 bytes sent, 50 came",
        "SIGSTOP to 17 (parent)",
        "17 (parent) stands still",
        "clients 1-5 close",
        "21, 22, 23, 24 and 25 have ended, and nobody has waited: zombies",
        "parent 17 stopped",
        "SIGCONT to 17 (parent)",
        "17 (parent) goes on",
        "21 (child) was waited for",
        "zombies after SIGCONT",
        "FAIL: 4 of 5 children stay zombies",
    ]
    assert set(steps[6].marks) == {f"p{pid}" for pid in CHILDREN}


def test_what_one_lane_did_stays_in_order() -> None:
    """Two visits one after the other are not told as two connections at once."""
    records = [
        of_client(0.01, "connect", 1),
        of_client(0.02, "close", 1),
        seen(0.021, 21, "alive"),
        seen(0.022, 21, "gone"),
        seen(0.023, 22, "alive"),
        seen(0.024, 21, "alive"),
        {"at": 0.1, "kind": "verdict", "verdict": "FAIL", "words": "bad"},
    ]
    words = [step.words for step in read(records).steps]
    assert words[2:-1] == ["21 and 22 are there", "21 (child) has ended", "21 (child) is there"]


def test_a_socket_is_drawn_as_far_as_it_was_looked_at() -> None:
    """Its state and its holders; the listener only where those change."""
    last = {"at": 2.0, "kind": "verdict", "verdict": "FAIL", "words": "bad"}
    ends = [
        of_client(0.0, "connect", 1),
        {"at": 0.1, "until": 0.2, "kind": "socket", "client": 1, "state": "CLOSE_WAIT", "pids": [17]},
        {"at": 1.0, "until": 1.5, "kind": "socket", "client": 1, "state": "", "pids": None},
    ]
    listener = {"at": 0.0, "until": 2.0, "kind": "socket", "client": 0, "state": "LISTEN", "pids": [17]}
    line = read([*ends, listener, last])
    assert [lane.key for lane in line.lanes] == ["c1", "s1"]
    spans = [(span.begin, span.end, span.look) for span in line.lanes[1].spans]
    assert spans == [(0.1, 0.2, "CLOSE_WAIT"), (0.2, 1.0, UNSEEN)]
    assert line.lanes[1].spans[0].words == "CLOSE_WAIT, held by 17"
    line = read([*ends, listener, {**listener, "at": 1.0, "pids": [17, 21]}, last])
    assert [span.words for span in line.lanes[0].spans if span.look != UNSEEN] == [
        "LISTEN, held by 17",
        "LISTEN, held by 17, 21",
    ]


def test_a_crowd_is_a_number() -> None:
    """More clients than have room are one lane; more processes than that are chosen, and it is said."""
    records = [of_client(0.001 * number, "connect", number, open=number) for number in range(1, 101)]
    records += [seen(0.2 + 0.001 * pid, pid, "alive") for pid in range(100, 200)]
    records += [seen(0.5, 190, "zombie"), of_client(0.6, "close", 1, open=99)]
    records.append({"at": 1.0, "kind": "verdict", "verdict": "FAIL", "words": "bad"})
    line = read(records)
    (crowd,) = (lane for lane in line.lanes if lane.counts)
    assert (crowd.title, max(count for _, count in crowd.counts), crowd.counts[-1][1]) == ("100 clients", 100, 99)
    assert sum(lane.key.startswith("p") for lane in line.lanes) == MOST_PROCESSES
    assert "p190" in {lane.key for lane in line.lanes}
    assert any("60 more processes" in note for note in line.notes)
    assert re.search(r'd="M[^"]{1000,}Z"', page(outcome(failed(moments=records)))), "a long path must not be cut"


@pytest.mark.parametrize("more", [{}, {"open": 0}])
def test_a_crowd_that_nobody_counted_is_drawn(more: dict[str, int]) -> None:
    """Where processes come and go, the records that say how many clients there are may all have been left out."""
    records = [of_client(0.01 * number, "send", number, bytes=1, **more) for number in range(1, 20)]
    records.append({"at": 1.0, "kind": "verdict", "verdict": "FAIL", "words": "bad"})
    words = ["".join(text.itertext()) for text in drawn(records).iter(f"{SVG}text")]
    assert "19 clients" in words
    assert ("0 at once" in words) == bool(more)


def test_many_steps_are_cut_in_the_middle() -> None:
    """How it began and how it ended stays, with a word on the rest."""
    notes = [{"at": float(number), "kind": "note", "words": f"note {number}"} for number in range(200)]
    verdict = {"at": 200.0, "kind": "verdict", "verdict": "WARN", "words": "late"}
    assert timeline([*notes, verdict]) is None  # it was only looked at: there is nothing to draw
    line = read([*notes[:-1], of_client(199.0, "connect", 1), verdict])
    assert len(line.steps) == MOST_STEPS
    assert (line.steps[0].words, line.steps[-1].words) == ("note 0", "WARN: late")
    assert any("141 steps" in note for note in line.notes)


def test_idle_time_is_folded_and_the_rest_is_to_scale() -> None:
    """Four seconds of nothing take less room than the tenth of a second before them; places never go back."""
    axis = picture.axis([0.01 * number for number in range(10)], 4.0)
    assert [piece.folded for piece in axis.pieces] == [False, True]
    assert axis.x(0.08) - axis.x(0.04) == pytest.approx(axis.x(0.04) - axis.x(0.0), abs=0.2)
    assert axis.x(0.09) - axis.x(0.0) > 5 * (axis.x(4.0) - axis.x(0.09))
    assert axis.x(-1.0) == axis.x(0.0)
    assert axis.x(9.0) == axis.x(4.0)
    assert [tick.words for tick in axis.ticks()][:2] == ["0.00 s", "0.02 s"]
    assert picture.axis([], 0.0).x(0.0) >= 0  # a check that failed before anything happened
    assert all(words.words.endswith(" ms") for words in picture.axis([0.1, 0.2], 0.4).ticks())


def test_the_picture_names_what_it_shows_and_its_words_have_room() -> None:
    """Zombies in a colour, a pattern and a word; times with their unit; no two numbers on each other."""
    crowded = [{"at": 0.56 + number / 1e4, "kind": "note", "words": "again"} for number in range(20)]
    made = drawn([*burst()[:-2], *crowded, *burst()[-2:]])
    words = ["".join(text.itertext()) for text in made.iter(f"{SVG}text")]
    assert words.count("zombie") == 5 + 1  # five lanes and the legend
    assert {"stopped", "runs or sleeps", "connected"} <= set(words)
    assert "// 3.91 s" in words
    patterned = [rect for rect in made.iter(f"{SVG}rect") if rect.get("fill") == "url(#p1-zombie)"]
    assert len(patterned) == 5 + 1
    rows: dict[str, list[tuple[float, float]]] = {}
    for text in made.iter(f"{SVG}text"):
        if text.get("class") == "number":
            left = float(text.get("x", ""))
            rows.setdefault(text.get("y", ""), []).append((left, left + 6 * len(text.text or "")))
    assert len(rows) > 8
    for row in rows.values():
        for (_, right), (left, _) in zip(sorted(row), sorted(row)[1:], strict=False):
            assert right <= left
        assert max(right for _, right in row) <= picture.WIDTH


def test_a_page_has_everything_and_loads_nothing() -> None:
    """What failed comes first, with its picture; then what is not known; what passed is a row."""
    made = page(
        outcome(
            {"id": "listens", "verdict": "PASS", "actual": "it listens"},
            {"id": "backlog", "verdict": "INCONCLUSIVE", "actual": "nobody knows", "moments": burst()},
            failed(evidence=["parent 17"], cause="waits once", mend="while (waitpid(-1, NULL, WNOHANG) > 0);"),
        )
    )
    assert not FETCHED.search(made), FETCHED.search(made)
    assert "<script" not in made
    places = [made.index(f'id="{name}"') for name in ("reap-burst", "backlog", "listens")]
    assert places == sorted(places)
    for words in ("4 of 5 stay", "parent 17", "waits once", "waitpid(2)", "nobody knows", "it listens"):
        assert words in made, words
    assert "<code>while (waitpid(-1, NULL, WNOHANG) &gt; 0);</code>" in made
    assert made.count("<svg") == 2
    names = re.findall(r'\bid="([^"]+)"', made)
    assert len(names) == len(set(names)), "pictures share one document, and so their names"


def test_a_page_is_the_same_from_a_kept_document() -> None:
    """The document has all that the page shows."""
    first = outcome(failed())
    kept = json.loads(json.dumps(first.document()))
    again = Outcome(kept["subject"], kept["model"], kept["command"], kept["checks"], first.checks)
    assert page(again) == page(first)


class Tags(HTMLParser):
    """All elements of a page."""

    def __init__(self, made: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.feed(made)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note it, and that it has no handler of events."""
        self.names.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]


BAD = "</svg></pre><script>alert(1)</script>\0\x1b[31m\u202e\ud800 onload='x' {{ 7 * 7 }}"


def test_what_a_subject_says_stays_text() -> None:
    """In its name, its output, the names of its processes and the evidence: neither markup nor control characters."""
    moments = [
        *burst()[:-1],
        {"at": 4.4, "kind": "note", "words": BAD},
        seen(4.45, 90, "alive", name=BAD),
        burst()[-1],
    ]
    moments[1]["name"] = BAD
    result = failed(evidence=[BAD] * 500, actual=BAD, replay=BAD, moments=moments)
    made = page(outcome(result, {"id": BAD, "verdict": "PASS", "actual": BAD}, subject=BAD))
    made.encode()  # what no UTF-8 has is not in it
    plain = page(outcome(failed(evidence=["x"]), {"id": "x", "verdict": "PASS"}))
    assert Tags(made).names == Tags(plain).names
    assert not set("\0\x1b\u202e") & set(made)
    assert "{{ 7 * 7 }}" in made
    assert made.count("&lt;/pre&gt;") < 2 * MOST_LINES
    assert f"({500 - MOST_LINES} more lines are in the JSON)" in made


def test_a_flood_of_words_is_cut() -> None:
    """Lines of 100 kB, in every place: the page stays small."""
    flood = "y" * 100_000
    made = page(outcome(failed(evidence=[flood] * 100, actual=flood, mend=flood, replay=flood), subject=flood))
    assert len(made) < 60_000 + (MOST_LINES + 8) * (MOST_LETTERS + 100)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Close it: close(listener); in Python: listener.close().", ["close(listener)", "listener.close()"]),
        ("Loop: while ((n = read(fd, b, sizeof b)) > 0), then", ["while ((n = read(fd, b, sizeof b)) > 0)"]),
        ("On EMFILE wait a little; raise OSError.", ["EMFILE", "OSError"]),
        ("As signal-safety(7) has it (O_NONBLOCK).", ["signal-safety(7)", "O_NONBLOCK"]),
        ("Wait for each child. Then go on.", []),
    ],
)
def test_code_in_a_sentence_is_known(text: str, expected: list[str]) -> None:
    """Calls, loops, constants; the words around them stay words, and nothing is lost."""
    pieces = code(text)
    assert [piece for is_code, piece in pieces if is_code] == expected
    assert "".join(piece for _, piece in pieces) == text


@pytest.mark.parametrize("width", [400, 1280])
def test_a_page_fits_its_window(browser: Browser, tmp_path: Path, width: int) -> None:
    """Nothing makes it wider than a phone, however long a word is: the picture scrolls by itself."""
    made = page(outcome(failed(evidence=["z" * 300], replay="z" * 300), subject="z" * 200))
    made = made.replace("<body>", '<body><i id="panel"></i>')
    made = re.sub("<meta http-equiv.*?>", "", made)  # the frame around it is written by a script
    assert browser.at_width(made, tmp_path, width).data("overflow") == "false"
