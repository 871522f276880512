"""Makes the image of a submission with a Dockerfile, and lends its file system to the examiner.

``docker build`` would run its RUN steps without bounds, so each stage is a container of ours (``box.py``) in which its
steps are done one after the other. Nothing is committed: in the container of the last stage, where nobody may write any
more, the examiner starts the submission. So no image is left behind, and no step costs the time of a commit.
"""

import contextlib
import io
import json
import os
import posixpath
import re
import shlex
import signal
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from docker.errors import APIError, ImageNotFound
from docker.models.containers import Container

from forklab import base, engine, images
from forklab.errors import LabError, UsageError
from forklab.grade import box, copying, dockerfile
from forklab.grade.box import Box
from forklab.grade.dockerfile import NAME, PORT, SCRATCH, State, Step
from forklab.grade.submission import Submission
from forklab.lab import Lab
from forklab.printable import printable
from protocol import exits

_EXAMINER = "forklab-examiner"
_OURS = (*images.IMAGES, *images.ON_DEMAND)
_EMPTY = "forklab-scratch"
"""FROM scratch, as an image: the engine makes no container of nothing."""
_RUN_SECONDS = 60.0
_BUILD_SECONDS = 150.0
_MOST_TOLD = 64 << 10
"""Bytes of what the examiner is told: it comes on its command line."""
_NETWORKED = re.compile(r"\b(apk|apt|apt-get|cargo|curl|dnf|git|go|npm|pip3?|wget|yum)\b")
_NOT_STARTED = (126, 127)
_WIDTH = 100
_SMALL = "size={}m,mode={},exec,nosuid,nodev"


class CannotBuild(Exception):
    """The Dockerfile does not lead to an image: where and why; ``said`` are the last words of the step."""

    def __init__(self, words: str, said: Sequence[str] = ()) -> None:
        super().__init__(words)
        self.said = list(said)


@dataclass(frozen=True)
class Loan:
    """What the examiner gets: a container whose file system it uses, and words that say how the image is started."""

    container: Container | None = None
    words: list[str] = field(default_factory=list)


@contextlib.contextmanager
def lent(lab: Lab, submission: Submission, run: str, arguments: Sequence[str], mark: str) -> Iterator[Loan]:
    """Build a submission's Dockerfile, if it has one, and keep what came of it for the time of the block.

    Args:
        lab: whose engine.
        submission: the folder.
        run: how it is started, with {port}; empty: as the image says, and with the ``arguments``.
        arguments: marks that the examiner fills in, the port last.
        mark: by which a class finds its containers.

    Raises:
        UsageError: the Dockerfile asks for what cannot be done here.
        LabError: a base cannot be had, or the engine failed.
    """
    if not submission.dockerfile:
        yield Loan()
        return
    text = submission.dockerfile.read_text(encoding="utf-8", errors="replace")
    with contextlib.ExitStack() as boxes, engine.trouble(f"the engine failed while it built {submission.path}"):
        try:
            build = _Build(lab, submission, dockerfile.read(text), boxes, mark)
            built, state = build.last()
            words = shlex.split(run) if run else state.start(arguments)
            if not words:
                raise CannotBuild(f"{NAME} has neither CMD nor ENTRYPOINT: add one, or say how to start it with --run")
        except CannotBuild as error:
            yield Loan(words=_told({"trouble": str(error), "said": error.said}))
            return
        environment = {"PORT": PORT, **state.environment}
        said = {"words": words, "folder": state.workdir, "environment": environment, "warnings": build.warnings}
        yield Loan(built.container, _told(said))


def _told(said: dict[str, Any]) -> list[str]:
    text = json.dumps(said)
    if len(text) > _MOST_TOLD:
        raise UsageError(f"{NAME}: its ENV, CMD and ENTRYPOINT have more than {_MOST_TOLD >> 10} KiB together")
    return ["--image", text]


def _plain(image: str) -> str:
    return image.removesuffix(":latest")


