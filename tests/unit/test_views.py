"""The tables of ps, fds and sockets, and the words for connections that are not over."""

import json
from typing import Any

import pytest

from forklab import closing, views
from forklab.errors import UsageError
from forklab.observe import Snapshot
from tests.unit.test_observe import answer, process, row
from tests.unit.test_show import printed

CLIENT = "172.18.0.4:50000"


def look(processes: list[dict[str, Any]], sockets: list[dict[str, Any]], **more: Any) -> Snapshot:
    """A snapshot of these, with a descriptor 6 for each holder of a socket."""
    return Snapshot.parse(json.dumps(json.loads(answer(processes, sockets)) | more))


LISTENER = row(11, "0.0.0.0:0", "LISTEN", (7,)) | {"local": "0.0.0.0:9190", "backlog": 2, "backlog_limit": 128}
FORKED = look(
    [process(7, 1), process(8, 7, "Z", start=2.0), process(9, 7, start=3.0), process(10, 9, "T", start=4.0)],
    [
        LISTENER,
        row(12, CLIENT, holders=(7, 9)),
        row(0, "172.18.0.5:50001"),
        row(13, "172.18.0.6:1", "CLOSE_WAIT", (9,)),
    ],
)


def lines(content: Any, word: str) -> list[str]:
    """The printed lines that have the word."""
    return [line for line in printed(content).splitlines() if word in line]


def test_a_zombie_cannot_be_missed() -> None:
    """In capitals without colour, in red with it, and it is said who has not waited; also how many there are."""
    (zombie,) = lines(views.ps(FORKED), "ZOMBIE")
    assert zombie.split()[:3] == ["|-", "8", "ZOMBIE"]
    assert "7 has not waited for it" in zombie
    assert "\x1b[1;31mZOMBIE" in printed(views.ps(FORKED), colour=True)
    assert lines(views.ps(FORKED), "zombies 1")


def test_the_tree_shows_who_is_whose_child() -> None:
    """Each child below its parent; the last of a level closes it; states are words."""
    rows = printed(views.ps(FORKED)).splitlines()
    assert [line for line in rows if "`- 9" in line]
    assert [line for line in rows if "   `- 10" in line]
    assert "stopped" in lines(views.ps(FORKED), "- 10")[0]


def test_guides_close_each_level() -> None:
    """A bar goes on while a sibling follows below, and not beyond the last."""
    seen = look([process(1, 0), process(2, 1), process(3, 2), process(4, 2), process(5, 1), process(6, 5)], [])
    assert views.guides(seen.tree()) == ["", "|- ", "|  |- ", "|  `- ", "`- ", "   `- "]


def test_ps_names_the_connections_and_who_waits() -> None:
    """With the descriptor and the state; a client that nobody has accepted yet is named below."""
    words = printed(views.ps(FORKED))
    assert words.count(f"fd 6 {CLIENT} ESTABLISHED") == 2
    assert "waiting to be accepted: 172.18.0.5:50001" in words


def test_signals_that_were_not_given_yet() -> None:
    """A stopped parent has SIGCHLD pending; what the main process catches is told."""
    masks = {"caught": ["SIGCHLD", "SIGTERM"], "ignored": ["SIGPIPE"], "blocked": [], "pending": ["SIGCHLD"]}
    words = printed(views.ps(look([process(7, 1) | masks], [])))
    assert "7 catches CHLD TERM; ignores PIPE; blocks none" in words
    assert "7 has not yet been given: CHLD" in words


def test_each_descriptor_names_who_else_holds_it() -> None:
    """The other processes with the same socket, the listener with its backlog, the ends of a pipe."""
    pipe = {"kind": "pipe", "target": "pipe:[99]", "inode": 99}
    held = [
        *({"pid": pid, "fd": 6, "kind": "socket", "target": "socket:[12]", "inode": 12} for pid in (7, 9)),
        {"pid": 7, "fd": 3, "kind": "socket", "target": "socket:[11]", "inode": 11, "flags": ["O_RDWR", "O_CLOEXEC"]},
        {"pid": 7, "fd": 8, "end": "write", "flags": ["O_WRONLY", "O_NONBLOCK"], **pipe},
        *({"pid": 9, "fd": fd, "end": "read", "flags": ["O_RDONLY"], **pipe} for fd in range(10, 16)),
    ]
    seen = look([process(7, 1), process(9, 7)], [LISTENER, row(12, CLIENT, holders=(7, 9))], descriptors=held)
    words = printed(views.fds(seen))
    assert "LISTEN 0.0.0.0:9190, backlog 2 of 128" in words
    assert "CLOEXEC" in words
    mine, its = lines(views.fds(seen), CLIENT + " ESTAB")
    assert mine.rstrip().endswith("9 fd 6")
    assert its.rstrip().endswith("7 (parent) fd 6")
    (writing,) = lines(views.fds(seen, 7), "pipe, write end")
    assert "NONBLOCK" in writing
    assert "read: 9 fd 10, 9 fd 11" in " ".join(printed(views.fds(seen, 7), width=200).split())
    assert "and 2 more" in printed(views.fds(seen, 7), width=200)
    assert not lines(views.fds(seen, 9), "LISTEN")


