"""The learner answers first: a letter or a number, and afterwards hears how near it was."""

import math
import string
from dataclasses import dataclass
from typing import TextIO

from forklab.errors import UsageError
from forklab.harness import words
from forklab.harness.conduct import Result
from forklab.harness.scenario import Choice, Number, Scenario, Text
from forklab.lock import Say
from protocol import verdicts

LETTERS = string.ascii_lowercase


@dataclass(frozen=True)
class Answer:
    """What the learner expects: the index of an answer, or a number."""

    given: float
    language: str

    def text(self, prediction: Choice | Number) -> str:
        """It in words."""
        if isinstance(prediction, Choice):
            return lettered(prediction, int(self.given), self.language)
        return amount(self.given, prediction.unit)

    def nearness(self, result: Result) -> str:
        """How near it was to what ``result`` measured, in one sentence."""
        prediction = result.scenario.prediction
        if isinstance(prediction, Choice):
            return _chosen(prediction, int(self.given), result.verdict == verdicts.PASS, self.language)
        return _estimated(prediction, self.given, result.found.measured.get(prediction.key), self.language)

    def document(self, result: Result) -> dict[str, object]:
        """It as JSON takes it."""
        prediction = result.scenario.prediction
        about = {"ask": prediction.ask.said(self.language), "said": self.text(prediction)}
        if isinstance(prediction, Choice):
            right = lettered(prediction, prediction.right, self.language)
            return {**about, "theory": right, "right": self.given == prediction.right}
        return {**about, "measured": result.found.measured.get(prediction.key), "nearness": self.nearness(result)}


def ask(scenario: Scenario, language: str, source: TextIO, say: Say) -> Answer:
    """Put the question, and read lines from ``source`` until one is an answer.

    Raises:
        UsageError: the input ended without one.
        KeyboardInterrupt: the learner left.
    """
    prediction = scenario.prediction
    say(f"{scenario.question.said(language)}\n\n{prediction.ask.said(language)}")
    if isinstance(prediction, Choice):
        for index in range(len(prediction.answers)):
            say(f"  {lettered(prediction, index, language)}")
    prompt = _prompt(prediction, language)
    while True:
        say(prompt)
        line = source.readline()
        if not line:
            raise UsageError("the input ended without an answer; type one, or leave --predict out")
        given = _read(prediction, line.strip())
        if given is not None:
            return Answer(given, language)


def lettered(prediction: Choice, index: int, language: str) -> str:
    """One of the answers, as a learner sees it."""
    return f"{LETTERS[index]}) {prediction.answers[index].said(language)}"


def amount(value: float, unit: str) -> str:
    """A number as it is read: four digits that count, and its unit."""
    whole = f"{value:,.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:.4g}"
    return f"{whole} {unit}".rstrip()


def _prompt(prediction: Choice | Number, language: str) -> str:
    if isinstance(prediction, Choice):
        return words.ASK_LETTER.said(language).format(letters=", ".join(LETTERS[: len(prediction.answers)]))
    unit = f" ({prediction.unit})" if prediction.unit else ""
    return words.ASK_NUMBER.said(language).format(unit=unit)


def _read(prediction: Choice | Number, text: str) -> float | None:
    """The answer that ``text`` is; None if it is none."""
    if isinstance(prediction, Choice):
        letter = text.lower().rstrip(").")
        index = LETTERS.find(letter) if len(letter) == 1 else -1
        return index if 0 <= index < len(prediction.answers) else None
    try:
        value = float(text.removesuffix(prediction.unit).replace(",", ""))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _chosen(prediction: Choice, given: int, confirmed: bool, language: str) -> str:
    if confirmed and given == prediction.right:
        return words.RIGHT.said(language)
    sentence: Text = words.WRONG if confirmed else words.OPEN
    answer = prediction.answers[prediction.right].said(language).rstrip(".")
    return sentence.said(language).format(letter=LETTERS[prediction.right], answer=answer)


def _estimated(prediction: Number, given: float, value: float | None, language: str) -> str:
    guess = amount(given, prediction.unit)
    if value is None:
        return words.UNMEASURED.said(language).format(guess=guess)
    sentence, factor = _how_near(given, value)
    return sentence.said(language).format(guess=guess, value=amount(value, prediction.unit), factor=factor)


def _how_near(given: float, value: float) -> tuple[Text, str]:
    """The sentence for a guess beside the value, and the factor between them."""
    if given == value:
        return words.EXACT, ""
    if given * value <= 0:
        return words.FAR, ""
    ratio = value / given
    if abs(given - value) <= abs(value) / 10:
        return words.CLOSE, ""
    if 0.5 <= ratio <= 2:
        return words.NEAR, ""
    return (words.LESS if ratio > 1 else words.MORE), amount(float(f"{max(ratio, 1 / ratio):.2g}"), "")
