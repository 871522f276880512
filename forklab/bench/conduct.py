"""One run from beginning to end: the image, the container, the progress, and what is left when it ends early."""

from collections.abc import Sequence
from datetime import datetime, timezone

from rich.console import Console

from forklab import engine
from forklab.bench import container
from forklab.bench.progress import Meter
from forklab.bench.run import INTERRUPTED, Run
from forklab.errors import LabError, UsageError
from forklab.lab import Lab


def conduct(lab: Lab, console: Console, *, quick: bool, names: Sequence[str]) -> Run:
    """Measure what ``names`` say (``catalogue.choose``), or everything; progress goes to ``console``.

    A run that ends early is a run, too, when it has samples; its ``trouble`` says why it ended.

    Raises:
        UsageError: ``names`` leave nothing to measure.
        LabError: the image cannot be made, or the bench broke before its first sample.
        KeyboardInterrupt: before the first sample.
    """
    only = ",".join(names)
    words = [*(["--quick"] if quick else []), *(["--only", only] if only else [])]
    lab.build([container.IMAGE])
    with engine.trouble("the engine does not tell its version"):
        version = lab.client.version()["Version"]
    started = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    run = Run(" ".join(["./lab bench", *words]), started, f"Docker Engine {version}")
    try:
        with Meter(console, run) as meter:
            for sample in container.measure(lab.client, words, run):
                meter.tell(sample)
    except (LabError, KeyboardInterrupt) as error:
        if not run.samples:
            raise
        run.trouble = str(error) if isinstance(error, LabError) else INTERRUPTED
    if run.done and not run.plan:
        raise UsageError(f'only "{only}" leaves nothing to measure: none of these takes part in any of those sections')
    return run
