"""What a scenario is made of, and the stage on which it happens; ``forklab/scenarios/__init__.py`` is the contract."""

from forklab.harness.scenario import Choice, Inconclusive, NotSo, Number, Parameter, Scenario, Text, Words
from forklab.harness.stage import Hand, Pod, Program, Stage

__all__ = [
    "Choice",
    "Hand",
    "Inconclusive",
    "NotSo",
    "Number",
    "Parameter",
    "Pod",
    "Program",
    "Scenario",
    "Stage",
    "Text",
    "Words",
]
