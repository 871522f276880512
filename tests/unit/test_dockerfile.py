"""What a Dockerfile means, without an engine: a submission must be built as its author's own engine would build it."""

from typing import Any

import pytest

from forklab.errors import UsageError
from forklab.grade import dockerfile
from forklab.grade.dockerfile import State, Step


def steps(text: str) -> list[tuple[int, str, str]]:
    """Line, word and text of the steps of the last stage."""
    return [(step.line, step.word, step.text) for step in dockerfile.read(text).stages[-1].steps]


def settled(text: str, base: str = "FROM base\n", **config: Any) -> State:
    """What the last stage has settled at its end, on an image with this configuration."""
    recipe = dockerfile.read(base + text)
    state = State.of(config, recipe.arguments)
    for step in recipe.stages[-1].steps:
        state.settle(step)
    return state


def test_lines_are_joined_and_comments_left_out() -> None:
    """Also comments and empty lines within a step; a step has the number of its first line."""
    text = (
        "\ufeff# syntax=docker/dockerfile:1\r\n# a comment\r\nFROM gcc AS build\r\n\r\n"
        'run make \\  \r\n  # not this\r\n\r\n  && make install\r\nCMD ["./server"]\r\n'
    )
    assert steps(text) == [(5, "RUN", "make   && make install"), (9, "CMD", '["./server"]')]


def test_a_last_line_that_goes_on_is_a_step_too() -> None:
    """As the builder has it."""
    assert steps("FROM a\nRUN make \\") == [(2, "RUN", "make")]


def test_what_changes_nothing_of_the_grade_is_passed_over() -> None:
    """Labels, volumes, health checks."""
    assert steps("FROM a\nLABEL a=b\nVOLUME /data\nHEALTHCHECK CMD true\nMAINTAINER me\nSTOPSIGNAL 9\n") == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "has no FROM"),
        ("# nothing\n", "has no FROM"),
        ("RUN make\n", ":1: RUN stands before the first FROM"),
        ("FORM gcc\n", ':1: no instruction "FORM"; there are: ADD'),
        ("FROM gcc\nRUN\n", ":2: RUN says nothing"),
        ("FROM gcc AS\n", ':1: FROM takes IMAGE or IMAGE AS NAME, not "gcc AS"'),
        ("FROM ${BASE}\n", "names no image: give the ARG a value"),
        ("FROM --platform=linux/arm64 gcc\n", "--platform is not supported: it is built for the engine's own"),
        ("FROM gcc\n\nRUN --mount=type=cache,target=/x make\n", ":3: RUN --mount is not supported"),
        ("FROM gcc\nRUN cat <<EOF > x\nhi\nEOF\n", ":2: a here-document is not supported"),
        ("FROM gcc\nONBUILD RUN make\n", ":2: ONBUILD is not supported: write the step itself"),
        ("FROM gcc\nCOPY --exclude=x . .\n", "--exclude is not supported: leave it out"),
        ("FROM gcc\nCOPY --from=0 /a /b\n", ":2: --from=0: there are 0 stages before this one"),
        ("# escape=`\nFROM gcc\n", ":1: escape=` is not supported"),
        ("FROM gcc\nENV A\n", 'ENV takes NAME=VALUE, not "A"'),
        ("FROM gcc\nENV A=1 B\n", 'ENV takes NAME=VALUE, not "B"'),
        ('FROM gcc\nENV A="1\n', "a quote has no end"),
        ("FROM gcc\nWORKDIR /${A\n", "cannot be read"),
        ("FROM gcc\nSHELL /bin/bash\n", "SHELL takes a list"),
        ("FROM gcc\nEXPOSE (\n", ':2: EXPOSE takes numbers of ports, such as 8080 or 8080/tcp, not "("'),
        ("FROM gcc\nARG P=(a+)+b\nEXPOSE 7 $P\nCMD " + "a" * 40, ":3: EXPOSE takes numbers of ports"),
        ("FROM gcc\nEXPOSE ²\n", "EXPOSE takes numbers of ports"),
        ("FROM gcc\n" + "RUN a\n" * 201, "200 steps"),
        ("FROM gcc\n" * 1001, ":1001: a Dockerfile may have 1000 steps"),
        (
            "ARG A=12345678\n" + "ARG A=$A$A\n" * 40 + "FROM gcc\n",
            ":14: this has more than 64 KiB with what its variables",
        ),
        ("FROM gcc\nENV A=12345678\n" + "ENV A=$A$A\n" * 40, ":15: this has more than 64 KiB"),
        ("FROM gcc\nENV A=12345678\n" + 'ENV A="${A:-}${B:-$A}"\n' * 40, ":15: this has more than 64 KiB"),
        (f"FROM gcc\nENV A={'a' * 60_000}\nENV B=A$A$A\n", ":3: this has more than 64 KiB with what its variables"),
        (f"FROM gcc\nENV A={'a' * 60_000}\nENV B=1\nENV C={'c' * 6_000}\n", ":4: ARG and ENV have more than 64 KiB"),
        (f"FROM gcc\nARG A={'a' * 60_000}\nEXPOSE " + '["x$A"' + ', "x$A"' * 20_000 + "]\n", "more than 200 words"),
        ("FROM gcc\nEXPOSE" + " 1" * 201, "more than 200 words: write several steps"),
        ("FROM gcc\nENV A=" + "${A:-" * 5000 + "}" * 5000, "cannot be read"),
        ("FROM gcc\nSHELL " + "[" * 100_000, "SHELL takes a list"),
        ("FROM gcc\n" + "#\n" * 200_000, "more than 256 KiB"),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_line(text: str, wrong: str) -> None:
    """And with what to do instead."""
    with pytest.raises(UsageError) as refused:
        settled(text, base="")
    assert wrong in str(refused.value)


