"""What a person sees while the bench runs: how far it is, how long it still takes, what was measured last."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from forklab.bench.run import Run, Sample
from forklab.bench.terminal import amount


class Meter:
    """A bar on a terminal; elsewhere one line for each section of a round."""

    def __init__(self, console: Console, run: Run) -> None:
        self._console, self._run = console, run
        self._told: tuple[int, str] | None = None
        self._task: TaskID | None = None
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[last]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> "Meter":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def tell(self, sample: Sample | None) -> None:
        """After each line of the bench; ``sample`` is None where the line was none."""
        if sample is None:
            return
        done, total = len(self._run.samples), self._run.total
        warm = " (warm-up)" if sample.warmup else ""
        where = f"round {sample.round + 1} of {self._run.rounds}{warm}"
        if self._console.is_terminal:
            if self._task is None:
                self._task = self._bar.add_task("", total=total, last="")
            value = "no value" if sample.value is None else f"{amount(sample.value)} {sample.unit}"
            last = f"{sample.section} {sample.entrant} {value}"
            self._bar.update(self._task, description=where, completed=done, total=total, last=last)
        elif self._told != (sample.round, sample.section):
            self._told = (sample.round, sample.section)
            self._console.print(f"bench: {where}, {sample.section}: {done} of {total} samples", soft_wrap=True)
