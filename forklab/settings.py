"""What a user can choose about the lab, checked here and handed to docker-compose.yml as its variables."""

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from forklab.errors import LabError, UsageError
from forklab.registry import MODELS, ROOT, SERVICES

_MINIMUM_PIDS = 16
"""Below this the container's init, the server and its health check leave no room for a child."""

TRACED = "rw"

_SET_BY_THE_LAB = {"--host", "--port", "--service"}

_PLAIN = re.compile(r"[A-Za-z0-9 _.,:=/+-]*")
"""Enough for every flag of the server, and nothing that a shell, YAML or .env reads in its own way."""


@dataclass(frozen=True)
class Settings:
    """One lab.

    ``port`` is a port of this computer, or empty: the engine picks a free one. ``options`` are flags of the server,
    ``pids`` how many processes its container may have. ``trace`` is ``rw`` (how the recording is mounted) or empty: the
    lab is not traced.
    """

    model: str = "fork"
    service: str = "echo"
    port: str = ""
    options: str = ""
    pids: str = "2048"
    trace: str = ""

    def __post_init__(self) -> None:
        MODELS.check(self.model)
        SERVICES.check(self.service)
        if self.port and not (_is_number(self.port) and 1 <= int(self.port) <= 65535):
            raise UsageError(f'port "{self.port}" is not a number from 1 to 65535; leave it out and a free one is used')
        if not (_is_number(self.pids) and int(self.pids) >= _MINIMUM_PIDS):
            raise UsageError(f'pids "{self.pids}" is not a number of processes from {_MINIMUM_PIDS} on')
        if self.trace not in ("", TRACED):
            raise UsageError(f'FORKLAB_TRACE="{self.trace}" is neither "{TRACED}" nor empty; use ./lab up --trace')
        if not _PLAIN.fullmatch(self.options):
            raise UsageError(f'options "{self.options}": only plain server flags, such as "--max-connections 5"')
        for word in self.options.split():
            if word.partition("=")[0] in _SET_BY_THE_LAB:
                raise UsageError(f'options "{self.options}": {word} is set by the lab itself, see ./lab --help up')

    @classmethod
    def choose(cls, given: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> "Settings":
        """What was ``given`` on the command line, else in ``environ`` (FORKLAB_MODEL, …), else the default.

        Raises:
            UsageError: a value is not one the lab can use.
        """
        chosen = {field: given.get(field) or environ.get(variable) for field, variable in _VARIABLES.items()}
        return cls(**{field: value for field, value in chosen.items() if value})

    def environment(self) -> dict[str, str]:
        """Every variable of docker-compose.yml that a user chooses."""
        return {variable: getattr(self, field) for field, variable in _VARIABLES.items()}

    def remember(self, folder: Path = ROOT, environ: Mapping[str, str] = os.environ) -> None:
        """Write the choice to ``folder``/.env, where a plain ``docker compose run --rm client`` finds it.

        Without it that command would see the default model and start the server anew. Lines that are not ours stay.
        A lab of another name (COMPOSE_PROJECT_NAME) is not remembered: .env is read for the checkout's own one.

        Raises:
            LabError: the file cannot be written.
        """
        if environ.get("COMPOSE_PROJECT_NAME"):
            return
        file = folder / ".env"
        try:
            before = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
            theirs = [line for line in before if line.partition("=")[0].strip() not in _VARIABLES.values()]
            ours = [f"{variable}='{value}'" for variable, value in self.environment().items()]
            if before != theirs + ours:
                _replace(file, "\n".join(theirs + ours) + "\n")
        except OSError as error:
            raise LabError(f"cannot write {file}: {error.strerror}; the lab keeps its choice there") from None


_VARIABLES = {
    "model": "FORKLAB_MODEL",
    "service": "FORKLAB_SERVICE",
    "port": "FORKLAB_PORT",
    "options": "FORKLAB_SERVER_OPTIONS",
    "pids": "FORKLAB_PIDS",
    "trace": "FORKLAB_TRACE",
}


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _replace(file: Path, text: str) -> None:
    """Atomically: a reader sees the old file or the new one, never half of it."""
    new = file.with_name(".env.new")
    new.write_text(text, encoding="utf-8", newline="\n")
    if file.exists():
        shutil.copymode(file, new)
    new.replace(file)