def test_a_shift_is_no_here_document() -> None:
    """<< stands in the middle of a word, or before a number."""
    assert steps("FROM a\nRUN echo $((1<<4)) $((A<<B)) 1<<4\n")[0][2] == "echo $((1<<4)) $((A<<B)) 1<<4"


def test_a_stage_on_a_stage_repeats_its_steps() -> None:
    """On the same image; names are told apart as the builder does, without capitals."""
    recipe = dockerfile.read("FROM gcc AS Base\nRUN one\nFROM base AS two\nRUN two\nFROM base\nRUN three\n")
    assert [stage.base for stage in recipe.stages] == ["gcc"] * 3
    assert [step.text for step in recipe.stages[1].steps] == ["one", "two"]
    assert [step.text for step in recipe.stages[2].steps] == ["one", "three"]
    assert recipe.needed() == [2]


def test_only_stages_whose_files_are_taken_are_built() -> None:
    """By name or number; what is no stage is an image."""
    recipe = dockerfile.read(
        "FROM a AS unused\nFROM b AS one\nFROM c\nCOPY --from=one /x /y\nFROM d\nCOPY --from=2 /y /z\n"
        "COPY --from=busybox:1 /bin/sh /sh\n"
    )
    assert recipe.needed() == [1, 2, 3]
    assert [(step.stage, step.flags["from"]) for step in recipe.stages[3].steps] == [(2, "2"), (None, "busybox:1")]


@pytest.mark.parametrize("name", ["²", "9" * 5000])
def test_what_is_no_number_of_a_stage_is_a_name(name: str) -> None:
    """Of an image: what Python takes for a digit, or not for a number."""
    assert dockerfile.read(f"FROM a\nFROM b\nCOPY --from={name} /x /y\n").stages[1].steps[0].stage is None


def test_arguments_before_from_name_the_base() -> None:
    """A stage sees such an argument only when it asks for it."""
    recipe = dockerfile.read("ARG TAG=13 WHERE=here\nFROM gcc:${TAG}\nARG WHERE\nARG OWN=${WHERE}-$TAG\n")
    assert recipe.stages[0].base == "gcc:13"
    state = State.of({}, recipe.arguments)
    for step in recipe.stages[0].steps:
        state.settle(step)
    assert state.variables() == {"WHERE": "here", "OWN": "here-"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a  b\tc", ["a", "b", "c"]),
        ("'a b' \"c $X\" '$X'", ["a b", "c x y", "$X"]),
        ("$X-${X}-$NONE.", ["x y-x y-."]),
        ("${NONE:-d} ${X:-d} ${X:+other} ${NONE:+other}", ["d", "x y", "other", ""]),
        ("${EMPTY:-d}${EMPTY-e} ${NONE-${X}}", ["d", "x y"]),
        (r"\$X a\ b \"", ["$X", "a b", '"']),
        (r'"a\$X \n"', [r"a$X \n"]),
        ("'' \"\"", ["", ""]),
        ("100$ $", ["100$", "$"]),
    ],
)
def test_words_are_split_as_the_builder_does(text: str, words: list[str]) -> None:
    """Quotes, backslashes, variables and their modifiers."""
    assert dockerfile.split(text, {"X": "x y", "EMPTY": ""}) == words


def test_what_steps_settle() -> None:
    """Variables in both forms, with those before them; folders one below the other."""
    state = settled(
        'ENV A=1 B="two $A"\nENV A=2 C=$A\nENV D all of $A\nWORKDIR app\nWORKDIR $D/..\nUSER app\nARG A=9\n',
        Env=["PATH=/bin", "A=0"],
        WorkingDir="/srv",
    )
    assert state.environment == {"PATH": "/bin", "A": "2", "B": "two 0", "C": "1", "D": "all of 2"}
    assert (state.workdir, state.user, state.variables()["A"]) == ("/srv/app", "app", "2")


