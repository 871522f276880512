"""The front: each task parses its words, calls forklab, prints the answer and exits."""

import contextlib
import functools
import inspect
import os
import shlex
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.parser.argument import Argument
from invoke.tasks import Task, task
from rich.console import RenderableType
from rich.text import Text

from forklab import doctor as examination
from forklab import engine, faults, images, recording, show, suite, views
from forklab.capture import choose, ladder
from forklab.capture import read as read_capture
from forklab.capture.newfile import check_new, new_file, write_new
from forklab.capture.picture import svg
from forklab.capture.record import MOST_SECONDS, Sink, record
from forklab.capture.wireshark import Wireshark
from forklab.capture.wireshark import find as find_wireshark
from forklab.errors import LabError, UsageError
from forklab.grade import catalogue
from forklab.harness import ask, conduct, library, terminal
from forklab.harness.scenario import LANGUAGES, Scenario
from forklab.harness.spread import Runs
from forklab.lab import Lab
from forklab.registry import DEMOS, MODELS, MODES, SERVICES
from forklab.settings import TRACED, Settings
from forklab.timeline import folder, jsonl
from forklab.timeline import text as wording
from forklab.timeline.replay import replay
from forklab.watch import loop as live
from forklab.watch.keys import keys
from protocol import exits, lessons, verdicts

if TYPE_CHECKING:
    from forklab.grade.rubric import Rubric
    from forklab.grade.wish import Wish

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


class _OneOrAll(Task[Any]):
    """A task whose positional word may be left out when ``--all`` is given."""

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        """As invoke makes them, with the first bound to ``--all``."""
        first, *others = super().get_arguments(ignore_unknown_help)
        every = next(each for each in others if each.name == "all")
        return [_UnlessAll(every, name=first.name, help=first.help, positional=True), *others]


class _UnlessAll(Argument):
    """Counts as given, and is empty, once ``--all`` was seen."""

    def __init__(self, every: Argument, **options: Any) -> None:
        super().__init__(**options)
        self._every = every

    @property
    def value(self) -> Any:
        """What was given."""
        return "" if self._value is None and self._every.value else self._value

    @value.setter
    def value(self, given: str) -> None:
        self.set_value(given)


def command(
    group: str, place: Collection = NAMESPACE, name: str = "", kind: type[Task[Any]] = Task, /, **words: str
) -> Callable[[Callable[..., Answer]], Task[Any]]:
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

        described = {**words, "json": JSON_HELP}
        made: Task[Any] = task(name=name or None, auto_shortflags=False, help=described, klass=kind)(guarded)
        # A collection cannot have the name of a task beside it, but a task that stands for it.
        stands = made.name == place.name
        place.add_task(made, default=stands)
        GROUPS.setdefault(group, []).append(f"{place.name}.{made.name}" if place.name and not stands else made.name)
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


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f'{name} "{text}" is not a number')
    return int(text)


def _seconds(name: str, text: str, least: float, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not least <= value <= most:
        raise UsageError(f'{name} "{text}" is not a number of seconds from {least:g} to {most:g}')
    return value


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


STAND, LOOK, TALK, LEARN, BREAK = "Stand it up", "Look", "Talk", "Learn", "Break"
GRADE, MEASURE, CLEAN, CARRY, DEVELOP = "Grade", "Measure", "Clean up", "Carry", "Develop"


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
    trace="record every call of the server and its clients from the first on; ./lab trace shows it",
)
def up(
    context: Context,
    model: str = "",
    service: str = "",
    port: str = "",
    options: str = "",
    pids: str = "",
    trace: bool = False,
    json: bool = False,
) -> Answer:
    """Stand the lab up, or change it to these settings, and prove that it works."""
    given = {"model": model, "service": service, "port": port, "options": options, "pids": pids}
    given["trace"] = TRACED if trace else ""
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
    """Show the server's process tree, with states, signals and connections, as the kernel has it."""
    seen = _lab().snapshot(("descriptors", "signals", "waits", "memory"))
    return Answer(seen, views.ps(seen))


@command(LOOK, pid="only this process of the server")
def fds(context: Context, pid: str = "", json: bool = False) -> Answer:
    """Show what each process holds, who else holds it, and whose close a FIN waits for."""
    wanted = _number("pid", pid) if pid else None
    seen = _lab().snapshot(("descriptors", "flags"))
    return Answer(views.fds_document(seen, wanted), views.fds(seen, wanted))


