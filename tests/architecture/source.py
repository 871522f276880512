"""What the architecture tests know of the sources: which files there are, and what each one imports."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

UNIT_FOLDERS = {
    "model": "server",
    "service": "server/services",
    "mode": "client",
    "demo": "demos",
    "scenario": "forklab/scenarios",
    "check": "examiner/checks",
    "fault": "probe/faults",
}
"""The folders that are registries: each file in one, but those that begin with ``_``, is a unit of this kind."""


def files(pattern: str) -> list[Path]:
    """Return the Python files that a glob relative to the checkout finds; none where a room does not exist yet."""
    return sorted(ROOT.glob(pattern))


def name(file: Path) -> str:
    """Return a file's path as a reader knows it."""
    return file.relative_to(ROOT).as_posix()


def module(file: Path) -> str:
    """Return a file's name as Python imports it."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@functools.cache
def tree(file: Path) -> ast.Module:
    """Return a file's syntax tree."""
    return ast.parse(file.read_text(encoding="utf-8"), filename=str(file))


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Yield line and full name of each import of a file, wherever it stands."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = ".".join(module(file).split(".")[: -node.level] if node.level else [])
            origin = ".".join(filter(None, [package, node.module]))
            yield from ((node.lineno, _imported(origin, alias.name)) for alias in node.names)


def _imported(origin: str, word: str) -> str:
    """Return the module that ``from origin import word`` loads: a submodule of ours, else ``origin`` itself."""
    place = ROOT.joinpath(*origin.split("."), word)
    return f"{origin}.{word}" if place.with_suffix(".py").exists() or place.is_dir() else origin


def units() -> list[tuple[str, Path]]:
    """Return kind and file of every unit."""
    return [
        (kind, file)
        for kind, folder in UNIT_FOLDERS.items()
        for file in files(f"{folder}/*.py")
        if not file.name.startswith("_")
    ]
