"""The memory of parent and child at the same addresses: private variables part, shared memory does not."""

import re

from forklab.harness import Choice, Scenario, Stage, Text
from forklab.harness.reading import calls, children, family, line, value
from forklab.timeline.model import Event


def run(stage: Stage) -> str:
    """Record the demo, and take from it what the kernel answered when both processes' memory was read."""
    program = stage.demo("fork-memory")
    parent, _ = family(program.timeline)
    child = next(iter(children(program.timeline, parent)), None)
    for each in program.said.splitlines():
        stage.says(each)
    if child is None:
        stage.inconclusive("the program forked no child")
    fork = next(event for event in calls(program.timeline, parent, "clone") if value(event) == child.pid)
    stage.evidence(line(program.timeline, fork))
    seen: dict[int, dict[int, int]] = {}
    for event in calls(program.timeline, parent, "pread64"):
        if (found := _peeked(event)) is not None:
            pid, address, number = found
            stage.evidence(line(program.timeline, event).replace(str(address), f"0x{address:x}"))
            seen.setdefault(address, {})[pid] = number
    if len(seen) != 3:
        stage.inconclusive(f"the memory of both was looked at in {len(seen)} places, not in 3")
    pairs = [(there.get(parent.pid), there.get(child.pid)) for there in seen.values()]
    returned, private, mapped = pairs
    stage.timeline("Parent and child, from fork to exit", program.timeline)

    for name, (in_parent, in_child) in (("fork_returned", returned), ("variable", private), ("shared", mapped)):
        stage.measure(**{f"{name}_in_parent": in_parent, f"{name}_in_child": in_child})
    stage.expect(returned == (child.pid, 0), "one fork returns twice: the child's PID in the parent, 0 in the child")
    stage.expect(private == (1, 2), f"what the child writes to a variable stays in the child; found {_both(private)}")
    stage.expect(mapped == (2, 2), f"both see what is written to memory mapped MAP_SHARED; found {_both(mapped)}")
    return (
        f"fork returned {child.pid} in PID {parent.pid} and 0 in PID {child.pid}; "
        "at one address a variable was 1 and 2, the shared page 2 and 2"
    )


def _both(pair: tuple[int | None, int | None]) -> str:
    return f"{pair[0]} in the parent, {pair[1]} in the child"


def _peeked(event: Event) -> tuple[int, int, int] | None:
    """Whose memory a pread of /proc/PID/mem read, at which address, and the number of 32 bits that was there."""
    found = re.search(r'</proc/(\d+)/mem>, "((?:[^"\\]|\\.)*)", 4, (0x[0-9a-f]+|\d+)\) = 4', event.call)
    if not found:
        return None
    there = found[2].encode().decode("unicode_escape").encode("latin-1")
    # x86-64 and arm64 both store the lowest byte first.
    return int(found[1]), int(found[3], 0), int.from_bytes(there, "little", signed=True)


SCENARIO = Scenario(
    question=Text(
        en="Does a child share the parent's variables?",
        ko="자식 프로세스는 부모의 변수를 공유할까?",
    ),
    expectation=Text(
        en="`fork` returns twice: the child's PID in the parent, 0 in the child. The child gets a copy of the "
        "whole address space. The addresses are the same in both, the memory is not: the kernel lets both use "
        "the same pages only until one of them writes, and then copies the page for the writer (copy on "
        "write). The exception is memory mapped with `MAP_SHARED`: there both have the same page for ever.",
        ko="`fork`는 두 번 반환된다. 부모에게는 자식의 PID를, 자식에게는 0을 돌려준다. 자식은 주소 공간 전체의 "
        "복사본을 받는다. 두 프로세스에서 주소는 같지만 메모리는 같지 않다. 커널은 어느 한쪽이 쓰기 전까지만 "
        "같은 페이지를 함께 쓰게 하고, 쓰는 순간 그 페이지를 복사해 준다(copy on write). 예외는 `MAP_SHARED`로 "
        "매핑한 메모리다. 이 페이지는 끝까지 두 프로세스가 함께 쓴다.",
    ),
    source="fork(2), mmap(2), proc_pid_mem(5); TLPI 24.2 and 49.7",
    explanation=Text(
        en="The lines show the same addresses in two processes. At the first one stands what `fork` returned, at "
        "the second an ordinary variable, at the third (a page of its own, so it ends in 000) shared memory. "
        "The child wrote 2 to the last two.\n\n"
        "A child that counts its clients in a variable counts for itself alone; the parent's number stays as "
        "it was. A child tells its parent something by its exit status, a pipe, a socket, or shared memory. "
        "Shared memory needs a lock as soon as two write to it.",
        ko="각 줄은 두 프로세스의 같은 주소를 보여 준다. 첫 번째 주소에는 `fork`의 반환값이, 두 번째에는 보통 "
        "변수가, 세 번째에는 공유 메모리가 있다. 공유 메모리는 별도의 페이지라서 주소가 000으로 끝난다. 자식은 "
        "뒤의 두 곳에 2를 썼다.\n\n"
        "자식이 클라이언트 수를 변수에 세면 자기 것만 세는 셈이고 부모의 값은 그대로다. 자식이 부모에게 "
        "무언가를 알리려면 종료 상태, 파이프, 소켓, 공유 메모리를 써야 한다. 공유 메모리에 둘 이상이 쓴다면 "
        "락이 필요하다.",
    ),
    prediction=Choice(
        ask=Text(
            en="A variable is 1. The child sets it to 2. What does the parent find at the same address afterwards?",
            ko="변수의 값은 1이다. 자식이 이 변수를 2로 바꾼다. 그 뒤 부모가 같은 주소에서 읽는 값은?",
        ),
        answers=(
            Text(en="2: the address is the same, so it is the same memory", ko="2: 주소가 같으니 같은 메모리다"),
            Text(
                en="2 if the variable is global, 1 if it is local",
                ko="전역 변수라면 2, 지역 변수라면 1",
            ),
            Text(
                en="1: the same address leads to another page in each process",
                ko="1: 같은 주소라도 프로세스마다 다른 페이지로 이어진다",
            ),
            Text(
                en="nothing: the child's variables have other addresses than the parent's",
                ko="비교할 수 없다: 자식의 변수는 부모와 다른 주소에 있다",
            ),
        ),
        right=2,
    ),
    run=run,
)