@command(LOOK)
def sockets(context: Context, json: bool = False) -> Answer:
    """Show the server's TCP sockets: states, queues, backlog, and who holds them."""
    seen = _lab().snapshot(("descriptors",))
    return Answer(views.sockets_document(seen), views.sockets(seen))


@command(LOOK, interval="seconds from one look to the next: 0.1 to 60 (default: 1)")
def watch(context: Context, interval: str = "1", json: bool = False) -> Answer:
    """Watch processes, connections and zombies live; pause, step back through the last minutes, save."""
    seconds = _seconds("interval", interval, 0.1, 60)
    console = show.console()
    if json or not (sys.stdin.isatty() and console.is_terminal) or console.is_dumb_terminal:
        raise UsageError("watch draws on a terminal, and this is none; for a script: ./lab ps --json")
    with _lab().stream(seconds) as stream:
        live.run(stream, keys(), console, Path.cwd())
    return Answer(None)


@command(LOOK, lines="how many of the last lines (default: 100)", follow="go on with what is said from now on")
def logs(context: Context, lines: str = "100", follow: bool = False, json: bool = False) -> Answer:
    """Show what the server said."""
    count = _number("lines", lines)
    if json and follow:
        raise UsageError("--follow never ends, so it makes no JSON document; leave one of them out")
    said = _lab().logs(count, follow=follow)
    if json:
        return Answer({"lines": b"".join(said).decode(errors="replace").splitlines()})
    for piece in said:
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    return Answer(None)


@command(
    LOOK,
    out="the pcapng file to make",
    seconds=f"how long (default: until Ctrl-C, at most {MOST_SECONDS:.0f})",
    filter='which packets, in the words of pcap-filter(7), such as "tcp port 9190"',
    wireshark="show them live in this computer's Wireshark instead",
)
def capture(
    context: Context,
    out: str = "",
    seconds: str = "",
    filter: str = "",
    wireshark: bool = False,
    json: bool = False,
) -> Answer:
    """Capture the packets of the server's network namespace."""
    if bool(out) == wireshark:
        raise UsageError("where to? --out FILE.pcapng, or --wireshark")
    limit = _seconds("seconds", seconds, 0.001, MOST_SECONDS) if seconds else MOST_SECONDS
    open_sink: Callable[[], Sink]
    if wireshark:
        open_sink = functools.partial(Wireshark, find_wireshark())
    else:
        open_sink = functools.partial(new_file, check_new(Path(out)))
    probe = _lab().probe()
    end = f"for {limit:g} seconds; Ctrl-C ends it earlier" if seconds else "until Ctrl-C"
    with show.counting("packets") as progress:
        done = record(
            probe,
            open_sink,
            expression=filter,
            seconds=limit,
            begun=lambda interface: show.say(f"capturing on {interface} {end}"),
            progress=progress,
        )
    return Answer(done, show.captured(done))


@command(
    LOOK,
    file="a capture: pcapng or pcap, of ./lab capture, Wireshark or tcpdump",
    connection="which one, by its number in the list (default: the only one)",
    out="an SVG file to draw it into, for a slide",
)
def flow(context: Context, file: str, connection: str = "", out: str = "", json: bool = False) -> Answer:
    """Show a connection of a capture as a ladder diagram, or list the connections."""
    picture = check_new(Path(out)) if out else None
    if picture and picture.suffix.lower() != ".svg":
        raise UsageError(f'"{out}" is no name for a picture: it must end in .svg')
    reading = read_capture(Path(file))
    chosen = choose(reading, connection)
    if picture and not chosen:
        raise UsageError(f"--out draws one connection; choose with --connection 1 to {len(reading.connections)}")
    document = reading.document(chosen)
    if not chosen:
        return Answer(document, show.flows(reading))
    if not picture:
        return Answer(document, ladder.Ladder(chosen, reading))
    write_new(picture, svg(chosen, reading))
    return Answer({**document, "picture": str(picture)}, f"drawn into {picture}")


