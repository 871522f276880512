"""Without a free descriptor accept fails; a good server pauses, serves those it has, and takes the others later."""

from forklab.harness import Choice, Scenario, Stage, Text
from forklab.harness.shortage import PARAMETERS, Shortage, endure

SHORT = Shortage(fault="limit-fds", call="accept4?", error="EMFILE", wanted="a descriptor", parked=0)


def run(stage: Stage) -> str:
    """Take the free descriptors away from an event loop, which holds all its clients itself, while clients come."""
    return endure(stage, "epoll", SHORT)


SCENARIO = Scenario(
    question=Text(
        en="What if no descriptor is left: who notices, and what is lost?",
        ko="디스크립터가 바닥나면 누가 알아차리고 무엇을 잃을까?",
    ),
    expectation=Text(
        en="accept makes a descriptor. At the limit (RLIMIT_NOFILE) it answers EMFILE and leaves the client where it "
        "is: in the accept queue. So the listener stays readable, and a loop that asks again at once never sleeps any "
        "more. A good server takes the listener off its list for a moment and serves those it has. The clients in the "
        "queue see neither FIN nor RST. When somebody leaves or the limit rises, the next accept works, and nobody "
        "has been lost.",
        ko="accept는 디스크립터를 만든다. 한도(RLIMIT_NOFILE)에 이르면 EMFILE로 답하고 클라이언트를 있던 곳, 즉 "
        "accept 큐에 그대로 둔다. 그래서 리스너는 계속 읽을 수 있는 상태이고, 곧바로 다시 묻는 루프는 더 이상 잠들지 "
        "못한다. 좋은 서버는 잠시 리스너를 목록에서 빼고 이미 있는 클라이언트를 서비스한다. 큐에 있는 클라이언트는 "
        "FIN도 RST도 받지 않는다. 누군가 떠나거나 한도가 올라가면 다음 accept가 성공하고, 잃은 클라이언트는 없다.",
    ),
    source="accept(2) EMFILE; getrlimit(2) RLIMIT_NOFILE; epoll(7); UNP 16.6; TLPI 36.3 and 63.4",
    explanation=Text(
        en="Readiness says that accept would not sleep, not that it would succeed. With level-triggered readiness an "
        "error that does not go away is told again at once: the commonest way in which an event loop eats a whole "
        "processor. OpenSSH's sshd pauses for 100 ms; so does this one.\n\n"
        "Closing a spare descriptor in order to accept and refuse politely is another way; waiting in the queue loses "
        "nobody.",
        ko="준비되었다는 말은 accept가 잠들지 않는다는 뜻이지 성공한다는 뜻이 아니다. 레벨 트리거에서는 사라지지 않는 "
        "오류가 곧바로 다시 통지된다. 이벤트 루프가 프로세서 하나를 통째로 잡아먹는 가장 흔한 이유이다. OpenSSH의 "
        "sshd는 100 ms를 쉬고, 이 서버도 그렇게 한다.\n\n"
        "남겨 둔 디스크립터 하나를 닫고 accept한 뒤 정중히 거절하는 방법도 있다. 큐에서 기다리게 하면 아무도 잃지 "
        "않는다.",
    ),
    prediction=Choice(
        ask=Text(
            en="A level-triggered epoll loop gets EMFILE from accept and simply goes back to epoll_wait. What happens?",
            ko="레벨 트리거 epoll 루프가 accept에서 EMFILE을 받고 그냥 epoll_wait로 돌아간다. 어떻게 될까?",
        ),
        answers=(
            Text(
                en="epoll_wait returns at once, again and again: it spins",
                ko="epoll_wait가 계속 곧바로 돌아온다: 헛돈다(busy loop)",
            ),
            Text(en="it sleeps until a descriptor is free", ko="디스크립터가 빌 때까지 잠든다"),
            Text(en="the kernel drops that client with a RST", ko="커널이 그 클라이언트를 RST로 끊는다"),
            Text(en="the server is killed", ko="서버가 죽는다"),
        ),
        right=0,
    ),
    run=run,
    parameters=PARAMETERS,
)
