"""What each check is worth: points by group, by check, and what nobody may fail; read from a teacher's YAML file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forklab.errors import UsageError
from forklab.grade.catalogue import GROUPS, WEIGHTS
from forklab.registry import CHECKS

_KEYS = ("total", "groups", "checks", "required")
_MOST_BYTES = 1 << 20
_MOST_POINTS = 1_000_000


@dataclass(frozen=True)
class Rubric:
    """The points of a grading.

    Attributes:
        total: what a submission without any fault gets.
        groups: the points of each check of a group, in relation to all others.
        checks: the same of single checks, instead of their group's.
        required: who fails one of these gets no points at all.
    """

    total: float = 100
    groups: Mapping[str, float] = field(default_factory=lambda: WEIGHTS)
    checks: Mapping[str, float] = field(default_factory=dict)
    required: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> "Rubric":
        """From a file; docs/rubric.yaml is one.

        Raises:
            UsageError: it cannot be read, or says what no rubric says.
        """
        said = _load(path)
        try:
            _known(said, _KEYS, "key")
            groups = _points(said.get("groups"), "groups", GROUPS)
            checks = _points(said.get("checks"), "checks", CHECKS.ids())
            total = _number(said.get("total", cls.total), "total")
            if not total:
                raise UsageError('"total" must be more than 0')
            return cls(total, {**WEIGHTS, **groups}, checks, _names(said.get("required")))
        except UsageError as error:
            raise UsageError(f"{path} is no rubric: {error}; docs/rubric.yaml is an example") from None

    def worth(self, check: str, group: str) -> float:
        """The points of a check, in relation to those of all others."""
        return self.checks.get(check, self.groups.get(group, 0))


def _load(path: Path) -> dict[str, Any]:
    import yaml

    class Once(yaml.SafeLoader):
        """Refuses a key that is there twice, of which YAML takes the last one."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            met: set[str] = set()
            for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
                if key.value in met:
                    raise yaml.MarkedYAMLError(problem=f'"{key.value}" is there twice', problem_mark=key.start_mark)
                met.add(key.value)
            return super().construct_mapping(node, deep)

    try:
        text = path.read_bytes()[: _MOST_BYTES + 1]
    except OSError as error:
        raise UsageError(f"cannot read the rubric {path}: {error.strerror}") from None
    if len(text) > _MOST_BYTES:
        raise UsageError(f"{path} is no rubric: it has more than {_MOST_BYTES >> 20} MiB")
    try:
        said = yaml.load(text, Once)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date or a number that is none
        words = " ".join(str(error).split())
        raise UsageError(f"{path} is no YAML: {words[:300]}") from None
    if said is not None and not isinstance(said, dict):
        raise UsageError(f"{path} is no rubric: it has no keys; docs/rubric.yaml is an example")
    return said or {}


def _points(said: Any, name: str, known: Any) -> dict[str, float]:
    if said is None:
        return {}
    if not isinstance(said, dict):
        raise UsageError(f'"{name}" must have lines such as "{next(iter(known))}: 3"')
    _known(said, known, name.removesuffix("s"))
    return {key: _number(value, f"{name}: {key}") for key, value in said.items()}


def _known(said: dict[Any, Any], known: Any, kind: str) -> None:
    for key in said:
        if key not in known:
            raise UsageError(f'there is no {kind} "{key}", but {", ".join(known)}')


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _MOST_POINTS:
        raise UsageError(f'"{name}" is {value!r}, which is no number from 0 to {_MOST_POINTS:,}')
    return value


def _names(said: Any) -> tuple[str, ...]:
    if said is None:
        return ()
    if not isinstance(said, list):
        raise UsageError('"required" must be a list, such as [listens, echo-bytes]')
    return tuple(CHECKS.check(str(name)) for name in said)