@command(
    LOOK,
    seconds="how long to record (default: since up --trace; else until Ctrl-C)",
    out="folder for the page, the events, the pictures and the raw recording",
    text="print each event, one a line; so it is without --out and --perfetto",
    perfetto="write this file for ui.perfetto.dev or chrome://tracing",
)
def trace(
    context: Context, seconds: str = "", out: str = "", text: bool = False, perfetto: str = "", json: bool = False
) -> Answer:
    """Show what the server did, call by call: a page with lanes, connections and descriptors, or text."""
    length = recording.seconds(seconds)
    if out:
        folder.check(Path(out))
    chrome = recording.target(perfetto)
    lab = _lab()
    files = lab.trace(length)
    line = replay(files)
    written = folder.write(line, files, Path(out), f"forklab trace of {lab.project}") if out else []
    if chrome:
        written.append(folder.write_perfetto(line, chrome))
    names = [str(path) for path in written]
    words = wording.lines(line) if text or not written else wording.summary(line)
    return Answer(jsonl.document(line, names), show.trace(words, names))


@command(TALK, mode=f"how the client talks: {_ids(MODES)} (default: fork-split)", raw="no line means quit")
def client(context: Context, mode: str = "fork-split", raw: bool = False, json: bool = False) -> Answer:
    """Talk to the server, from a container of your own on its network."""
    code, received = _lab().talk(mode, raw=raw, capture=json)
    document = {"mode": mode, "received": received.decode(errors="replace"), "exit_code": code}
    return Answer(document, code=code)


@command(LEARN)
def demos(context: Context, json: bool = False) -> Answer:
    """List the demos in teaching order, each with the question it answers."""
    questions = {name: lessons.part(DEMOS.docstring(name), lessons.QUESTION) for name in lessons.DEMOS}
    document = [{"demo": name, "question": question} for name, question in questions.items()]
    return Answer(document, show.demos(questions))


@command(LEARN, name="which one; ./lab demos lists them")
def demo(context: Context, name: str, json: bool = False) -> Answer:
    """Run a demo: one small program that answers one question on real processes, with a verdict."""
    code, document = _lab().demo(name, capture=json)
    return Answer(document, code=code)


LANG_HELP = f"language of question, theory and explanation: {' | '.join(LANGUAGES)} (default: en)"
MOST_RUNS = 1000


@command(LEARN, lang=LANG_HELP)
def scenarios(context: Context, lang: str = "en", json: bool = False) -> Answer:
    """List the scenarios in teaching order, each with the question it answers and what can be chosen."""
    language = library.language(lang)
    known = {name: library.load(name) for name in library.order()}
    document = [
        {"scenario": name, "question": one.question.said(language), "parameters": one.parameters or {}}
        for name, one in known.items()
    ]
    return Answer(document, terminal.shelf(known, language))


def scenario(
    context: Context,
    id: str,
    all: bool = False,
    predict: bool = False,
    repeat: str = "",
    out: str = "",
    lang: str = "en",
    json: bool = False,
    **chosen: str,
) -> Answer:
    """Run a scenario, or all: a question, what theory says, what the kernel showed, and a verdict."""
    language = library.language(lang)
    given = {name: value for name, value in chosen.items() if value}
    if all and (id or given or predict or repeat):
        raise UsageError("--all runs each scenario once as it is; leave the id, --predict, --repeat and values out")
    names = library.order() if all else [id] * _runs(repeat)
    plan = [(name, one, one.read(given)) for name in names for one in [library.load(name)]]
    if out:
        folder.check(Path(out))
    answer = ask.ask(plan[0][1], language, sys.stdin, show.say) if predict else None
    results, made = _play(plan)
    runs = [Runs([result]) for result in results] if all else [Runs(results)]
    if out:
        from forklab.harness import page  # here, for it would make each other task begin later

        written = page.write(runs, Path(out), language, made, answer)
        show.say(f"wrote {written[0]}")
    code = conduct.CODES[conduct.worst(results).verdict]
    if all:
        return Answer({"scenarios": [result.document(language) for result in results]}, terminal.summary(results), code)
    document = runs[0].document(language)
    if answer:
        document["prediction"] = answer.document(runs[0].worst())
    return Answer(document, terminal.report(runs[0], language, answer), code)


