"""The archive with which Gradescope makes an autograder of the examiner: unpacked there, set up, run for each student.

What Gradescope wants of it: ``setup.sh``, which it runs once as root in ``/autograder/source``, and
``run_autograder`` (Gradescope's "Autograder Specifications"). The same folder is a build context: its Dockerfile makes
the image for those who choose "Manual Docker Configuration".
"""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

from forklab.grade.autograder import ORDER, order
from forklab.grade.rubric import Rubric
from forklab.grade.wish import Wish
from forklab.registry import ROOT

BASE = "gradescope/autograder-base:ubuntu-24.04"
"""Has what Gradescope starts in a container besides run_autograder."""

_PACKAGES = ("examiner", "probe", "protocol")
_MODELS = ("server",)
"""Only their names and docstrings are read."""
_GRADING = ("__init__", "autograder", "catalogue", "gradescope", "outcome", "rubric", "submission", "wish")
_OURS = ("__init__", "errors", "printable", "registry")

_SETUP = """#!/usr/bin/env bash
# Gradescope runs this once, as root, on its Ubuntu.
set -euo pipefail
apt-get update
DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends cmake g++ gcc libc6-dev make python3 strace
rm -rf /var/lib/apt/lists/*
"""
_RUN = """#!/usr/bin/env bash
# Gradescope runs this for each submission.
cd /autograder/source && exec python3 -m forklab.grade.autograder
"""
_DOCKERFILE = f"""ARG BASE={BASE}
FROM ${{BASE}}
COPY . /autograder/source/
RUN cd /autograder/source && bash setup.sh && cp run_autograder /autograder/ && chmod 755 /autograder/run_autograder
CMD ["/autograder/run_autograder"]
"""


def packed(wish: Wish, rubric: Rubric) -> bytes:
    """The archive, a zip: the same bytes for the same wish and sources."""
    files = {name: text.encode() for name, text in _written(wish, rubric).items()}
    files |= {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in _sources()}
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (0o755 if content.startswith(b"#!") else 0o644) << 16
            # A checkout on Windows has other line ends, which a shell does not take.
            archive.writestr(entry, content.replace(b"\r\n", b"\n"), zipfile.ZIP_DEFLATED)
    return whole.getvalue()


def _written(wish: Wish, rubric: Rubric) -> dict[str, str]:
    orders = json.dumps(order(wish, rubric), indent=2)
    return {"setup.sh": _SETUP, "run_autograder": _RUN, "Dockerfile": _DOCKERFILE, ORDER: orders}


def _sources() -> Iterator[Path]:
    for package in _PACKAGES:
        yield from (file for file in (ROOT / package).rglob("*.py") if "__pycache__" not in file.parts)
    for package in _MODELS:
        yield from (ROOT / package).glob("*.py")
    yield from (ROOT / "forklab" / f"{name}.py" for name in _OURS)
    yield from (ROOT / "forklab" / "grade" / f"{name}.py" for name in _GRADING)
