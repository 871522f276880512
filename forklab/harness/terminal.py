"""Scenarios on a terminal: theory, measurement and verdict apart, each under its own heading."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from forklab import show
from forklab.harness import words
from forklab.harness.ask import Answer, amount
from forklab.harness.conduct import Result
from forklab.harness.scenario import Scenario
from forklab.harness.spread import Runs
from forklab.lock import Say

_INDENT = (0, 0, 0, 2)
_WIDTH = 100
"""Columns for prose; longer lines are hard to read."""


def shelf(scenarios: Mapping[str, Scenario], language: str) -> RenderableType:
    """What each scenario asks, and what can be chosen about it."""
    table = show.listing("Scenarios, in teaching order", "scenario", words.QUESTION.said(language), "chosen with")
    for name, scenario in scenarios.items():
        given = {each: one.default for each, one in (scenario.parameters or {}).items()}
        flags = Text("\n".join(scenario.flags(given)))
        table.add_row(Text(name, style="bold"), Text(scenario.question.said(language)), flags)
    return table


def report(runs: Runs, language: str, answer: Answer | None = None) -> RenderableType:
    """One scenario, read from top to bottom: question, prediction, theory, measurement, verdict, explanation."""
    result = runs.worst()
    scenario = result.scenario
    parts: list[RenderableType] = [
        Text.assemble((result.id, "bold cyan"), "  ", (scenario.question.said(language), "bold"))
    ]
    if answer:
        parts += _part(words.YOURS.said(language), _prose(answer.text(scenario.prediction)))
    parts += _part(
        words.THEORY.said(language), _prose(scenario.expectation.said(language)), _source(scenario, language)
    )
    parts += _part(words.MEASURED.said(language), *_evidence(result), *_figures(result.found.measured))
    if len(runs.results) > 1:
        title = words.SPREAD.said(language).format(count=len(runs.results))
        parts += _part(title, _spread(runs, language))
    near = [_prose(answer.nearness(result))] if answer else []
    parts += _part(words.VERDICT.said(language), _verdict(result, language), *near)
    parts += _part(words.EXPLANATION.said(language), _prose(scenario.explanation.said(language)))
    return Group(*parts)


def summary(results: Sequence[Result]) -> RenderableType:
    """All runs, a line each, and how many of each verdict."""
    table = show.listing("", "verdict", "scenario", "s", "what was seen")
    for result in results:
        cells = (Text(result.id, style="bold"), Text(f"{result.seconds:.1f}"), Text(result.words))
        table.add_row(show.verdict(result.verdict), *cells)
    return Group(table, Text(counted(results)))


def counted(results: Sequence[Result]) -> str:
    """How many of each verdict, and the time they took."""
    counts = Counter(result.verdict for result in results)
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    return f"{told}, in {sum(result.seconds for result in results):.0f} s"


def footing(versions: Mapping[str, Any]) -> str:
    """When and on what something ran; ``versions`` is what the engine says of itself (``client.version()``)."""
    when = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    kernel, processor = versions.get("KernelVersion", "?"), versions.get("Arch", "?")
    return f"{when}, Linux {kernel} ({processor}), Docker Engine {versions['Version']}"


@contextlib.contextmanager
def working(console: Console, names: Sequence[str]) -> Iterator[tuple[Say, Callable[[Result], None]]]:
    """Show on ``console`` (standard error) how far it is: what to call with news, and at the end of each run."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TextColumn("{task.fields[news]}", markup=False),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    several = len(set(names)) > 1
    with bar:
        task = bar.add_task(names[0], total=len(names), news="")

        def say(news: str) -> None:
            bar.update(task, news=" ".join(news.split())[: max(10, console.width - 60)])

        def ended(result: Result) -> None:
            done = int(bar.tasks[task].completed) + 1
            bar.update(task, completed=done, description=names[min(done, len(names) - 1)], news="")
            if len(names) > 1:
                what = f"{result.id}: {result.words}" if several else result.words
                said = f"{done}/{len(names)} {result.verdict} {what} ({result.seconds:.1f} s)"
                console.print(said, markup=False, soft_wrap=True)

        yield say, ended


def _part(title: str, *content: RenderableType) -> list[RenderableType]:
    return [Text(), Text(title, style="bold underline"), *(Padding(each, _INDENT, expand=False) for each in content)]


def _prose(text: str) -> RenderableType:
    """Paragraphs, no wider than one reads with ease."""
    table = Table.grid()
    table.add_column(max_width=_WIDTH, overflow="fold")
    for number, paragraph in enumerate(text.strip().split("\n\n")):
        table.add_row(Text(("\n" if number else "") + " ".join(paragraph.split())))
    return table


def _source(scenario: Scenario, language: str) -> RenderableType:
    return Text(f"{words.SOURCE.said(language)}: {scenario.source}", style="dim")


def _evidence(result: Result) -> list[RenderableType]:
    return [Text(f"| {line}", overflow="fold") for line in result.found.evidence]


def _figures(measured: Mapping[str, Any]) -> list[RenderableType]:
    if not measured:
        return []
    table = Table.grid(padding=(0, 2))
    for name, value in measured.items():
        table.add_row(Text(name, style="bold"), Text(figure(value), overflow="fold"))
    return [Text(), table]


def figure(value: Any) -> str:
    """A measured value as it is read."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, int | float):
        return amount(value, "")
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {figure(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(figure, value))
    return str(value)


def _spread(runs: Runs, language: str) -> RenderableType:
    heads = (words.LEAST, words.MEDIAN, words.MOST, words.RUNS)
    table = show.listing("", words.FIGURE.said(language), *(head.said(language) for head in heads))
    for name, span in runs.spans().items():
        values = (figure(span.low), figure(span.median), figure(span.high), str(span.runs))
        table.add_row(Text(name, style="bold"), *map(Text, values))
    told = ", ".join(f"{count} {verdict}" for verdict, count in runs.verdicts().items())
    return Group(Text(told), table)


def _verdict(result: Result, language: str) -> RenderableType:
    meaning = getattr(words, result.verdict).said(language)
    return Group(Text.assemble(show.verdict(result.verdict), f"  {meaning}"), _prose(result.words))
