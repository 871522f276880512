"""What a scenario states before anything runs: question, theory, prediction, parameters; in every language."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forklab.errors import LabError, UsageError

if TYPE_CHECKING:
    from forklab.harness.stage import Stage

LANGUAGES = ("en", "ko")


class NotSo(Exception):
    """What theory predicts did not happen: the verdict is FAIL."""


class Inconclusive(Exception):
    """It could not be provoked or cannot be measured here, and the message says why: INCONCLUSIVE."""


@dataclass(frozen=True)
class Text:
    """The same words in each language."""

    en: str
    ko: str

    def said(self, language: str) -> str:
        """The words in ``language``, one of ``LANGUAGES``."""
        return str(getattr(self, language))


@dataclass(frozen=True)
class Parameter:
    """A number that a teacher may choose: ``--clients 20``.

    Args:
        default: without a choice.
        low, high: the bounds, both allowed; a whole ``default`` asks for whole numbers.
        unit: ``s``, ``ms``, ``bytes``; empty for a count.
        help: one line in English for ``--help``.
    """

    default: float
    low: float
    high: float
    unit: str
    help: str

    def read(self, name: str, text: str) -> float:
        """The value that a user wrote.

        Raises:
            UsageError: it is no such number, or beyond the bounds.
        """
        kind = type(self.default)
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not self.low <= value <= self.high:
            what = "a whole number" if kind is int else "a number"
            raise UsageError(f'{flag(name)} "{text}" is not {what} from {self._bounds()}')
        return value

    def written(self, value: float) -> str:
        """A value as a user would write it."""
        return f"{value:d}" if isinstance(value, int) else f"{value:g}"

    def expected(self) -> str:
        """What it can be, for help."""
        return f"{self._bounds()} (default: {self.written(self.default)})"

    def _bounds(self) -> str:
        return f"{self.written(self.low)} to {self.written(self.high)} {self.unit}".rstrip()


@dataclass(frozen=True)
class Words:
    """Words that a teacher may choose: ``--models iterative,epoll``.

    Args:
        default: without a choice.
        among: all that there are.
        help: one line in English for ``--help``.
    """

    default: tuple[str, ...]
    among: tuple[str, ...]
    help: str

    def read(self, name: str, text: str) -> tuple[str, ...]:
        """The words that a user wrote, with commas between them.

        Raises:
            UsageError: one of them is not among what there is.
        """
        words = tuple(filter(None, text.split(",")))
        wrong = [word for word in words if word not in self.among]
        if wrong or not words:
            raise UsageError(f'{flag(name)} "{text}" is not {self.expected()}')
        return words

    def written(self, value: tuple[str, ...]) -> str:
        """A value as a user would write it."""
        return ",".join(value)

    def expected(self) -> str:
        """What it can be, for help."""
        return f"any of {','.join(self.among)}, with commas between"


@dataclass(frozen=True)
class Choice:
    """A prediction among answers. ``right`` is the index that theory names; the measurement must agree with it."""

    ask: Text
    answers: tuple[Text, ...]
    right: int


@dataclass(frozen=True)
class Number:
    """A prediction as a number, compared with ``measured[key]`` of this very run."""

    ask: Text
    key: str
    unit: str


@dataclass(frozen=True)
class Scenario:
    """One experiment. See ``forklab/scenarios/__init__.py``.

    Args:
        question: what the learner asks.
        expectation: what theory predicts, and why the kernel does so.
        source: where that stands: man pages with sections, POSIX, RFC, book sections.
        explanation: what to take home, read after the measurement.
        prediction: what the learner is asked first.
        run: does it on a stage; what it returns are the words of PASS.
        parameters: by name, what a teacher may choose.
    """

    question: Text
    expectation: Text
    source: str
    explanation: Text
    prediction: Choice | Number
    run: "Callable[[Stage], str]"
    parameters: Mapping[str, Parameter | Words] | None = None

    def read(self, given: Mapping[str, str]) -> dict[str, Any]:
        """Every parameter's value: as ``given``, else its default.

        Raises:
            UsageError: an unknown name, or a value out of bounds.
        """
        known = self.parameters or {}
        for name in given:
            if name not in known:
                there = ", ".join(map(flag, known)) or "none"
                raise UsageError(f"{flag(name)} cannot be chosen here; what can: {there}")
        return {name: one.read(name, given[name]) if name in given else one.default for name, one in known.items()}

    def flags(self, values: Mapping[str, Any]) -> list[str]:
        """Values as one writes them on the command line: ``--clients 20``."""
        return [f"{flag(name)} {(self.parameters or {})[name].written(value)}" for name, value in values.items()]


def flag(parameter: str) -> str:
    """How a parameter is written on the command line."""
    return f"--{parameter.replace('_', '-')}"


def broken(what: str) -> LabError:
    """The lab's own fault while a scenario ran."""
    return LabError(f"the stage broke: {what}; try again, ./lab doctor")
