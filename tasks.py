"""The front: each task parses its words, calls forklab, prints the answer and exits."""

import functools
import os
import shlex
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import Task, task
from rich.console import RenderableType

from forklab import doctor as examination
from forklab import engine, images, show
from forklab.errors import LabError, UsageError
from forklab.lab import Lab
from forklab.registry import MODELS, MODES, ROOT, SERVICES
from forklab.settings import Settings
from protocol import exits, verdicts

DEBUG = bool(os.environ.get("FORKLAB_DEBUG"))
"""Shows the compose commands, and the traceback of what nobody expected."""

JSON_HELP = "one JSON document on standard output"
SIGINT, SIGPIPE = 2, 13


@dataclass(frozen=True)
class Answer:
    """What a task found: for a script, for a person, and the exit code."""

    document: Any
    words: RenderableType | None = None
    code: int = exits.OK


NAMESPACE = Collection()
GROUPS: dict[str, list[str]] = {}


def command(group: str, **words: str) -> Callable[[Callable[..., Answer]], Task[Any]]:
    """Make a task of a function that answers: print what it answers, turn what goes wrong into one line and a code."""

    def wrap(body: Callable[..., Answer]) -> Task[Any]:
        @functools.wraps(body)
        def guarded(context: Context, *positional: Any, **named: Any) -> None:
            as_json = bool(named.get("json"))
            try:
                with engine.trouble("the engine failed"):
                    answer = body(context, *positional, **named)
                if as_json:
                    show.document(answer.document)
                elif answer.words is not None:
                    show.render(answer.words)
                code = answer.code
            except BaseException as error:
                code = _trouble(error, as_json)
            if code:
                raise Exit(code=code)

        made: Task[Any] = task(auto_shortflags=False, help={**words, "json": JSON_HELP})(guarded)
        NAMESPACE.add_task(made)
        GROUPS.setdefault(group, []).append(made.name)
        return made

    return wrap


def _trouble(error: BaseException, as_json: bool) -> int:
    """Say it; the exit code it means."""
    if isinstance(error, KeyboardInterrupt):
        message, code = "interrupted", exits.SIGNAL_BASE + SIGINT
    elif isinstance(error, BrokenPipeError):  # nobody reads on: `./lab logs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.SIGNAL_BASE + SIGPIPE
    elif isinstance(error, LabError):
        message, code = str(error), error.exit_code
    elif isinstance(error, Exception):
        hint = "" if DEBUG else "; FORKLAB_DEBUG=1 shows where"
        message, code = f"unexpected {type(error).__name__}: {error}{hint}", exits.LAB_FAILED
    else:
        raise error
    if DEBUG:
        traceback.print_exception(error)
    show.say(f"lab: {message}")
    if as_json:
        show.document({"error": {"message": message, "exit_code": code}})
    return code


def _lab() -> Lab:
    return Lab.here(engine.connect(show.say), show.say, echo=DEBUG)


def _verdict_code(verdict: str) -> int:
    return {verdicts.PASS: exits.OK, verdicts.INCONCLUSIVE: exits.INCONCLUSIVE}.get(verdict, exits.FAILED)


def _ids(registry: Any) -> str:
    return " | ".join(registry.ids())


@task(default=True, auto_shortflags=False, help={"json": JSON_HELP})
def tasks(context: Context, json: bool = False) -> None:
    """List the tasks."""
    rows = {
        group: [(name, (NAMESPACE[name].__doc__ or "").splitlines()[0]) for name in names]
        for group, names in GROUPS.items()
    }
    if json:
        show.document(rows)
    else:
        show.render(show.tasks(rows))


STAND, LOOK, TALK = "Stand it up", "Look", "Talk"
CLEAN, CARRY, DEVELOP = "Clean up", "Carry", "Develop"


@command(STAND)
def doctor(context: Context, json: bool = False) -> Answer:
    """Check everything the lab needs; what is missing comes with how to mend it."""
    found = list(examination.checks())
    return Answer({"findings": found}, show.findings(found), examination.exit_code(found))


@command(STAND)
def build(context: Context, json: bool = False) -> Answer:
    """Make the images that are missing or older than their sources."""
    built = _lab().build()
    return Answer({"built": built}, f"built: {', '.join(built)}" if built else "All images are up to date.")


@command(
    STAND,
    model=f"how the server serves: {_ids(MODELS)} (default: fork)",
    service=f"what it does for a client: {_ids(SERVICES)} (default: echo)",
    port="port of this computer (default: the engine picks a free one)",
    options='flags for the server, such as "--max-connections 5 --log json"',
    pids="how many processes the server's container may have (default: 2048)",
)
def up(
    context: Context,
    model: str = "",
    service: str = "",
    port: str = "",
    options: str = "",
    pids: str = "",
    json: bool = False,
) -> Answer:
    """Stand the lab up, or change it to these settings, and prove that it works."""
    given = {"model": model, "service": service, "port": port, "options": options, "pids": pids}
    settings = Settings.choose(given)
    now, proof = _lab().up(settings)
    document = {**show.plain(now), "proof": proof}
    return Answer(document, show.up(now, proof), _verdict_code(proof.verdict))


