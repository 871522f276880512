"""With one pipe for both ways a process reads its own words; with a pipe for each way it reads the other's."""

from forklab.harness import Choice, Scenario, Stage, Text, pipes
from forklab.harness.reading import children, family, line
from forklab.timeline.model import Event, Lane, Timeline


def run(stage: Stage) -> str:
    """Record a parent that sends a word and reads an answer: over one pipe, then over two."""
    program = stage.program("-m", "demos", "pipe-twoway")
    timeline = program.timeline
    for words in program.said.splitlines():
        stage.says(words)
    stage.timeline("One pipe and two pipes: who writes and who reads", timeline)
    demo, _ = family(timeline)
    partners = children(timeline, demo)
    stage.expect(len(partners) == 2, f"the parent talks to two children, one after the other, not to {len(partners)}")
    one, two = partners

    asked, got = talk(timeline, demo, one)
    stage.expect(bool(asked and got), "over one pipe the parent writes a word and reads")
    stage.evidence(line(timeline, asked[0]))
    stage.evidence(line(timeline, got[0]))
    stage.expect(pipes.name(asked[0]) == pipes.name(got[0]), "the first conversation uses one pipe for both ways")
    stage.expect(pipes.text(got) == pipes.text(asked), "over one pipe the parent reads its own word")
    theirs = [each for each in pipes.through(timeline, "read", one) if pipes.name(each) == pipes.name(asked[0])]
    stage.expect(bool(theirs) and not theirs[0].fields["bytes"], "what the parent has taken back, the child never gets")
    stage.evidence(line(timeline, theirs[0]))

    asked, got = talk(timeline, demo, two)
    stage.expect(bool(asked and got), "in the second conversation the parent writes a word and reads")
    heard, said = (pipes.through(timeline, kind, two) for kind in ("read", "write"))
    for event in (asked[0], *heard[:1], *said[:1], got[0]):
        stage.evidence(line(timeline, event))
    stage.expect(pipes.name(asked[0]) != pipes.name(got[0]), "the second conversation uses a pipe for each way")
    stage.expect(pipes.text(heard) == pipes.text(asked), "over two pipes the child gets the parent's word")
    right = pipes.text(got) == pipes.text(said) != pipes.text(asked)
    stage.expect(right, "over two pipes the parent reads the child's answer")
    stage.measure(bytes_of_the_question=asked[0].fields["bytes"], bytes_of_the_answer=got[0].fields["bytes"])
    return "over one pipe the parent read its own word back, over two it read the child's answer"


def talk(timeline: Timeline, demo: Lane, partner: Lane) -> tuple[list[Event], list[Event]]:
    """What the parent wrote and read while ``partner`` was its child."""
    over = partner.reaped or partner.ended or timeline.length
    both = (pipes.through(timeline, kind, demo) for kind in ("write", "read"))
    wrote, read = ([each for each in some if partner.born < each.time < over] for some in both)
    return wrote, read


SCENARIO = Scenario(
    question=Text(en="Why two pipes?", ko="왜 파이프가 두 개 필요할까?"),
    expectation=Text(
        en="A pipe is one queue of bytes, and the kernel does not note who wrote them. Whoever reads first gets "
        "what is there, the writer too. So over one pipe a parent that writes a question and then reads an answer "
        "may read its own question, and its child gets nothing. Two pipes, one for each way, with the ends closed "
        "that are not one's own, leave each process only what the other one wrote.",
        ko="파이프는 바이트의 큐 하나이며, 커널은 누가 썼는지 기록하지 않는다. 먼저 읽는 프로세스가 가져가고, 쓴 "
        "프로세스 자신도 예외가 아니다. 그래서 파이프 하나로 질문을 쓰고 답을 읽으려는 부모는 자기 질문을 도로 읽을 "
        "수 있고, 자식은 아무것도 받지 못한다. 방향마다 파이프를 하나씩 두고 자기 것이 아닌 쪽을 닫으면 서로 상대가 "
        "쓴 것만 읽게 된다.",
    ),
    source="pipe(2) EXAMPLES, pipe(7); UNP vol. 2, 4.3; TLPI 44.2",
    explanation=Text(
        en="A pipe has a direction. For a conversation take two, or a socketpair, which is two queues with two "
        "ends. And mind lockstep-deadlock: two pipes that both fill up stop both processes.",
        ko="파이프에는 방향이 있다. 대화를 하려면 파이프 둘을 쓰거나 socketpair를 쓴다. socketpair는 양 끝에 큐가 "
        "하나씩, 모두 둘 있다. 그리고 lockstep-deadlock을 기억하라. 두 파이프가 모두 가득 차면 두 프로세스가 함께 "
        "멈춘다.",
    ),
    prediction=Choice(
        ask=Text(
            en='Parent and child share one pipe. The parent writes "hello" and at once reads from the same pipe; '
            "the child is a little late. What does the parent read?",
            ko='부모와 자식이 파이프 하나를 함께 쓴다. 부모는 "hello"를 쓰고 곧바로 같은 파이프에서 읽는다. 자식은 '
            "조금 늦게 읽으려 한다. 부모는 무엇을 읽을까?",
        ),
        answers=(
            Text(
                en="It sleeps until the child has answered: nobody gets back what he wrote himself.",
                ko="자식이 답할 때까지 잠든다. 자기가 쓴 것은 자기가 읽을 수 없기 때문이다.",
            ),
            Text(en='Its own "hello".', ko='자기가 쓴 "hello".'),
            Text(en="The child's answer.", ko="자식의 답."),
            Text(en="An error: a pipe cannot be read by its writer.", ko="오류. 파이프는 쓴 프로세스가 읽을 수 없다."),
        ),
        right=1,
    ),
    run=run,
)
