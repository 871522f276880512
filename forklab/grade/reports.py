"""The files that a grading can be kept in; that they can be written is seen before the grading begins."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from forklab import show
from forklab.capture.newfile import check_new, write_new
from forklab.errors import UsageError
from forklab.grade import gradescope, junit, page
from forklab.grade.outcome import Outcome

_KINDS: dict[str, Callable[[Outcome], str]] = {
    "html": page.page,
    "junit": junit.document,
    "gradescope": lambda outcome: json.dumps(gradescope.document(outcome), indent=2),
    "json": lambda outcome: show.text(outcome.document()),
}


class Wanted:
    """The files that the user asked for."""

    def __init__(self, names: Mapping[str, str]) -> None:
        """``names`` are paths by kind, empty where none is wanted.

        Raises:
            UsageError: one of them exists, or cannot be made.
        """
        self._files = {kind: check_new(Path(name)) for kind, name in names.items() if name}

    def write(self, outcome: Outcome) -> Iterator[Path]:
        """Write each; yields it.

        Raises:
            UsageError, LabError: it cannot be written.
        """
        for kind, file in self._files.items():
            write_new(file, _KINDS[kind](outcome))
            yield file


def refuse(names: Mapping[str, str]) -> None:
    """A class has other files.

    Raises:
        UsageError: one of these is wanted.
    """
    if wanted := [kind for kind, name in names.items() if name]:
        raise UsageError(f"--{wanted[0]} is for one submission; with --each all pages go into the folder of --out")