@pytest.mark.parametrize(
    ("text", "sources", "place"),
    [
        ("COPY a.c b.c src", ["a.c", "b.c"], "/app/src/"),
        ("COPY a.c .", ["a.c"], "/app/"),
        ("COPY a.c $DIR/b.c", ["a.c"], "/app/src/b.c"),
        ('COPY ["a b.c", "/x/"]', ["a b.c"], "/x/"),
        ("ADD . /", ["."], "/"),
        ("COPY a ../b", ["a"], "/b"),
    ],
)
def test_what_is_copied_where(text: str, sources: list[str], place: str) -> None:
    """A / at the end of a place, or several sources: a folder."""
    step = dockerfile.read(f"FROM a\n{text}").stages[0].steps[0]
    assert State(workdir="/app", environment={"DIR": "src"}).copied(step) == (sources, place)


@pytest.mark.parametrize("text", ["COPY a", "ADD https://example.org/x.tar /x", "ADD git@example.org:x/y.git /x"])
def test_what_cannot_be_copied_is_refused(text: str) -> None:
    """No place, or an address."""
    with pytest.raises(UsageError, match=r"Dockerfile:2: .*(a place|network)"):
        State().copied(dockerfile.read(f"FROM a\n{text}").stages[0].steps[0])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('CMD ["./server"]', ["./server", "{port}"]),
        ('ENTRYPOINT ["python3"]\nCMD ["server.py"]', ["python3", "server.py", "{port}"]),
        ('EXPOSE 8080/tcp\nCMD ["./server", "8080"]', ["./server", "{port}"]),
        ('EXPOSE 8080\nCMD ["./server", "-p", "8080", "-v"]', ["./server", "-p", "{port}", "-v"]),
        ('EXPOSE 8080-8089/tcp\nCMD ["./server", "8080"]', ["./server", "{port}"]),
        ("CMD ./server", ["/bin/sh", "-c", "exec ./server {port}"]),
        ("EXPOSE 7000\nCMD ./server 7000", ["/bin/sh", "-c", "exec ./server {port}"]),
        ("CMD ./server $PORT", ["/bin/sh", "-c", "exec ./server $PORT"]),
        ("CMD cd /app && ./server ${PORT}", ["/bin/sh", "-c", "cd /app && exec ./server ${PORT}"]),
        ("CMD A=1 ./server", ["/bin/sh", "-c", "A=1 ./server {port}"]),
        ("CMD while :; do ./server $PORT; done", ["/bin/sh", "-c", "while :; do ./server $PORT; done"]),
        ("CMD ./s;" + " " * 100_000 + "| $PORT", ["/bin/sh", "-c", "./s;" + " " * 100_000 + "| $PORT"]),
        ("CMD ./a | ./b $PORT", ["/bin/sh", "-c", "./a | ./b $PORT"]),
        ("CMD ./s 'a; b' $PORT", ["/bin/sh", "-c", "./s 'a; b' $PORT"]),
        ('SHELL ["/bin/bash", "-c"]\nENTRYPOINT ./server', ["/bin/bash", "-c", "exec ./server {port}"]),
        ('ENTRYPOINT ["./server"]\nCMD []', ["./server", "{port}"]),
        ("CMD [./server]", ["/bin/sh", "-c", "exec [./server] {port}"]),
    ],
)
def test_how_an_image_is_started(text: str, words: list[str]) -> None:
    """With the port at the end, or where EXPOSE's stands; a shell is replaced by its last command."""
    assert settled(text).start(["{port}"]) == words


def test_only_numbers_of_a_base_are_ports() -> None:
    """A stranger may have made it."""
    ports: dict[str, Any] = {"(a+)+b": {}, "(": {}, "80/tcp": {}}
    assert (
        settled("CMD ./server 80 " + "a" * 40, ExposedPorts=ports).start(["{port}"])[-1].startswith("exec ./server {")
    )


def test_a_base_says_how_it_is_started() -> None:
    """An ENTRYPOINT of one's own takes the base's CMD away; a CMD leaves the base's ENTRYPOINT."""
    base: dict[str, Any] = {"Entrypoint": ["python3", "-m", "server"], "Cmd": ["fork"]}
    assert settled("", **base).start(["{port}"]) == ["python3", "-m", "server", "fork", "{port}"]
    assert settled('CMD ["poll"]', **base).start([]) == ["python3", "-m", "server", "poll"]
    assert settled('ENTRYPOINT ["./server"]', **base).start([]) == ["./server"]
    assert settled("").start(["{port}"]) == []


def test_a_client_is_given_host_and_port() -> None:
    """Both at the end: EXPOSE says nothing of a client."""
    assert settled('EXPOSE 7\nCMD ["./client", "7"]').start(["{host}", "{port}"]) == [
        "./client",
        "7",
        "{host}",
        "{port}",
    ]


def test_a_run_is_its_list_or_a_text_for_the_shell() -> None:
    """Its variables are the shell's."""
    state = State(shell=["/bin/bash", "-ec"], environment={"A": "1"})
    assert state.program(Step(1, "RUN", '["make", "$A"]')) == ["make", "$A"]
    assert state.program(Step(1, "RUN", "make $A")) == ["/bin/bash", "-ec", "make $A"]
