"""What a demo says with: lines of evidence, measured values, and claims that must hold."""

import json
import os
from typing import Any


class NotSo(Exception):
    """What theory predicts did not happen: the verdict is FAIL."""


class Inconclusive(Exception):
    """It cannot be seen here, and the message says why: the verdict is INCONCLUSIVE."""


class Show:
    """Prints for a person as it happens, and keeps all of it in ``notes``, a file, for who started the demo."""

    def __init__(self, notes: int, *, quiet: bool) -> None:
        self._notes, self._quiet = notes, quiet

    def __call__(self, line: str) -> None:
        """Show one line of evidence."""
        self.note("evidence", line)
        if not self._quiet:
            print(f"  {line}", flush=True)

    def measure(self, **values: Any) -> None:
        """Keep values for ``--json``, under names that carry their unit."""
        self.note("measured", values)

    def expect(self, true: bool, claim: str) -> None:
        """Go on only if ``claim`` is true; else NotSo is raised with it."""
        if not true:
            raise NotSo(f"not so: {claim}")

    def note(self, kind: str, content: Any) -> None:
        """Keep ``content`` as one line of JSON."""
        os.write(self._notes, json.dumps([kind, content]).encode() + b"\n")
