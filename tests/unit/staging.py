"""Scenarios made for a test, and an engine that only knows which containers are there."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from docker.errors import APIError

from forklab.harness import Choice, Number, Parameter, Scenario, Stage, Text
from forklab.harness.conduct import Result, conduct

QUESTION = Text(en="Does it work?", ko="될까?")
LETTER = Choice(
    ask=Text(en="Which?", ko="어느 것?"),
    answers=(Text(en="this one", ko="이것"), Text(en="that `one`.", ko="저것"), Text(en="none", ko="없음")),
    right=1,
)
NUMBER = Number(ask=Text(en="How many?", ko="몇 개?"), key="left", unit="ms")
CLIENTS = {"clients": Parameter(5, 2, 20, "", "clients that come at once")}


def scenario(run: Callable[[Stage], str], prediction: Choice | Number = LETTER) -> Scenario:
    """A scenario that does ``run``."""
    return Scenario(
        question=QUESTION,
        expectation=Text(en="It works.\n\nAll `the` time.", ko="된다."),
        source="wait(2)",
        explanation=Text(en="It did <work>.", ko="되었다."),
        prediction=prediction,
        run=run,
        parameters=CLIENTS,
    )


class Engine:
    """Stands in for the engine: the containers that were made and not removed."""

    def __init__(self) -> None:
        self.left: list[str] = []
        self.containers = SimpleNamespace(create=self._create)
        self.api = SimpleNamespace(containers=self._list, remove_container=self._remove)
        self.stumbles = 0

    def version(self) -> dict[str, str]:
        """As the engine tells it."""
        return {"Version": "20.10.24", "KernelVersion": "6.18", "Arch": "amd64"}

    def _create(self, **options: Any) -> Any:
        key = options["labels"]["forklab.stage"]
        self.left.append(key)
        return self._container(key)

    def _list(self, *, filters: dict[str, str], **_: Any) -> list[Any]:
        return [{"Id": key} for key in self.left if filters["label"] == f"forklab.stage={key}"]

    def _remove(self, key: str, **_: Any) -> None:
        if self.stumbles:
            self.stumbles -= 1
            raise APIError("500 Server Error", explanation="no such file or directory")
        self.left.remove(key)

    def _container(self, key: str) -> Any:
        def start() -> None:
            raise KeyboardInterrupt

        return SimpleNamespace(start=start, remove=lambda **_: self.left.remove(key))


def play(run: Callable[[Stage], str], prediction: Choice | Number = LETTER, name: str = "zombie") -> Result:
    """The result of a scenario that does ``run``."""
    made = scenario(run, prediction)
    return conduct(Engine(), name, made, made.read({}), lambda news: None)  # type: ignore[arg-type]
