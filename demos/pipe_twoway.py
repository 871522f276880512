"""With one pipe for both ways a process reads its own words; a conversation needs two.

Question: Why two pipes?

Theory: A pipe is one queue of bytes and does not know who wrote them. Whoever reads first gets what is there, the
writer too. With a pipe for each way and the ends that are not one's own closed, each side gets only what the other one
wrote.

Source: pipe(7), pipe(2) EXAMPLES; UNP vol. 2, 4.3; TLPI 44.3
"""

import os

from demos._show import Show

WORD = b"hello"


def main(show: Show) -> str:
    """Send a word to a child that answers in capitals, and read the answer: over one pipe, then over two."""
    got_one = one_pipe(show)
    show(f"one pipe: the parent wrote {WORD!r} and read {got_one!r}")
    got_two = two_pipes(show)
    show(f"two pipes: the parent wrote {WORD!r} and read {got_two!r}")
    show.measure(one_pipe=got_one.decode(), two_pipes=got_two.decode())
    show.expect(got_one == WORD, "over one pipe the parent reads its own word")
    show.expect(got_two == WORD.upper(), "over two pipes the parent reads the child's answer")
    return "over one pipe the parent read its own word, over two the child's answer"


def one_pipe(show: Show) -> bytes:
    """The mistake: both write into the same queue."""
    reader, writer = os.pipe()
    go_on, gate = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(gate)
        os.close(writer)
        os.read(go_on, 1)  # a child that is late, which the parent cannot know; else it is chance who reads first
        os._exit(len(os.read(reader, 100)))
    os.write(writer, WORD)
    show(f"both read from {os.readlink(f'/proc/{child}/fd/{reader}')}: the parent, and PID {child}")
    got = os.read(reader, 100)
    os.close(writer)
    os.close(gate)
    _, status = os.waitpid(child, 0)
    show(f"the child then read {os.waitstatus_to_exitcode(status)} bytes: the end of file")
    return got


def two_pipes(show: Show) -> bytes:
    """The right way: a pipe for each direction."""
    question_out, question_in = os.pipe()
    answer_out, answer_in = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(question_in)
        os.close(answer_out)
        os.write(answer_in, os.read(question_out, 100).upper())
        os._exit(0)
    os.close(question_out)
    os.close(answer_in)
    links = [os.readlink(f"/proc/self/fd/{end}") for end in (question_in, answer_out)]
    show(f"the parent writes to {links[0]} and reads from {links[1]}")
    os.write(question_in, WORD)
    got = os.read(answer_out, 100)
    os.waitpid(child, 0)
    return got
