"""When fork fails, a good server neither dies nor spins: its clients wait in the accept queue and are served later."""

from forklab.harness import Choice, Scenario, Stage, Text
from forklab.harness.shortage import PARAMETERS, Shortage, endure

SHORT = Shortage(fault="limit-pids", call="v?fork|clone3?", error="EAGAIN", wanted="a process", parked=1)


def run(stage: Stage) -> str:
    """Take the places for processes away while clients come."""
    return endure(stage, "fork", SHORT)


SCENARIO = Scenario(
    question=Text(
        en="What if fork fails: who notices, and what is lost?", ko="fork가 실패하면 누가 알아차리고 무엇을 잃을까?"
    ),
    expectation=Text(
        en="At a limit on processes the kernel answers fork with EAGAIN. Only the parent notices. It has accepted the "
        "client already, so it holds that one connection, pauses, and tries again; it accepts nobody else meanwhile. "
        "All others are connected by the kernel and stay in the accept queue: they see neither FIN nor RST and only "
        "wait. Children go on serving. Once processes can be had, the next attempt succeeds, and nobody has been "
        "lost.",
        ko="프로세스 수의 한도에 이르면 커널은 fork에 EAGAIN으로 답한다. 이를 아는 것은 부모뿐이다. 부모는 그 "
        "클라이언트를 이미 accept했으므로 그 연결 하나를 들고 잠시 쉬었다가 다시 시도하며, 그동안 아무도 더 "
        "accept하지 않는다. 나머지는 커널이 연결을 맺어 accept 큐에 둔다. FIN도 RST도 받지 않고 기다릴 뿐이다. 이미 "
        "있는 자식은 계속 서비스한다. 프로세스를 다시 만들 수 있게 되면 다음 시도가 성공하고, 잃은 클라이언트는 없다.",
    ),
    source="fork(2) EAGAIN; cgroups(7) pids; setrlimit(2) RLIMIT_NPROC; listen(2); TLPI 24.2 and 60.3",
    explanation=Text(
        en="fork is a request, and its answer has to be looked at. A server that ignores -1 as a child's PID goes on "
        "wrong in both branches; one that lets the error end it throws away every client it has; one that tries again "
        "at once burns a processor exactly when the machine is short of everything.\n\n"
        "The accept queue is the place to wait in: it costs no process, and its length is what you gave to listen.",
        ko="fork는 부탁이므로 그 답을 확인해야 한다. -1을 자식의 PID로 여기는 서버는 잘못된 길로 가고, 그 오류로 "
        "끝나는 서버는 서비스 중인 클라이언트를 모두 버리며, 곧바로 다시 시도하는 서버는 하필 모든 것이 모자랄 때 "
        "프로세서를 태운다.\n\n"
        "기다릴 곳은 accept 큐이다. 프로세스가 들지 않으며, 길이는 listen에 준 값이다.",
    ),
    prediction=Choice(
        ask=Text(
            en="fork has just failed for a client that is accepted already. What do the clients who come next see?",
            ko="이미 accept한 클라이언트를 위한 fork가 방금 실패했다. 그다음에 오는 클라이언트는 무엇을 보게 될까?",
        ),
        answers=(
            Text(en="ECONNREFUSED: nobody accepts them", ko="ECONNREFUSED: accept할 프로세스가 없다"),
            Text(en="they are connected, and wait for their answer", ko="연결되고, 응답을 기다린다"),
            Text(en="they are connected, and get a RST", ko="연결된 뒤 RST를 받는다"),
            Text(
                en="connect does not return until fork works again", ko="fork가 다시 될 때까지 connect가 끝나지 않는다"
            ),
        ),
        right=1,
    ),
    run=run,
    parameters=PARAMETERS,
)
