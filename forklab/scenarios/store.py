"""Each line that came back to a client is in the store's file exactly once, whole and in order, whoever is killed."""

import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from forklab.harness import Choice, Parameter, Scenario, Stage, Text
from forklab.harness.stage import Hand
from forklab.lab import Lab
from forklab.observe import Snapshot
from protocol import numbered

FILE = "/data/store.log"
RECORDER = "recorder"
_AT_ONCE_SECONDS = 120.0


@dataclass
class Check:
    """The lines of the file, compared with what the clients know of each connection: lines sent, lines back."""

    sent: dict[int, int]
    back: dict[int, int]
    wrong: list[str] = field(default_factory=list)
    lines: int = 0
    size: int = 0
    _last: dict[int, int] = field(default_factory=dict)
    _named: Counter[int] = field(default_factory=Counter)
    _short: Counter[bytes] = field(default_factory=Counter)

    def take(self, text: bytes) -> None:
        """The next line of the file."""
        self.lines += 1
        self.size += len(text)
        try:
            origin = numbered.origin(text)
        except ValueError:
            self.wrong.append(f"line {self.lines} of the file is not whole: {text[:40]!r}, {len(text)} bytes")
            return
        if origin is None:
            self._short[text] += 1
            return
        connection, number = origin
        if number >= self.sent.get(connection, 0):
            self.wrong.append(f"line {number} of connection {connection} is in the file, and nobody sent it")
        elif number <= self._last.get(connection, -1):
            self.wrong.append(f"line {number} of connection {connection} is there twice, or not in order")
        self._last[connection] = max(number, self._last.get(connection, -1))
        self._named[connection] += number < self.back.get(connection, 0)

    def finish(self) -> None:
        """Compare the sums: lines too short to say who they are can only be counted."""
        least, most = Counter[bytes](), Counter[bytes]()
        for connection, sent in self.sent.items():
            came = 0
            for number in range(sent):
                text = numbered.line(connection, number)
                back = number < self.back[connection]
                if b" " in text:
                    came += back
                else:
                    most[text] += 1
                    least[text] += back
            if self._named[connection] < came:
                missing = came - self._named[connection]
                self.wrong.append(f"{missing} lines came back to connection {connection} and are not in the file")
        for text in least | self._short:
            if self._short[text] < least[text]:
                self.wrong.append(
                    f"of {least[text]} lines {text!r} that came back, {self._short[text]} are in the file"
                )
            elif self._short[text] > most[text]:
                self.wrong.append(f"{self._short[text]} lines {text!r} are in the file, and {most[text]} were sent")


def run(stage: Stage) -> str:
    """Let many clients send lines while children and the recorder are killed; then read the file from outside."""
    with stage.lab(service="store") as lab, stage.hand(lab) as hand:
        hand.crowd(stage["clients"], stage["lines"])
        killed = storm(stage, lab, hand)
        told = hand.crowd_end()
        check = read(lab, told)
    for words in told["odd"]:
        stage.says(words)
    back, broken = sum(check.back.values()), told["broken"]
    stage.evidence(f"{back} lines came back over {len(check.back)} connections, {broken} of them broken off")
    stage.evidence(f"{FILE} has {check.lines} lines, {check.size} bytes; {len(check.wrong)} of them are wrong")
    for words in check.wrong[:5]:
        stage.evidence(words)
    stage.measure(
        clients=stage["clients"],
        lines_back=back,
        lines_in_file=check.lines,
        bytes_in_file=check.size,
        children_killed=killed,
        recorders_killed=killed,
        connections_broken=broken,
        wrong=len(check.wrong),
    )
    stage.expect(not check.wrong, (check.wrong or [""])[0])
    stage.expect(not told["odd"], f"nobody is turned away, yet: {(told['odd'] or [''])[0]}")
    stage.expect(back >= stage["clients"] * stage["lines"], "each client gets all its lines back")
    if broken < killed:
        stage.inconclusive(f"{killed} children were killed, but only {broken} connections were broken off")
    return f"all {back} lines that came back are in the file exactly once, whole and in their connection's order"


def storm(stage: Stage, lab: Lab, hand: Hand) -> int:
    """Kill a child and the recorder again and again while the clients talk; how many of each."""
    whole = stage["clients"] * stage["lines"]
    for turn in range(stage["kills"]):
        goal = whole * (turn + 1) // (stage["kills"] + 1)
        stage.until(lambda goal=goal: hand.crowd_state()["back"] >= goal, _AT_ONCE_SECONDS)  # type: ignore[misc]
        seen = lab.snapshot(())
        child, recorder = serving(seen), named(seen)
        if not child or not recorder:
            stage.inconclusive("there is nobody to kill: no child, or no recorder")
        back = hand.crowd_state()["back"]
        stage.signal(lab, "KILL", child)
        stage.signal(lab, "KILL", recorder)
        new = stage.until(lambda old=recorder: renewed(lab, old))  # type: ignore[misc]
        stage.expect(bool(new), f"the recorder {recorder} is killed, and nobody starts another one")
        words = f"SIGKILL for child {child} and recorder {recorder}; the recorder is now {new}"
        stage.evidence(f"after {back:>7} lines: {words}")
    return int(stage["kills"])