def _runs(repeat: str) -> int:
    count = _number("repeat", repeat or "1")
    if not 1 <= count <= MOST_RUNS:
        raise UsageError(f'repeat "{repeat}" is not a number from 1 to {MOST_RUNS}')
    return count


def _play(plan: list[tuple[str, Scenario, dict[str, Any]]]) -> tuple[list[conduct.Result], str]:
    """Run what is planned; what it found, and when and on what that was."""
    lab = _lab()
    lab.build()
    versions = lab.client.version()
    results = []
    with terminal.working(show.console(stderr=True), [name for name, _, _ in plan]) as (say, ended):
        for name, one, values in plan:
            results.append(conduct.conduct(lab.client, name, one, values, say))
            ended(results[-1])
            if DEBUG and results[-1].error:
                traceback.print_exception(results[-1].error)
    return results, terminal.footing(versions)


def _scenario_task() -> None:
    """Make the task; what may be chosen about which scenario is in the scenarios' files."""
    words = {
        "id": "which one; ./lab scenarios lists them",
        "all": "each of them once, with a summary",
        "predict": "ask first what you expect, and say in the end how near that was",
        "repeat": f"run it so often, 1 to {MOST_RUNS}, and show the spread of each figure",
        "out": "folder to write a page into for each scenario, and with --all an index.html",
        "lang": LANG_HELP,
    }
    own = [each for each in inspect.signature(scenario).parameters.values() if each.kind != each.VAR_KEYWORD]
    more = []
    for name, takers in library.parameters().items():
        more.append(inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=""))
        words[name] = "; ".join(f"{taker}: {one.help}, {one.expected()}" for taker, one in takers)
    scenario.__signature__ = inspect.Signature([*own, *more])  # type: ignore[attr-defined]
    command(LEARN, NAMESPACE, "scenario", _OneOrAll, **words)(scenario)


_scenario_task()


FAULT = Collection("fault")
NAMESPACE.add_collection(FAULT)


def _fault_task(fault: faults.Fault) -> None:
    """Make the task of a fault; what a user may choose about it is in its file."""

    def body(context: Context, **chosen: Any) -> Answer:
        given = {one.name: chosen[one.name] for one in fault.parameters}
        held = _lab().faults.start(fault.id, given, chosen.get("for_", ""), chosen.get("target", faults.SERVER))
        try:
            show.countdown(held.state, held.wait)
        except KeyboardInterrupt:  # the usual way to end it early
            show.say("ending it")
        finally:
            held.heal()
        return Answer({**held.state, "ended": held.ended}, show.fault(held.state, held.ended))

    words = {one.name: f"{one.help}: {one.expected()} (default: {one.default})" for one in fault.parameters}
    values = {one.name: "" for one in fault.parameters}
    if not fault.moment:
        values["for_"], words["for_"] = "", f"how long: {faults.FOR.expected()} (default: {faults.FOR.default})"
    if faults.CLIENT in fault.targets:
        values["target"] = faults.SERVER
        words["target"] = "server | client, or the name or id of one client's container (default: server)"
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    taken = [inspect.Parameter(name, kind, default=value) for name, value in {**values, "json": False}.items()]
    body.__doc__ = fault.summary
    body.__signature__ = inspect.Signature([inspect.Parameter("context", kind), *taken])  # type: ignore[attr-defined]
    command(BREAK, FAULT, fault.id, **words)(body)


@command(BREAK, FAULT, "list")
def fault_list(context: Context, json: bool = False) -> Answer:
    """Show which faults there are, and which are held now."""
    known = faults.known()
    try:
        now = _lab().faults.look()
    except LabError as error:  # the list is of use without a lab, too
        show.say(f"which are held is not known: {error}")
        now = {"held": [], "left": []}
    document = {"faults": known, "held": now["held"], "left": now["left"]}
    return Answer(document, show.faults(known, now["held"], now["left"]))


@command(BREAK, FAULT, "clear")
def fault_clear(context: Context, json: bool = False) -> Answer:
    """Undo all faults at once, and remove what killed ones have left."""
    done = _lab().faults.clear()
    return Answer(done, show.cleared(done))


for _fault in faults.known():
    _fault_task(_fault)


GRADING = Collection("grade")
NAMESPACE.add_collection(GRADING)

