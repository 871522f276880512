"""A pipe carries bytes one way, and ends when the last process that could write has closed."""

from forklab.harness import Choice, Scenario, Stage, Text, pipes
from forklab.harness.reading import children, family, line
from forklab.timeline.model import Event, Timeline


def run(stage: Stage) -> str:
    """Record a child that writes and a parent that reads: once with the parent's own write end open, once closed."""
    program = stage.program("-m", "demos", "pipe-oneway")
    timeline = program.timeline
    for words in program.said.splitlines():
        stage.says(words)
    stage.timeline("Who holds the write end: the end of file comes after the last of these bars", timeline)
    demo, _ = family(timeline)
    writers = children(timeline, demo)
    stage.expect(len(writers) == 2, f"two children write, one after the other, not {len(writers)}")

    for child, closes in zip(writers, (False, True), strict=True):
        into = pipes.through(timeline, "write", child)
        stage.expect(bool(into), "the child writes into a pipe")
        pipe = pipes.name(into[0])
        reads = [each for each in pipes.through(timeline, "read", demo) if pipes.name(each) == pipe]
        out, ends = ([each for each in reads if bool(each.fields["bytes"]) == some] for some in (True, False))
        stage.expect(bool(out), "the parent reads from the same pipe")
        stage.evidence(line(timeline, into[0]))
        stage.evidence(line(timeline, out[0]))
        sent, got = (sum(each.fields["bytes"] for each in some) for some in (into, out))
        stage.expect(sent == got > 0, f"the parent reads as many bytes as the child wrote: {got} of {sent}")
        stage.expect(pipes.text(out) == pipes.text(into), "the bytes come out of the pipe in the order they went in")

        asked = [each for each in timeline.events if each.kind == "poll" and each.lane == demo.id and pipe in each.call]
        at_end = next((each for each in asked if each.time > (child.ended or timeline.length)), None)
        stage.expect(at_end is not None, "when the child has ended, the parent asks whether there is more")
        assert at_end
        stage.evidence(f"PID {child.pid} ended at {(child.ended or 0) / 1e6:.3f} ms; {holders(timeline, pipe, at_end)}")
        stage.evidence(line(timeline, at_end))
        if closes:
            stage.expect(bool(ends), "with the last write end closed, read returns 0: end of file")
            stage.evidence(line(timeline, ends[0]))
        else:
            never = "(Timeout)" in at_end.call
            stage.expect(never, "while the reader itself holds a write end, there is no end of file")
        how = "closed" if closes else "open"
        stage.measure(**{f"write_end_{how}_bytes": got, f"write_end_{how}_end_of_file": bool(ends)})
    return "the bytes came whole and in order; the end of file came when the last write end was closed, not before"


def holders(timeline: Timeline, pipe: str, event: Event) -> str:
    """Who could write into the pipe when the call was made."""
    at = event.begin or event.time
    ends = (each for each in timeline.things if each.label == f"{pipe} write end")
    holds = [hold for each in ends for hold in each.holds if (hold[2] or 0) <= at < (hold[3] or at + 1)]
    who = [f"PID {timeline.lanes[lane or 0].pid} as fd {fd}" for lane, fd, _, _ in holds]
    return f"the write end of {pipe} is held by {', '.join(who) or 'nobody'}"


SCENARIO = Scenario(
    question=Text(
        en="How does a pipe carry bytes from child to parent?",
        ko="파이프는 자식의 바이트를 어떻게 부모에게 전달할까?",
    ),
    expectation=Text(
        en="pipe makes a queue in the kernel with two descriptors: a read end and a write end. fork copies both, so "
        "both processes share one queue. The bytes come out in the order they went in, and the borders between the "
        "writes are lost. read returns 0, end of file, when the queue is empty and no process holds a write end any "
        "more. A reader that has kept its own copy of the write end therefore never sees the end: it waits for "
        "itself.",
        ko="pipe는 커널 안에 큐 하나를 만들고 디스크립터 둘, 곧 읽는 쪽과 쓰는 쪽을 준다. fork는 둘을 모두 "
        "복사하므로 두 프로세스가 큐 하나를 공유한다. 바이트는 들어간 순서대로 나오며 write 사이의 경계는 남지 "
        "않는다. 큐가 비어 있고 쓰는 쪽을 가진 프로세스가 하나도 없을 때 read는 0, 곧 파일 끝(EOF)을 돌려준다. "
        "그러므로 쓰는 쪽 사본을 닫지 않은 독자는 끝을 볼 수 없다. 자기 자신을 기다리는 셈이다.",
    ),
    source="pipe(2), pipe(7), read(2); POSIX.1-2024 read; UNP vol. 2, 4.3; TLPI 44.2",
    explanation=Text(
        en="After fork each process closes the end that it does not use. This is not tidiness: the end of file "
        "depends on it, as the FIN of a connection depends on the last close of its socket. A pipe has no messages. "
        "If borders matter, the writer has to mark them, with a newline or a length.",
        ko="fork 다음에는 프로세스마다 쓰지 않는 쪽을 닫아야 한다. 단순한 정리가 아니다. 연결의 FIN이 소켓의 마지막 "
        "close에 달려 있듯이 파이프의 EOF도 여기에 달려 있다. 파이프에는 메시지라는 단위가 없다. 경계가 필요하면 "
        "쓰는 쪽이 줄바꿈이나 길이로 표시해야 한다.",
    ),
    prediction=Choice(
        ask=Text(
            en="A child has written three words into a pipe and has ended. The parent has read them, but has never "
            "closed its own write end. What does its next read do?",
            ko="자식이 파이프에 단어 세 개를 쓰고 끝났다. 부모는 그것을 다 읽었지만 자기 쪽의 쓰는 디스크립터를 "
            "닫지 않았다. 부모의 다음 read는 어떻게 될까?",
        ),
        answers=(
            Text(
                en="It returns 0: the only writer has ended.",
                ko="0을 돌려준다. 쓰던 프로세스가 끝났기 때문이다.",
            ),
            Text(
                en="It sleeps for ever: a write end is still open.",
                ko="영원히 잠든다. 쓰는 쪽이 아직 하나 열려 있기 때문이다.",
            ),
            Text(en="It fails with EPIPE.", ko="EPIPE로 실패한다."),
            Text(en="It returns the three words once more.", ko="세 단어를 다시 돌려준다."),
        ),
        right=1,
    ),
    run=run,
)