def serving(seen: Snapshot) -> int:
    """A child of the server that serves a client; 0 if there is none."""
    return next((each.pid for each in seen.processes if each.ppid == seen.server and each.state != "Z"), 0)


def named(seen: Snapshot) -> int:
    """The recorder; 0 while there is none."""
    return next((each.pid for each in seen.processes if each.name == RECORDER and each.state != "Z"), 0)


def renewed(lab: Lab, old: int) -> int:
    """The recorder, once it is another one."""
    found = named(lab.snapshot(()))
    return found if found != old else 0


def read(lab: Lab, told: dict[str, Any]) -> Check:
    """The file, fetched by the engine, compared with what the clients know."""
    rows = told["connections"]
    check = Check({name: sent for name, sent, _ in rows}, {name: back for name, _, back in rows})
    server = lab.client.containers.get(lab.status().containers["server"])
    pieces, _ = server.get_archive(FILE)
    for text in unpacked(pieces):
        check.take(text)
    check.finish()
    return check


def unpacked(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of the one file in a tar archive that comes in pieces."""
    with tempfile.TemporaryFile() as whole:
        for piece in pieces:
            whole.write(piece)
        whole.seek(0)
        with tarfile.open(fileobj=whole) as archive:
            for member in archive:
                yield from archive.extractfile(member) or ()


SCENARIO = Scenario(
    question=Text(en="Do all messages reach the file?", ko="모든 메시지가 파일에 도달할까?"),
    expectation=Text(
        en="The children of the store write lines into one pipe, and a recorder moves them from there to the file. "
        "A write of up to PIPE_BUF (4,096) bytes is never mixed with others; longer ones could be, so a lock orders "
        "them. What is in a pipe belongs to no process: who is killed takes nothing along. The recorder moves bytes "
        "with splice, inside the kernel, so that none is in its own memory when it dies; the next recorder goes on "
        "at the same offset. And a line is sent back only when it is in the file. So whoever got a line back finds "
        "it there, exactly once, whole, and behind the lines of the same connection that came before.",
        ko="store의 자식들은 줄을 파이프 하나에 쓰고, 기록 프로세스(recorder)가 그것을 파일로 옮긴다. "
        "PIPE_BUF(4,096) 바이트까지의 write는 다른 write와 섞이지 않는다. 더 긴 줄은 섞일 수 있으므로 잠금으로 "
        "순서를 정한다. 파이프 안의 바이트는 어느 프로세스의 것도 아니어서, 죽는 프로세스가 가져가지 못한다. 기록 "
        "프로세스는 커널 안에서 splice로 바이트를 옮기므로 죽을 때 자기 메모리에 들고 있는 바이트가 없고, 다음 기록 "
        "프로세스는 같은 오프셋에서 이어 간다. 그리고 줄은 파일에 들어간 뒤에만 되돌려 보낸다. 그래서 줄을 되돌려 "
        "받은 클라이언트의 그 줄은 파일에 정확히 한 번, 온전하게, 같은 연결의 앞선 줄 뒤에 있다.",
    ),
    source="pipe(7) PIPE_BUF, splice(2), fcntl(2), signal(7); UNP vol. 2, 4.11; TLPI 5.4, 44.1, 55.3",
    explanation=Text(
        en="An answer is a promise: send it when the work is done and not when it has begun. A line that did not "
        "come back may be in the file or not, and its sender cannot know; who must know has to ask, or to number "
        "its lines. Against a crash of the machine, not of a process, only fsync helps: --fsync always.",
        ko="응답은 약속이다. 일을 시작했을 때가 아니라 끝냈을 때 보내야 한다. 되돌아오지 않은 줄은 파일에 있을 "
        "수도, 없을 수도 있으며 보낸 쪽은 알 수 없다. 꼭 알아야 한다면 물어보거나 줄에 번호를 붙여야 한다. "
        "프로세스가 아니라 컴퓨터가 멈추는 경우에는 fsync만이 도움이 된다(--fsync always).",
    ),
    prediction=Choice(
        ask=Text(
            en="Many clients send lines, and now and then a child or the recorder is killed by SIGKILL. Which lines "
            "may be missing in the file?",
            ko="많은 클라이언트가 줄을 보내는 동안 이따금 자식이나 기록 프로세스가 SIGKILL로 죽는다. 파일에서 빠질 "
            "수 있는 줄은 어느 것일까?",
        ),
        answers=(
            Text(
                en="Those that were in the pipe when the recorder died.", ko="기록 프로세스가 죽을 때 파이프에 있던 줄."
            ),
            Text(en="Only lines that had not come back to their client.", ko="클라이언트에게 되돌아가지 않은 줄만."),
            Text(en="The long ones: they are mixed with others.", ko="긴 줄. 다른 줄과 섞인다."),
            Text(
                en="None: SIGKILL waits until a write is complete.", ko="없다. SIGKILL은 write가 끝날 때까지 기다린다."
            ),
        ),
        right=1,
    ),
    run=run,
    parameters={
        "clients": Parameter(10, 1, 50, "", "how many clients talk at once"),
        "lines": Parameter(200, 10, 5000, "", "how many lines each client gets back at least"),
        "kills": Parameter(2, 0, 20, "", "how often a child and the recorder are killed"),
    },
)
