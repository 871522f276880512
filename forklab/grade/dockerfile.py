"""Reads a Dockerfile: its stages, their steps, and what the steps settle for the image. Nothing is run here.

The language is that of the classic builder (Dockerfile reference of docs.docker.com). What needs BuildKit or a network
is refused, with the line and what to do instead.
"""

import itertools
import json
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from forklab.errors import UsageError

NAME = "Dockerfile"
SCRATCH = "scratch"
"""A base without any file; no image has this name."""
PORT = "{port}"

_MOST_BYTES = 256 << 10
_MOST_STEPS, _MOST_OF_ALL, _MOST_WORDS = 200, 1000, 200
"""Of a stage, of the whole, and of a step."""
_MOST_LETTERS = 64 << 10
"""Of a step with what its variables stand for, and of all variables: one that names itself twice doubles each time."""
_DEEPEST = 10
"""Braces within braces."""
_TAKEN = ("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "RUN", "SHELL", "USER", "WORKDIR")
_IGNORED = ("HEALTHCHECK", "LABEL", "MAINTAINER", "STOPSIGNAL", "VOLUME")
"""They change nothing of what is graded: the examiner itself stops the server, and looks how it is."""
_FLAGS = {"COPY": ("from", "chown", "chmod", "link"), "ADD": ("chown", "chmod", "link")}
_INSTEAD = {
    "ONBUILD": "write the step itself where it is needed",
    "--platform": "it is built for the engine's own processor",
    "--mount": "nothing but the image is there in a RUN; COPY what it needs",
    "--network": "no RUN has a network",
}
_DIRECTIVE = re.compile(r"#\s*(\w+)\s*=\s*(\S+)\s*")
_CONTINUES = re.compile(r"\\[ \t]*$")
_HEREDOC = re.compile(r"""(?:^|\s)\d*<<-?["']?[A-Za-z_]""")
_PORT = re.compile(r"(\d{1,5})(?:-\d{1,5})?(?:/\w+)?", re.ASCII)
"""Of a range, the first one."""
_ADDRESS = re.compile(r"(\w+://|git@)")
_VARIABLE = re.compile(r"[A-Za-z_]\w*|\d|[@*#?$!-]")
_MODIFIED = re.compile(r"([A-Za-z_]\w*)(?:(:?[-+])(.*))?", re.DOTALL)
_SIMPLE = re.compile(r"(?P<before>.*(?:&&|;))?(?P<last>[^;&|()`\n]+)", re.DOTALL)
_NO_PROGRAM = re.compile(
    r"\s*(\w+=|(\{|\}|\.|:|cd|do|done|esac|eval|exec|exit|export|fi|for|if|set|source|trap|umask|until|wait|while)(\s|$))"
)
"""What a shell does itself: it cannot be replaced by it."""


@dataclass(frozen=True)
class Step:
    """One instruction of a stage.

    Attributes:
        line: where it begins, from 1.
        word: its name in capitals.
        text: what follows, without flags.
        flags: by name; empty where one has no value.
        stage: of which earlier stage a COPY takes its files; None: ``flags`` name an image, or it is the folder.
    """

    line: int
    word: str
    text: str
    flags: Mapping[str, str] = field(default_factory=dict)
    stage: int | None = None

    def wrong(self, words: str) -> UsageError:
        """An error that names the place."""
        return UsageError(f"{NAME}:{self.line}: {words}")


@dataclass(frozen=True)
class Stage:
    """From one FROM to the next. ``base`` is an image; ``steps`` begin with those of the stage that it stands on."""

    line: int
    base: str
    name: str
    steps: list[Step]


@dataclass(frozen=True)
class Recipe:
    """A whole Dockerfile; ``arguments`` are those before the first FROM."""

    stages: list[Stage]
    arguments: dict[str, str]

    def needed(self) -> list[int]:
        """The stages that have to be built, in their order: the last one, and those whose files it takes."""
        wanted, waiting = set(), [len(self.stages) - 1]
        while waiting:
            number = waiting.pop()
            if number not in wanted:
                wanted.add(number)
                waiting += [step.stage for step in self.stages[number].steps if step.stage is not None]
        return sorted(wanted)


def read(text: str) -> Recipe:
    """A Dockerfile.

    Raises:
        UsageError: it is none, or asks for what cannot be done here.
    """
    if len(text) > _MOST_BYTES:
        raise UsageError(f"{NAME} has more than {_MOST_BYTES >> 10} KiB; is it one?")
    arguments = State()
    stages: list[Stage] = []
    for number, step in enumerate(_steps(text.removeprefix("\ufeff"))):
        if number == _MOST_OF_ALL:
            raise step.wrong(f"a {NAME} may have {_MOST_OF_ALL} steps")
        if step.word == "FROM":
            stages.append(_stage(step, arguments, stages))
        elif stages:
            stages[-1].steps.append(_placed(step, stages))
        elif step.word == "ARG":
            arguments.settle(step)
        else:
            raise step.wrong(f"{step.word} stands before the first FROM")
        if stages and len(stages[-1].steps) > _MOST_STEPS:
            raise step.wrong(f"a stage may have {_MOST_STEPS} steps, with those of the stages that it stands on")
    if not stages:
        raise UsageError(f"{NAME} has no FROM: begin it with one, such as FROM forklab-server")
    return Recipe(stages, arguments.arguments)


def _steps(text: str) -> Iterator[Step]:
    for line, whole in _lines(text):
        word, *rest = whole.split(None, 1)
        step = Step(line, word.upper(), "".join(rest))
        if step.word in _IGNORED:
            continue
        if step.word in _INSTEAD:
            raise step.wrong(f"{step.word} is not supported: {_INSTEAD[step.word]}")
        if step.word not in _TAKEN:
            raise step.wrong(f'no instruction "{word}"; there are: {", ".join(_TAKEN)}')
        yield _checked(_without_flags(step))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Instructions with the number of their first line; comments and empty lines inside of them do not count."""
    whole, first, directives = "", 0, True
    for number, line in enumerate(re.split(r"\r?\n", text), 1):
        directive = _DIRECTIVE.fullmatch(line.strip()) if directives else None
        directives = bool(directive)
        if directive and directive[1].lower() == "escape" and directive[2] != "\\":
            raise UsageError(f"{NAME}:{number}: escape={directive[2]} is not supported: write \\ at the ends of lines")
        if line.lstrip().startswith("#") or not line.strip():
            continue
        first = first or number
        whole += _CONTINUES.sub("", line)
        if not _CONTINUES.search(line):
            yield first, whole.strip()
            whole, first = "", 0
    if whole.strip():
        yield first, whole.strip()


def _without_flags(step: Step) -> Step:
    flags, rest = {}, step.text
    while step.word in ("ADD", "COPY", "FROM", "RUN") and (match := re.match(r"--([\w-]+)(?:=(\S*))?(?:\s+|$)", rest)):
        if match[1] not in _FLAGS.get(step.word, ()):
            instead = _INSTEAD.get(f"--{match[1]}", "leave it out")
            raise step.wrong(f"{step.word} --{match[1]} is not supported: {instead}")
        flags[match[1]] = match[2] or ""
        rest = rest[match.end() :]
    return Step(step.line, step.word, rest, flags)


def _checked(step: Step) -> Step:
    if not step.text:
        raise step.wrong(f"{step.word} says nothing")
    if step.word in ("ADD", "COPY", "RUN") and _HEREDOC.search(step.text):
        raise step.wrong("a here-document is not supported: put the text into a file of the folder, and COPY it")
    return step


def _stage(step: Step, arguments: "State", stages: list[Stage]) -> Stage:
    said = arguments.words(step)
    if len(said) not in (1, 3) or (len(said) == 3 and said[1].upper() != "AS"):
        raise step.wrong(f'FROM takes IMAGE or IMAGE AS NAME, not "{step.text}"')
    base, name = said[0], said[2].lower() if len(said) == 3 else ""
    if not base:
        raise step.wrong(f'"{step.text}" names no image: give the ARG a value')
    below = _numbers(stages).get(base.lower())
    if below is None:
        return Stage(step.line, base, name, [])
    return Stage(step.line, stages[below].base, name, list(stages[below].steps))


def _numbers(stages: list[Stage]) -> dict[str, int]:
    return {stage.name: number for number, stage in enumerate(stages) if stage.name}


def _placed(step: Step, stages: list[Stage]) -> Step:
    """A COPY --from knows the number of the stage."""
    source = step.flags.get("from", "")
    if not source:
        return step
    earlier = stages[:-1]
    number = int(source) if re.fullmatch("[0-9]{1,9}", source) else _numbers(earlier).get(source.lower())
    if number is not None and number >= len(earlier):
        raise step.wrong(f"--from={source}: there are {len(earlier)} stages before this one")
    return Step(step.line, step.word, step.text, step.flags, number)


@dataclass
class State:
    """What has been settled so far, as the configuration of an image has it.

    Attributes:
        environment: variables of every process.
        arguments: of ARG: variables of the build only.
        outer: the arguments before the first FROM, which an ARG of the same name takes up.
        workdir: where it is started.
        user: as whom a RUN runs.
        shell: what runs the shell form of RUN, CMD and ENTRYPOINT.
        ports: of EXPOSE.
    """

    environment: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    outer: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = ""
    shell: list[str] = field(default_factory=lambda: ["/bin/sh", "-c"])
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    ports: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, config: Mapping[str, Any], outer: dict[str, str]) -> "State":
        """That of an image, from its ``Config`` (Engine API, ImageInspect)."""
        pairs = (pair.partition("=") for pair in config.get("Env") or [])
        made = cls({name: value for name, _, value in pairs}, outer=outer)
        made.workdir, made.user = config.get("WorkingDir") or "/", config.get("User") or ""
        made.shell = config.get("Shell") or made.shell
        made.entrypoint, made.command = config.get("Entrypoint") or [], config.get("Cmd") or []
        made.ports = {port[1] for port in map(_PORT.fullmatch, config.get("ExposedPorts") or {}) if port}
        return made

    def settle(self, step: Step) -> None:
        """Do what a step does that touches no file.

        Raises:
            UsageError: it cannot be understood.
        """
        if step.word == "ENV":
            self.environment |= self._pairs(step)
        elif step.word == "ARG":
            self._argue(step)
        elif step.word == "WORKDIR":
            self.workdir = posixpath.normpath(posixpath.join(self.workdir, self.word(step, step.text)))
        elif step.word == "USER":
            self.user = self.word(step, step.text)
        elif step.word == "EXPOSE":
            self.ports |= {self._port(step, word) for word in self.words(step)}
        elif step.word == "SHELL":
            self.shell = _listed(step.text) or []
            if not self.shell:
                raise step.wrong('SHELL takes a list, such as ["/bin/bash", "-c"]')
        elif step.word == "ENTRYPOINT":
            # The CMD of a base was meant for its own ENTRYPOINT.
            self.entrypoint, self.command = self.program(step), []
        elif step.word == "CMD":
            self.command = self.program(step)
        if step.word in ("ARG", "ENV") and sum(map(len, itertools.chain(*self.variables().items()))) > _MOST_LETTERS:
            raise step.wrong(f"ARG and ENV have more than {_MOST_LETTERS >> 10} KiB together")

    def variables(self) -> dict[str, str]:
        """What $NAME stands for; ENV hides ARG."""
        return self.arguments | self.environment

    def program(self, step: Step) -> list[str]:
        """The words of a RUN, CMD or ENTRYPOINT: its list, or the shell that is given its text.

        Raises:
            UsageError: a RUN has none.
        """
        listed = _listed(step.text)
        if listed == [] and step.word == "RUN":
            raise step.wrong("RUN [] runs nothing")
        return [*self.shell, step.text] if listed is None else listed

    def words(self, step: Step) -> list[str]:
        """The words of another step, with their variables.

        Raises:
            UsageError: a quote or a brace has no end, or they are too many.
        """
        listed = _listed(step.text)
        try:
            found = split(step.text, self.variables()) if listed is None else listed
        except ValueError as error:
            raise step.wrong(str(error)) from None
        if len(found) > _MOST_WORDS:
            raise step.wrong(f"{step.word} has more than {_MOST_WORDS} words: write several steps")
        return found if listed is None else [self.word(step, word) for word in listed]

    def word(self, step: Step, text: str) -> str:
        """One word of a step, with its variables.

        Raises:
            UsageError: a quote or a brace has no end, or it is too long.
        """
        try:
            return "".join(split(text, self.variables(), apart=False))
        except ValueError as error:
            raise step.wrong(str(error)) from None

    def copied(self, step: Step) -> tuple[list[str], str]:
        """Of a COPY or ADD: the sources, and the place as an absolute path, with a / behind it if it is a folder.

        Raises:
            UsageError: one of them is missing, or is an address.
        """
        *sources, place = self.words(step) or [""]
        if not sources:
            raise step.wrong(f'{step.word} takes sources and a place, not "{step.text}"')
        if addresses := [source for source in sources if _ADDRESS.match(source)]:
            raise step.wrong(f"{addresses[0]} needs a network, and there is none: put the file into the folder")
        folder = len(sources) > 1 or posixpath.basename(place) in ("", ".", "..")
        return sources, posixpath.normpath(posixpath.join(self.workdir, place)).rstrip("/") + "/" * folder

    def start(self, arguments: Sequence[str]) -> list[str]:
        """How the image is started, with the ``arguments`` at the end, of which the last one is the port.

        A port that EXPOSE names and that stands among the words is replaced instead. Empty: the image does not say it.
        """
        words = [*self.entrypoint, *self.command]
        if not words:
            return []
        if len(words) > 2 and words[0].endswith("sh") and words[1] == "-c":
            return [*words[:2], _replacing(self._with_port(words[2], arguments))]
        for number, word in enumerate(words):
            if word in self.ports and len(arguments) == 1:
                return [*words[:number], PORT, *words[number + 1 :]]
        return [*words, *arguments]

    def _with_port(self, text: str, arguments: Sequence[str]) -> str:
        for number in re.finditer(r"\b[0-9]+\b", text) if len(arguments) == 1 else ():
            if number[0] in self.ports:
                return f"{text[: number.start()]}{PORT}{text[number.end() :]}"
        # An exec in front of it is one word more, and $PORT is in the environment.
        return text if re.search(r"\$\{?PORT\b", text) else " ".join([text, *arguments])

    def _port(self, step: Step, word: str) -> str:
        port = _PORT.fullmatch(word)
        if not port:
            raise step.wrong(f'EXPOSE takes numbers of ports, such as 8080 or 8080/tcp, not "{word}"')
        return port[1]

    def _argue(self, step: Step) -> None:
        for word in self.words(step):
            name, given, value = word.partition("=")
            if given:
                self.arguments[name] = value
            elif name in self.outer:
                self.arguments[name] = self.outer[name]

    def _pairs(self, step: Step) -> dict[str, str]:
        if not re.match(r"\S+=", step.text):  # the old form: one name, and the rest is its value
            name, *rest = step.text.split(None, 1)
            if not rest:
                raise step.wrong(f'ENV takes NAME=VALUE, not "{step.text}"')
            return {name: self.word(step, rest[0])}
        pairs = {}
        for word in self.words(step):
            name, given, value = word.partition("=")
            if not given or not name:
                raise step.wrong(f'ENV takes NAME=VALUE, not "{word}"')
            pairs[name] = value
        return pairs


def _listed(text: str) -> list[str] | None:
    """The exec form, a JSON list of words; None if it is none: then it is text for a shell."""
    try:
        words = json.loads(text) if text.startswith("[") else None
    except (ValueError, RecursionError):
        return None
    return words if isinstance(words, list) and all(isinstance(word, str) for word in words) else None


def _replacing(text: str) -> str:
    """A shell command whose last part replaces the shell: the server is then the first process, which gets signals."""
    match = _SIMPLE.fullmatch(text)
    before = f"{match['before']} " if match and match["before"] else ""
    if not match or _NO_PROGRAM.match(match["last"]) or re.search("[\"'#]", before):
        return text
    return f"{before}exec {match['last'].lstrip()}"


def split(text: str, variables: Mapping[str, str], *, apart: bool = True) -> list[str]:
    r"""Words with their variables and without their quotes, as the builder's own lexer has them.

    Args:
        text: with '…', "…", \, $NAME, ${NAME}, ${NAME:-…} and ${NAME:+…}.
        variables: what is not there is empty.
        apart: blanks separate words; else it is one word.

    Raises:
        ValueError: a quote or a brace has no end, or it is too long.
    """
    found: list[str] = []
    word: str | None = None
    quote, place, size = "", 0, len(text)
    while place < len(text):
        sign, place = text[place], place + 1
        if sign == quote:
            quote = ""
        elif not quote and sign in "'\"":
            quote, word = sign, word or ""
        elif apart and not quote and sign.isspace():
            found += [] if word is None else [word]
            word = None
        elif sign == "\\" and quote != "'" and place < len(text):
            kept = sign if quote and text[place] not in '"$\\' else ""
            word, place = (word or "") + kept + text[place], place + 1
        elif sign == "$" and quote != "'":
            value, place = _value(text, place, variables)
            word, size = (word or "") + value, size + len(value)
        else:
            word = (word or "") + sign
        if size > _MOST_LETTERS:
            raise ValueError(f"this has more than {_MOST_LETTERS >> 10} KiB with what its variables stand for")
    if quote:
        raise ValueError(f"a quote has no end: {text}")
    return found if word is None else [*found, word]


def _value(text: str, place: int, variables: Mapping[str, str]) -> tuple[str, int]:
    """What stands for the variable whose name begins at ``place``, behind its $; and where the text goes on."""
    if text[place : place + 1] != "{":
        match = _VARIABLE.match(text, place)
        return (variables.get(match[0], ""), match.end()) if match else ("$", place)
    depth, end = 1, place + 1
    while 0 < depth <= _DEEPEST and end < len(text):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        end += 1
    modified = _MODIFIED.fullmatch(text[place + 1 : end - 1]) if not depth else None
    if not modified:
        raise ValueError(f"${text[place:end]} cannot be read: write ${{NAME}}, ${{NAME:-default}} or ${{NAME:+other}}")
    name, how, other = modified[1], modified[2] or "", modified[3] or ""
    there = bool(variables.get(name)) if how.startswith(":") else name in variables
    if how and there == how.endswith("+"):
        return "".join(split(other, variables, apart=False)), end
    return variables.get(name, "") if not how.endswith("+") else "", end