class _Build:
    """One build; its containers are removed by ``boxes``.

    Attributes:
        warnings: of the compilers so far.
    """

    def __init__(
        self, lab: Lab, submission: Submission, recipe: dockerfile.Recipe, boxes: contextlib.ExitStack, mark: str
    ) -> None:
        self._mark = mark
        self._lab, self._recipe, self._boxes = lab, recipe, boxes
        self._folder, self._files = submission.path.resolve().name, copying.sent(submission)
        self._hold = box.hold(lab.client, _EXAMINER)
        self._stages: dict[int, Box] = {}
        self._deadline = time.monotonic() + _BUILD_SECONDS
        self.warnings: list[str] = []

    def last(self) -> tuple[Box, State]:
        """Build what is needed of it: the container of the last stage, and what was settled.

        Raises:
            CannotBuild, UsageError, LabError: as ``lent`` says.
        """
        needed = self._recipe.needed()
        for number in needed:
            made, state = self._stage(number, last=number == needed[-1])
            self._stages[number] = made
        for other in needed[:-1]:
            self._stages[other].close()
        self._do(made.seal, NAME)
        return made, state

    def _stage(self, number: int, *, last: bool) -> tuple[Box, State]:
        stage = self._recipe.stages[number]
        self._do(self._check_time, f"{NAME}:{stage.line}: FROM {stage.base}")
        image = self._base(stage.line, stage.base)
        config = self._config(image)
        if config.get("OnBuild"):
            raise UsageError(f"{NAME}:{stage.line}: {stage.base} has ONBUILD steps, which are not supported")
        # What is copied to a folder in memory would not arrive there.
        tmp = any("/tmp" in step.text for step in stage.steps if step.word in ("ADD", "COPY", "WORKDIR"))
        memory = {box.LENT: _SMALL.format(256, 755), **({} if tmp else {"/tmp": _SMALL.format(64, 1777)})}
        made = self._start(image, memory if last else {})
        state = State.of(config, self._recipe.arguments)
        self._do(lambda: made.make_folder(state.workdir), f"{NAME}:{stage.line}: WORKDIR of {stage.base}")
        for step in stage.steps:
            flags = (f"--{name}={value}" for name, value in step.flags.items())
            what = printable(f"{NAME}:{step.line}: {' '.join([step.word, *flags, step.text])}"[:_WIDTH])
            if step.word in ("ADD", "COPY", "RUN"):
                self._lab.say(f"{self._folder}/{what}")
            state.settle(step)
            if step.word == "WORKDIR":
                self._do(lambda: made.make_folder(state.workdir), what)
            elif step.word in ("ADD", "COPY"):
                self._do(lambda step=step: self._copy(step, state, made), what)  # type: ignore[misc]
            elif step.word == "RUN":
                self._run(step, state, made, what)
        return made, state

    def _start(self, image: str, memory: dict[str, str]) -> Box:
        # Volumes would be made on the disk, where nobody bounds them.
        volumes = self._config(image).get("Volumes") or {}
        memory = dict.fromkeys(volumes, _SMALL.format(16, 755)) | memory
        made = Box(self._lab.client, image, self._hold, memory=memory, mark=self._mark)
        return self._boxes.enter_context(contextlib.closing(made))

    def _config(self, image: str) -> dict[str, Any]:
        """What an image says of itself. What the lab's own ones start, and as whom, is nothing for others."""
        config: dict[str, Any] = self._lab.client.images.get(image).attrs["Config"] or {}
        return {"Env": config.get("Env")} if _plain(image) in _OURS else config

    def _do(self, deed: Callable[[], None], what: str) -> None:
        try:
            deed()
        except (ValueError, box.Stopped) as error:
            raise CannotBuild(f"{what}: {error}") from None

    def _check_time(self) -> None:
        """Raises ValueError: the build has had its time."""
        if time.monotonic() > self._deadline:
            raise ValueError(f"the build does not end within {_BUILD_SECONDS:.0f} s")

    # FROM.

    def _base(self, line: int, name: str) -> str:
        """The name under which an image is on the engine. The time to make it so is not the submission's.

        Raises:
            LabError: it is not, and cannot be pulled.
        """
        if name == SCRATCH:
            return self._scratch()
        began = time.monotonic()
        if _plain(name) in _OURS:
            self._lab.build([_plain(name)])
        try:
            self._lab.client.images.get(name)
        except ImageNotFound:
            self._pull(line, name)
        except APIError as error:
            raise UsageError(f"{NAME}:{line}: {name} is no name of an image: {engine.explain(error)}") from None
        self._deadline += time.monotonic() - began
        return name

    def _scratch(self) -> str:
        """An image without any file."""
        try:
            self._lab.client.images.get(_EMPTY)
        except ImageNotFound:
            nothing = io.BytesIO()
            tarfile.open(fileobj=nothing, mode="w").close()
            self._lab.client.api.import_image_from_data(
                nothing.getvalue(), _EMPTY, "latest", changes=["LABEL forklab=image"]
            )
        return _EMPTY

    def _pull(self, line: int, name: str) -> None:
        self._lab.say(f"{NAME}:{line}: pulling {name}")
        try:
            if os.environ.get("FORKLAB_PULL") == "never":
                raise LabError("FORKLAB_PULL=never forbids to ask a registry")
            base.pull(self._lab.client, name, self._lab.say)
        except LabError as error:
            raise LabError(
                f"{NAME}:{line}: there is no image {name} on this engine: {error}. Have it there first "
                f"(`docker pull {name}`), or build on forklab-examiner (gcc, make, cmake, python3) or forklab-server "
                "(python3)"
            ) from None

    # RUN.

    def _run(self, step: Step, state: State, made: Box, what: str) -> None:
        deadline = min(self._deadline, time.monotonic() + _RUN_SECONDS)
        environment = {**state.arguments, **state.environment}
        try:
            ran = made.run(
                state.program(step), user=state.user, folder=state.workdir, environment=environment, deadline=deadline
            )
        except box.Stopped as error:
            limit = f" ({_RUN_SECONDS:.0f} s each, {_BUILD_SECONDS:.0f} s all)" if time.monotonic() > deadline else ""
            raise CannotBuild(f"{what}: {error}{limit}") from None
        self.warnings += [line for line in ran.said if "warning:" in line]
        if ran.code != 0:
            raise CannotBuild(f"{what} ended with exit status {ran.code}{_hint(step, state, ran)}", ran.said)

    # COPY and ADD.

    def _copy(self, step: Step, state: State, made: Box) -> None:
        """Copy from the folder, an earlier stage, or an image.

        Raises:
            ValueError: there is no such file, it cannot be put there, or time is up.
            box.Stopped: it fills the disk.
        """
        names, place = state.copied(step)
        look = copying.look(made, state.word(step, step.flags.get("chown", "")), step.flags.get("chmod", ""))
        sources = self._sources(step, names)
        if len(sources) > 1 and not place.endswith("/"):
            raise ValueError(f"{len(sources)} files need a folder: write {place}/")
        for source in sources:
            into = not source.name or place.endswith("/") or made.look(place)[0] == "dir"
            folder, name = (place.rstrip("/") or "/", source.name) if into else posixpath.split(place)
            made.make_folder(folder)
            with source.tar(name, look) as tar:
                made.put(folder, tar)
            made.look_at_disk()
            self._check_time()

    def _sources(self, step: Step, names: list[str]) -> list[copying.Source]:
        if not step.flags.get("from"):
            add = step.word == "ADD"
            return [source for name in names for source in copying.of_folder(self._files, name, add=add)]
        if step.stage is not None:
            return [copying.of_container(self._stages[step.stage], name) for name in names]
        image = self._base(step.line, step.flags["from"])
        return [copying.of_container(self._start(image, {}), name) for name in names]


def _hint(step: Step, state: State, ran: box.Ran) -> str:
    """What often is the reason."""
    if ran.code == exits.SIGNAL_BASE + signal.SIGKILL:
        return ": it was killed, as when it takes more than 1 GiB of memory"
    if ran.code in _NOT_STARTED and not ran.said:
        return f": is there a user {state.user or 'root'}, and such a program?"
    return "; a RUN has no network" if _NETWORKED.search(step.text) else ""
