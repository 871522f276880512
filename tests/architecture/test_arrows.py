"""Who may import whom: the arrows of docs/design.md."""

import ast
import fnmatch
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.architecture.source import UNIT_FOLDERS, files, imports, module, name, tree, units

LIBRARY = sorted(sys.stdlib_module_names)
LOOKING = tuple(f"forklab.{room}" for room in ("observe", "timeline", "capture", "faults", "lab", "errors"))
"""What a scenario sees and breaks with; what it starts, it starts through the harness."""


class Rule(NamedTuple):
    """What the files that the globs ``of`` find may import: these modules and what is in them, and nothing else."""

    of: tuple[str, ...]
    allowed: tuple[str, ...]
    stdlib: bool = True


PACKAGES = ("altair", "docker", "jinja2", "requests", "rich", "vl_convert", "yaml")

RULES = (
    Rule(("tasks.py",), ("forklab", "protocol", "invoke", "rich")),
    Rule(
        ("forklab/**/*.py",),
        ("forklab", "protocol", "altair", "docker", "jinja2", "requests", "rich", "vl_convert", "yaml"),
    ),
    Rule(("forklab/scenarios/*.py",), ("forklab.harness", *LOOKING, "altair", "protocol")),
    # These run before anything is installed.
    Rule(
        ("forklab/bootstrap.py", "forklab/lock.py", "forklab/registry.py", "forklab/errors.py"),
        ("forklab.lock", "forklab.registry", "forklab.errors", "protocol"),
    ),
    Rule(("protocol/**/*.py",), ("protocol",), stdlib=False),
    Rule(("server/**/*.py",), ("server", "protocol")),
    Rule(("client/**/*.py",), ("client", "protocol")),
    # netfilterqueue is a package of Debian (python3-netfilterqueue): the one way to hold packets without sch_netem.
    Rule(("probe/**/*.py",), ("probe", "protocol", "netfilterqueue")),
    Rule(("bench/**/*.py",), ("bench", "protocol")),
    Rule(("demos/**/*.py",), ("demos", "protocol")),
    Rule(("examiner/**/*.py",), ("examiner", "probe", "protocol")),
)


def is_in(imported: str, modules: tuple[str, ...]) -> bool:
    """True when a module is one of these, or inside one."""
    return any(imported == each or imported.startswith(f"{each}.") for each in modules)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.of[0])
def test_a_room_imports_only_what_it_may(rule: Rule) -> None:
    """Each import of a room is on its list, or in the standard library."""
    wrong = [
        f"{name(file)}:{line} imports {imported}"
        for pattern in rule.of
        for file in files(pattern)
        for line, imported in imports(file)
        if not is_in(imported, rule.allowed) and not (rule.stdlib and imported.split(".")[0] in LIBRARY)
    ]
    library = "the standard library and " if rule.stdlib else ""
    assert wrong == [], f"allowed here: {library}{', '.join(rule.allowed)}"


@pytest.mark.parametrize("kind", UNIT_FOLDERS)
def test_units_of_a_kind_know_nothing_of_each_other(kind: str) -> None:
    """A model imports no model, a scenario no scenario, and so on: what they share is in a file that begins with _."""
    ours = {module(file): file for each, file in units() if each == kind}
    wrong = [
        f"{name(file)}:{line} imports {imported}"
        for this, file in ours.items()
        for line, imported in imports(file)
        if imported in ours and imported != this
    ]
    assert wrong == [], "move what both need into a file whose name begins with _"


def test_the_tests_stay_outside() -> None:
    """Tests of the lab look from outside: they import nothing that runs in a container; hand.py runs in one itself."""
    wrong = [
        f"{name(file)}:{line} imports {imported}"
        for file in files("tests/lab/**/*.py")
        if file.name != "hand.py"
        for line, imported in imports(file)
        if is_in(imported, ("server", "client", "probe", "bench", "demos", "examiner"))
    ]
    assert wrong == []


def exits_in(node: ast.AST) -> list[int]:
    """Return the lines that end the process by SystemExit, but for those under ``if __name__ == "__main__"``."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'":
        return []
    here = [node.lineno] if isinstance(node, ast.Call | ast.Raise) and is_exit(node) else []
    return here + [line for child in ast.iter_child_nodes(node) for line in exits_in(child)]


def is_exit(node: ast.Call | ast.Raise) -> bool:
    """True for sys.exit(…), exit(…), quit(…) and raise SystemExit."""
    if isinstance(node, ast.Call):
        return ast.unparse(node.func) in ("sys.exit", "exit", "quit")
    return node.exc is not None and ast.unparse(node.exc).startswith("SystemExit")


def may_exit(file: Path) -> bool:
    """True for the programs among the files."""
    return any(fnmatch.fnmatch(name(file), pattern) for pattern in ("tasks.py", "*/__main__.py"))


def test_only_programs_exit() -> None:
    """Everything else returns or raises an error of its own, so that its caller can still answer."""
    rooms = ("forklab", "protocol", "server", "client", "probe", "bench", "demos", "examiner")
    wrong = [
        f"{name(file)}:{line}"
        for room in rooms
        for file in files(f"{room}/**/*.py")
        if not may_exit(file)
        for line in exits_in(tree(file))
    ]
    assert wrong == [], "return an exit code, or raise; only tasks.py and a __main__.py exit"
