"""Knows what there is without importing it: a folder lists the units, a file names one, its docstring sums it up."""

import ast
import contextlib
import difflib
from pathlib import Path
from typing import Any

from forklab.errors import LabError, UsageError

ROOT = Path(__file__).resolve().parent.parent
"""The checkout."""


class Registry:
    """The units of one kind that a folder holds, one a file.

    A file whose name starts with ``_`` is shared code, not a unit. The id is the stem with ``_`` as ``-``; a model's
    trailing ``_loop`` only keeps a module such as ``select_loop.py`` from shadowing the standard library: left out.
    """

    def __init__(self, kind: str, folder: Path) -> None:
        """``kind`` is the word a user reads in an error: model, service, mode."""
        self._kind = kind
        left_out = "_loop" if kind == "model" else ""
        self._files = {
            file.stem.removesuffix(left_out).replace("_", "-"): file
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
        """The first line of the unit's docstring; errors as for :meth:`docstring`."""
        return self.docstring(unit).splitlines()[0]

    def docstring(self, unit: str) -> str:
        """The unit's docstring.

        Raises:
            UsageError: there is no such unit.
            LabError: the file is not Python, or has no docstring.
        """
        docstring = ast.get_docstring(self._tree(unit))
        if not docstring:
            raise LabError(f"{_name(self.file(unit))} has no docstring; its first line is what the lists show: add one")
        return docstring

    def literals(self, unit: str) -> dict[str, Any]:
        """The names in capitals that the unit's file assigns a literal to, and what it is.

        Raises:
            UsageError: there is no such unit.
            LabError: the file is not Python.
        """
        found: dict[str, Any] = {}
        for node in self._tree(unit).body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id.isupper():
                with contextlib.suppress(ValueError):  # no literal
                    found[node.targets[0].id] = ast.literal_eval(node.value)
        return found

    def keywords(self, unit: str, name: str) -> dict[str, Any]:
        """The literals among the keyword arguments of the call that the unit's file assigns to ``name``.

        Raises:
            UsageError: there is no such unit.
            LabError: the file is not Python.
        """
        found: dict[str, Any] = {}
        for node in self._tree(unit).body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and _is(node.targets[0], name):
                for keyword in node.value.keywords:
                    with contextlib.suppress(ValueError):  # no literal
                        found[keyword.arg or ""] = ast.literal_eval(keyword.value)
        return found

    def file(self, unit: str) -> Path:
        """The unit's file.

        Raises:
            UsageError: there is no such unit.
        """
        return self._files[self.check(unit)]

    def _tree(self, unit: str) -> ast.Module:
        file = self.file(unit)
        try:
            return ast.parse(file.read_text(encoding="utf-8"))
        except SyntaxError as error:
            raise LabError(f"{_name(file)}, line {error.lineno}: {error.msg}") from None


def _is(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _name(file: Path) -> str:
    return f"{file.parent.name}/{file.name}"


MODELS = Registry("model", ROOT / "server")
SERVICES = Registry("service", ROOT / "server" / "services")
MODES = Registry("mode", ROOT / "client")
DEMOS = Registry("demo", ROOT / "demos")
FAULTS = Registry("fault", ROOT / "probe" / "faults")
SCENARIOS = Registry("scenario", ROOT / "forklab" / "scenarios")
CHECKS = Registry("check", ROOT / "examiner" / "checks")
