"""The bench in a terminal: the goals first, then each section with the best entrant first."""

from collections.abc import Iterable

from rich import box
from rich.console import Group, JustifyMethod, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from forklab.bench import catalogue, goals, summary
from forklab.bench.goals import Finding
from forklab.bench.run import Run
from forklab.bench.summary import Row, Spread

_STYLES = {goals.MET: "bold green", goals.MISSED: "bold red", goals.NOT_MEASURED: "yellow"}

READING = (
    "A figure is the median of the rounds, its spread the lowest and the highest of them; a ratio is taken within each "
    "round, then its median. load is what the load generator took of one core. Errors of the warm-up count, too."
)


def report(run: Run) -> RenderableType:
    """Everything: the machine, the goals, the sections, and what is missing."""
    parts: list[RenderableType] = [Text(line) for line in heading(run)]
    if run.trouble:
        parts.append(Text(f"PARTIAL: {run.trouble.splitlines()[0]}", style="bold red"))
    parts += [Text(), _goals(goals.judge(run))]
    parts += [part for table in summary.tables(run) for part in (Text(), _section(table))]
    return Group(*parts, Text(), Text(READING, style="dim"))


def heading(run: Run) -> list[str]:
    """What was run, when, and where."""
    machine = run.machine
    where = [
        str(machine.get("processor", "unknown processor")),
        f"{machine.get('cpus', '?')} CPUs",
        f"{machine.get('memory_mib', 0) / 1024:.1f} GiB",
        f"Linux {machine.get('kernel', '?')}",
        f"Python {machine.get('python', '?')}",
        run.engine,
    ]
    lines = [f"{run.command}, {run.started}", ", ".join(where)]
    if run.headroom:
        rate, share = run.headroom["connections_per_second"], run.headroom["load_cpu"]
        lines.append(f"Load generator: up to {amount(rate)} connections/s, then at {share:.0%} of a core")
    return lines


def score(findings: Iterable[Finding]) -> str:
    """The goals in one line."""
    verdicts = [finding.verdict for finding in findings]
    told = [f"{verdicts.count(verdict)} {verdict}" for verdict in _STYLES if verdict in verdicts]
    return f"Goals: {', '.join(told)}"


def amount(value: float) -> str:
    """A number with as many digits as a reader compares."""
    size = abs(value)
    if size >= 100 or ((size >= 10 or not size) and value == int(value)):
        return f"{value:,.0f}"
    return f"{value:,.{1 if size >= 10 else 2 if size >= 0.1 else 3}f}"


def spread(value: Spread) -> str:
    """The lowest and the highest round; empty where all rounds say the same, or there was only one."""
    ends = (amount(value.low), amount(value.high))
    return "-".join(ends) if ends[0] != ends[1] else ""


def bound(finding: Finding) -> str:
    """The goal itself, such as ">= 0.45"."""
    sign = ">=" if finding.bound == "at least" else "<="
    return f"{sign} {amount(finding.limit)}{' ' + finding.unit if finding.unit else ''}"


def load(row: Row) -> str:
    """The load generator's share of one core, with a mark where it was the limit."""
    return "" if row.load is None else f"{row.load:.0%}{'!' if row.limited else ''}"


def latency(row: Row, name: str) -> str:
    """A percentile in ms, from the details."""
    return amount(row.details[name] / 1000) if name in row.details else ""


def has_latency(rows: Iterable[Row]) -> bool:
    """Whether the section tells percentiles."""
    return any("p50_us" in row.details for row in rows)


def _goals(findings: list[Finding]) -> RenderableType:
    table = _table("goal", "section", ">median", "spread", "wanted", "")
    notes: list[RenderableType] = []
    for finding in findings:
        if value := finding.measured:
            verdict = Text(finding.words, style=_STYLES[finding.verdict])
            cells = (finding.what, finding.section, amount(value.median), spread(value), bound(finding))
            table.add_row(*map(Text, cells), verdict)
        elif finding.reason != summary.LEFT_OUT:
            words = f"{finding.what}, {finding.section}: {finding.words} ({finding.reason})"
            notes.append(Text(words, style=_STYLES[finding.verdict]))
    left_out = sum(finding.reason == summary.LEFT_OUT for finding in findings)
    if left_out:
        notes.append(Text(f"{left_out} not measured: left out of this run", style=_STYLES[goals.NOT_MEASURED]))
    return Group(Text(score(findings), style="bold"), *([table] if table.rows else []), *notes)


def _section(content: summary.Table) -> RenderableType:
    rows = [row for row in content.rows if row.value]
    with_latency = has_latency(rows)
    latencies = (">p50", ">p99 ms") if with_latency else ()
    table = _table(content.unit, ">median", "spread", *latencies, ">load", "")
    for row in rows:
        assert row.value
        cells = [amount(row.value.median), spread(row.value)]
        if with_latency:
            cells += [latency(row, "p50_us"), latency(row, "p99_us")]
        mine = catalogue.family(row.entrant) == catalogue.OURS
        name = Text(row.entrant, style="bold" if mine else "")
        table.add_row(name, *map(Text, cells), Text(load(row), style="yellow" if row.limited else ""), _bar(row))
    title = Text.assemble((content.section, "bold"), f"  {catalogue.title(content.section)}")
    if content.unit:
        title.append(f" ({content.better} is better)")
    # What holds for many, as in a run that was cut off, is said once.
    notes: dict[str, list[str]] = {}
    for row in content.rows:
        for note in row.notes():
            notes.setdefault(note, []).append(row.entrant)
    told = [Text(f"{', '.join(names)}: {note}", style="yellow") for note, names in notes.items()]
    return Group(title, *([table] if rows else []), *told)


def _bar(row: Row) -> RenderableType:
    """How near to the section's best, as a number and as a length."""
    share = row.of_best or 0.0
    grid = Table.grid(padding=(0, 1))
    grid.add_row(Text(f"{share:.2f}"), ProgressBar(total=1.0, completed=share, width=10, finished_style="bar.complete"))
    return grid


def _table(*columns: str) -> Table:
    """A column whose name begins with ">" is set to the right."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for number, column in enumerate(columns):
        justify: JustifyMethod = "right" if column.startswith(">") else "left"
        table.add_column(column.lstrip(">"), justify=justify, overflow="fold", no_wrap=number == 0)
    return table