@command(LOOK)
def status(context: Context, json: bool = False) -> Answer:
    """Show the lab in a few lines: model, address, health, connections, zombies."""
    now = _lab().status()
    return Answer(now, show.status(now))


@command(LOOK)
def ps(context: Context, json: bool = False) -> Answer:
    """Show the server's process tree, with states and connections, as the kernel has it."""
    seen = _lab().snapshot()
    return Answer(seen, show.processes(seen))


@command(LOOK, lines="how many of the last lines (default: 100)", follow="go on with what is said from now on")
def logs(context: Context, lines: str = "100", follow: bool = False, json: bool = False) -> Answer:
    """Show what the server said."""
    if not (lines.isascii() and lines.isdigit()):
        raise UsageError(f'lines "{lines}" is not a number')
    if json and follow:
        raise UsageError("--follow never ends, so it makes no JSON document; leave one of them out")
    said = _lab().logs(int(lines), follow=follow)
    if json:
        return Answer({"lines": b"".join(said).decode(errors="replace").splitlines()})
    for piece in said:
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    return Answer(None)


@command(TALK, mode=f"how the client talks: {_ids(MODES)} (default: fork-split)", raw="no line means quit")
def client(context: Context, mode: str = "fork-split", raw: bool = False, json: bool = False) -> Answer:
    """Talk to the server, from a container of your own on its network."""
    code, received = _lab().talk(mode, raw=raw, capture=json)
    document = {"mode": mode, "received": received.decode(errors="replace"), "exit_code": code}
    return Answer(document, code=code)


@command(CLEAN)
def down(context: Context, json: bool = False) -> Answer:
    """Remove this lab: containers, network, volumes. The images stay."""
    gone = _lab().down()
    return Answer({"removed": gone}, show.things(gone, "Removed"))


@command(
    CLEAN,
    project="only this project (default: every lab on this engine)",
    images="the images and the base too",
    dry_run="only show what would be removed",
)
def clean(
    context: Context,
    project: str = "",
    images: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> Answer:
    """Remove every lab on this engine, found by label."""
    if project and images:
        raise UsageError("all projects share the images; leave --project or --images out")
    found = _lab().clean(project, with_images=images, dry_run=dry_run)
    if dry_run:
        return Answer({"would_remove": found}, show.things(found, "Would be removed"))
    return Answer({"removed": found}, show.things(found, "Removed"))


@command(CARRY, file="where to; gzipped when it ends in .gz")
def save(context: Context, file: str, json: bool = False) -> Answer:
    """Write all images of the lab into one file, for a computer without network."""
    saved = images.save(engine.connect(show.say), Path(file), show.say)
    document = {"file": str(saved.path), "bytes": saved.size, "images": list(saved.images)}
    return Answer(document, f"{saved.path}: {saved.size / 1e6:.0f} MB, {', '.join(saved.images)}")


@command(CARRY, file="what save wrote")
def load(context: Context, file: str, json: bool = False) -> Answer:
    """Take the images from a file that save wrote."""
    loaded = images.load(engine.connect(show.say), Path(file), show.say)
    return Answer({"images": loaded}, f"loaded: {', '.join(loaded)}")


@command(DEVELOP, keep="leave the containers of the tests", args='more words for pytest, such as "-k fork -x"')
def test(context: Context, keep: bool = False, args: str = "", json: bool = False) -> Answer:  # noqa: PT028
    """Run all tests and show what they cover."""
    engine.connect(show.say)
    python = [sys.executable, "-m"]
    words = [*(["--keep"] if keep else []), *shlex.split(args)]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        out = sys.stderr if json else None
        subprocess.run([*python, "coverage", "erase"], cwd=ROOT, check=True)
        pytest = [*python, "coverage", "run", "-m", "pytest", "tests", f"--junitxml={report}", *words]
        code = subprocess.run(pytest, cwd=ROOT, stdout=out).returncode
        # Silent: a process that a test has killed leaves a file of which only half was written.
        subprocess.run([*python, "coverage", "combine", "--quiet"], cwd=ROOT, capture_output=True)
        for left in ROOT.glob(".coverage.*"):
            left.unlink()
        subprocess.run([*python, "coverage", "report"], cwd=ROOT, stdout=out)
        counts = _counts(report)
    return Answer(counts, code={0: exits.OK, 1: exits.FAILED, 4: exits.USAGE}.get(code, exits.LAB_FAILED))


def _counts(report: Path) -> dict[str, int]:
    if not report.exists():
        return {}
    suites = ElementTree.parse(report).getroot().iter("testsuite")
    totals = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for suite in suites:
        for name in totals:
            totals[name] += int(suite.get(name, "0"))
    return totals


NAMESPACE.add_task(tasks, default=True)
namespace = NAMESPACE
