"""Tries to speak to the terminal of the teacher: colours, a title, a cleared screen, a line that is written over."""

import sys

sys.stdout.write(
    "\x1b[2J\x1b[H\x1b]0;owned\x07\x9b31mred\x1b[0m\r100 of 100 points \u202e backwards\x7f\x00[bold]rich[/bold]\n"
)
sys.exit(3)
