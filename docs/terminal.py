"""Draws what a command printed as an SVG picture of a terminal, for the README.

How the one there was made:

    FORCE_COLOR=1 ./lab up 2>&1 | .venv/bin/python docs/terminal.py './lab up' > docs/up.svg
"""

import io
import re
import sys

from rich.console import Console
from rich.text import Text


def main() -> None:
    """Read the output from standard input, write the picture to standard output."""
    (command,) = sys.argv[1:]
    console = Console(record=True, width=84, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ {command}", style="bold"))
    console.print(Text.from_ansi(sys.stdin.read().rstrip()))
    picture = console.export_svg(title="forklab")
    # The fonts rich names are on a server of their own; a picture must not need one.
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    print("\n".join(line.rstrip() for line in picture.rstrip().splitlines()))


main()