def test_a_process_that_is_not_the_servers() -> None:
    """Is refused by its number, with those that there are."""
    with pytest.raises(UsageError, match=r"process 99 is none of the server's; there are 7, 8, 9, 10: \./lab ps"):
        views.fds(FORKED, 99)


def test_sockets_with_queues_and_holders() -> None:
    """One row each: state, bytes, holders; a client in the backlog is said to be there. The resolver is not shown."""
    resolver = row(50, "0.0.0.0:0", "LISTEN") | {"local": "127.0.0.11:40000"}
    seen = look([process(7, 1)], [LISTENER, row(0, CLIENT) | {"rx_queue": 5}, resolver])
    (listener,) = lines(views.sockets(seen), "LISTEN")
    assert "2 of 128" in listener
    (waiting,) = lines(views.sockets(seen), CLIENT)
    assert "5" in waiting.split()
    assert "in the backlog" in waiting
    assert "nobody can connect" in printed(views.sockets(look([process(7, 1)], [resolver])))


def test_a_look_that_is_no_moment_says_so() -> None:
    """What moved while it was read is counted below the table."""
    moved = {"whole": False, "seconds": 0.02, "began": [9], "ended": [], "sockets": [CLIENT]}
    words = printed(views.sockets(look([process(7, 1)], [LISTENER], consistent=moved)))
    assert "While this was read (20 ms) began: 1, connections moved: 1." in words


def test_documents_hold_what_the_tables_show() -> None:
    """For scripts: the holders of each socket by its name, and the words."""
    document: Any = views.fds_document(FORKED, 9)
    assert [process.pid for process in document["processes"]] == [9]
    assert [(held.pid, held.fd) for held in document["holders"]["socket:[12]"]] == [(7, 6), (9, 6)]
    assert {each.state for each in document["waiting"]} == {"ESTABLISHED", "CLOSE_WAIT"}
    assert {row.remote for row in views.sockets_document(FORKED)["sockets"]} >= {CLIENT}  # type: ignore[attr-defined]


WAITED = {"waited": True}


@pytest.mark.parametrize(
    ("processes", "socket", "words"),
    [
        (
            [process(12, 1), process(30, 12)],
            row(5, CLIENT, "CLOSE_WAIT", (12, 30)),
            "the client has closed (CLOSE_WAIT); the FIN of this side waits for process 12 (parent), fd 6, "
            "and process 30, fd 6",
        ),
        (
            [process(7, 1) | WAITED],
            row(5, CLIENT, "CLOSE_WAIT", (7,)),
            "the client has closed (CLOSE_WAIT); the FIN of this side waits for process 7 (parent), fd 6",
        ),
        (
            [process(7, 1)],
            row(0, CLIENT, "CLOSE_WAIT"),
            "the client has closed (CLOSE_WAIT); the FIN of this side waits for accept: it is still in the backlog of "
            "process 7",
        ),
        (
            [process(7, 1)],
            row(5, CLIENT, "CLOSE_WAIT"),
            "the client has closed (CLOSE_WAIT); the FIN of this side waits for a process that is not the server's",
        ),
        (
            [process(7, 1)],
            row(5, CLIENT, "FIN_WAIT2", (7,)),
            "this side has closed (FIN_WAIT2); the client has not; it can still be read by process 7, fd 6",
        ),
        (
            [process(7, 1)],
            row(0, CLIENT, "LAST_ACK"),
            "this side has sent its FIN (LAST_ACK); the client has not acknowledged it",
        ),
        (
            [process(7, 1), process(9, 7)],
            row(5, CLIENT, holders=(7, 9)),
            "open in process 7 (parent), fd 6, and process 9, fd 6; no FIN can leave before each of them has closed it",
        ),
        (
            [process(7, 1) | WAITED],
            row(5, CLIENT, holders=(7,)),
            "only process 7 (parent), fd 6 holds it; if a child served it, that child has ended and its FIN never left",
        ),
    ],
)
def test_whose_close_a_fin_waits_for(processes: list[dict[str, Any]], socket: dict[str, Any], words: str) -> None:
    """The words name process, role and descriptor of everybody who still has to close."""
    seen = look(processes, [LISTENER | {"holders": [processes[0]["pid"]]}, socket])
    assert [each.words for each in closing.waiting(seen)] == [f"{CLIENT}: {words}"]


def test_nothing_is_said_of_what_is_well_or_on_the_move() -> None:
    """One child with its connection; a server that never forked; a connection between accept and fork."""
    forked = look([process(7, 1) | WAITED, process(9, 7)], [LISTENER, row(5, CLIENT, holders=(9,))])
    alone = look([process(7, 1)], [LISTENER, row(5, CLIENT, holders=(7,))])
    moved = {"whole": False, "seconds": 0.02, "began": [9], "ended": [], "sockets": [CLIENT]}
    between = look([process(7, 1) | WAITED], [LISTENER, row(5, CLIENT, holders=(7,))], consistent=moved)
    assert [closing.waiting(seen) for seen in (forked, alone, between)] == [[], [], []]
