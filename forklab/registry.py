"""Knows what there is without importing it: a folder lists the units, a file names one, its docstring sums it up."""

import ast
import difflib
from pathlib import Path

from forklab.errors import LabError, UsageError

ROOT = Path(__file__).resolve().parent.parent
"""The checkout."""


class Registry:
    """The units of one kind that a folder holds, one a file.

    A file whose name starts with ``_`` is shared code, not a unit. The id is the stem with ``_`` as ``-``; a trailing
    ``_loop`` only keeps a module such as ``select_loop.py`` from shadowing the standard library and is left out.
    """

    def __init__(self, kind: str, folder: Path) -> None:
        """``kind`` is the word a user reads in an error: model, service, mode."""
        self._kind = kind
        self._files = {
            file.stem.removesuffix("_loop").replace("_", "-"): file
            for file in sorted(folder.glob("*.py"))
            if not file.stem.startswith("_")
        }

    def ids(self) -> list[str]:
        """All ids, sorted."""
        return sorted(self._files)

    def check(self, unit: str) -> str:
        """``unit`` itself.

        Raises:
            UsageError: there is no such unit; the message lists what there is and the nearest name.
        """
        if unit in self._files:
            return unit
        near = difflib.get_close_matches(unit, self._files, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise UsageError(f'no {self._kind} "{unit}"; there are: {", ".join(self.ids()) or "none"}{hint}')

    def summary(self, unit: str) -> str:
        """The first line of the unit's docstring.

        Raises:
            UsageError: there is no such unit.
            LabError: the file is not Python, or has no docstring.
        """
        file = self._files[self.check(unit)]
        name = f"{file.parent.name}/{file.name}"
        try:
            docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
        except SyntaxError as error:
            raise LabError(f"{name}, line {error.lineno}: {error.msg}") from None
        if not docstring:
            raise LabError(f"{name} has no docstring; its first line is what the lists show: add one")
        return docstring.splitlines()[0]


MODELS = Registry("model", ROOT / "server")
SERVICES = Registry("service", ROOT / "server" / "services")
MODES = Registry("mode", ROOT / "client")