HOW = {
    "run": "how to start it, such as './server -p {port}' (default: the program and the port)",
    "service": f"what it should do for a client: {' | '.join(catalogue.SERVICES)} (default: echo)",
    "model": f"what it should be: {_ids(MODELS)} | any (default: any)",
    "check": "only these checks, with commas between them; ./lab grade.checks lists all",
    "core": "only the checks that every concurrent server must pass: under 20 seconds",
    "client": "examine a client, started as ./client HOST PORT, with a pipe as its keyboard and its screen",
    "rubric": "a YAML file with the points of each check; docs/rubric.yaml is one",
}
"""How to grade: what the options of a grading and of an autograder mean."""


@command(
    GRADE,
    GRADING,
    path="a .c or .py file, an executable, or a folder; with --each a folder of such",
    **HOW,
    html="write the report as a page into this file",
    junit="write JUnit's XML into this file, for a continuous integration",
    gradescope="write Gradescope's results.json into this file",
    out="write the JSON document into this file; with --each: the folder for the table, the matrix and all pages",
    each="grade every submission in the folder; what the folder of --out knows already is not graded again",
    jobs="with --each: how many submissions at once (default: as processors and memory allow)",
)
def grade(
    context: Context,
    path: str,
    run: str = "",
    service: str = "echo",
    model: str = "any",
    check: str = "",
    core: bool = False,
    client: bool = False,
    rubric: str = "",
    html: str = "",
    junit: str = "",
    gradescope: str = "",
    out: str = "",
    each: bool = False,
    jobs: int = 0,
    json: bool = False,
) -> Answer:
    """Examine a server that somebody wrote: which bugs it has, the evidence, how to mend them.

    Leaves with 0 when all is well, 1 when a check failed, 3 when one was inconclusive and none failed; with --each
    with 0 when every submission was graded.
    """
    from forklab.grade import conduct, reports, terminal
    from forklab.grade.rubric import Rubric
    from forklab.grade.wish import Wish

    wish = Wish.of(run=run, service=service, model=model, check=check, core=core, client=client)
    points = Rubric.read(Path(rubric)) if rubric else Rubric()
    files = {"html": html, "junit": junit, "gradescope": gradescope}
    if each:
        reports.refuse(files)
        return _class(Path(path), out, jobs, wish, points)
    if jobs:
        raise UsageError("--jobs is for a class; add --each, or leave it out")
    wanted = reports.Wanted({**files, "json": out})
    progress = terminal.Progress(show.console(stderr=True), len(wish.checks))
    outcome = conduct.grade(_lab(), Path(path), wish, progress.tell, points)
    for file in wanted.write(outcome):
        show.say(f"wrote {file}")
    return Answer(outcome.document(), terminal.report(outcome), outcome.exit_code)


def _class(path: Path, out: str, jobs: int, wish: "Wish", points: "Rubric") -> Answer:
    from forklab.grade import classpages, classroom, crew, terminal

    if not out:
        raise UsageError("--each needs --out FOLDER, for the table, the matrix and all pages")
    jobs = crew.check(jobs)
    room = classroom.Classroom(path, Path(out), wish, points)
    count, done = len(room.students), 0

    def tell(student: classroom.Student) -> None:
        nonlocal done
        done += 1
        show.say(f"class: {classroom.line(student, done, count)}")

    try:
        students = room.run(_lab(), jobs, tell)
    finally:
        begin = classpages.write(room.students, Path(out))
        show.say(f"wrote {begin}")
    return Answer(classroom.document(students), terminal.grades(students), classroom.exit_code(students))


@command(
    GRADE,
    GRADING,
    "autograder",
    **HOW,
    out="the zip to write (default: autograder.zip)",
)
def grade_autograder(
    context: Context,
    run: str = "",
    service: str = "echo",
    model: str = "any",
    check: str = "",
    core: bool = False,
    client: bool = False,
    rubric: str = "",
    out: str = "autograder.zip",
    json: bool = False,
) -> Answer:
    """Write an autograder for Gradescope, which grades there as these options say."""
    from forklab.grade import bundle
    from forklab.grade.rubric import Rubric
    from forklab.grade.wish import Wish

    wish = Wish.of(run=run, service=service, model=model, check=check, core=core, client=client)
    points = Rubric.read(Path(rubric)) if rubric else Rubric()
    content = bundle.packed(wish, points)
    with contextlib.closing(new_file(Path(out))) as file:
        file.write(content)
    return Answer({"file": out, "bytes": len(content)}, Text(f"wrote {out}: upload it as the assignment's autograder"))


@command(GRADE, GRADING, "checks")
def grade_checks(context: Context, json: bool = False) -> Answer:
    """List the checks, each with what it requires."""
    from forklab.grade import terminal

    known = catalogue.known()
    return Answer({"checks": known}, terminal.checks(known))


@command(
    GRADE,
    GRADING,
    "selftest",
    only="only the flaws that this check must find, and only this check",
    jobs="how many servers at once (default: as processors and memory allow)",
)
def grade_selftest(context: Context, only: str = "", jobs: int = 0, json: bool = False) -> Answer:
    """Examine the examiner: servers with one flaw each, and good ones, against all checks."""
    from forklab.grade import crew, selftest

    chosen = selftest.choose(only)
    rows = selftest.run(_lab(), chosen, only, crew.check(jobs), lambda row: show.say(f"selftest: {selftest.line(row)}"))
    return Answer(selftest.document(rows), selftest.report(rows), selftest.exit_code(rows))


@command(
    MEASURE,
    quick="all goals, but fewer peers and shorter samples: under 3 minutes",
    only="sections and entrants, such as churn-64,epoll,uvloop (default: all; a wrong name lists what there is)",
    out="folder to write bench.json, bench.html and performance.md into",
    from_="show a run that was kept, a bench.json, instead of measuring",
)
def bench(
    context: Context,
    quick: bool = False,
    only: str = "",
    out: str = "",
    from_: str = "",
    json: bool = False,
) -> Answer:
    """Measure the server models beside their peers, and say which goals they meet.

    Leaves with 0 when it ran, also when a goal was missed; with 4 when the bench itself broke. When it breaks or is
    interrupted, what was measured so far is shown, and nothing is written.
    """
    # Imported here, for they would make each other task begin later.
    from forklab.bench import catalogue, conduct, files, terminal
    from forklab.bench.run import Run

    names = catalogue.choose(only)
    if from_ and (quick or names):
        raise UsageError("--from shows what was measured before; leave --quick and --only out")
    if out:
        files.prepare(Path(out))
    if from_:
        run = Run.read(Path(from_))
    else:
        run = conduct.conduct(_lab(), show.console(stderr=True), quick=quick, names=names)
    if run.trouble:
        show.say(f"lab: {run.trouble}" + (f"; nothing was written to {out}" if out else ""))
    elif out:
        show.say(f"wrote {', '.join(map(str, files.write(run, Path(out))))}")
    return Answer(files.document(run), terminal.report(run), run.exit_code)


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
    """Write all images of the lab into one file, for a computer without network; those of grade and bench if built."""
    saved = images.save(engine.connect(show.say), Path(file), show.say)
    document = {"file": str(saved.path), "bytes": saved.size, "images": list(saved.images)}
    return Answer(document, f"{saved.path}: {saved.size / 1e6:.0f} MB, {', '.join(saved.images)}")


@command(CARRY, file="what save wrote")
def load(context: Context, file: str, json: bool = False) -> Answer:
    """Take the images from a file that save wrote."""
    loaded = images.load(engine.connect(show.say), Path(file), show.say)
    return Answer({"images": loaded}, f"loaded: {', '.join(loaded)}")


@command(
    DEVELOP,
    keep="leave the containers of the tests",
    cover="show which lines they cover; takes longer",
    args='more words for pytest, such as "-k fork -x"',
)
def test(context: Context, keep: bool = False, cover: bool = False, args: str = "", json: bool = False) -> Answer:  # noqa: PT028
    """Run all tests."""
    lab = _lab()
    output = sys.stderr if json else None
    code, counts = suite.run(lab, shlex.split(args), keep=keep, cover=cover, output=output)
    return Answer(counts, code={0: exits.OK, 1: exits.FAILED, 4: exits.USAGE}.get(code, exits.LAB_FAILED))


NAMESPACE.add_task(tasks, default=True)
namespace = NAMESPACE
