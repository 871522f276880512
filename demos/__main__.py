"""``python3 -m demos [DEMO]``: run one demo, or list them in teaching order."""

import argparse
import json
import os
import sys
from typing import NoReturn

from demos._run import module, run
from protocol import exits, lessons


class Parser(argparse.ArgumentParser):
    """Says what was wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Leave with the exit code for wrong usage."""
        self.exit(exits.USAGE, f"demo: {message}\n")


def demo(text: str) -> str:
    """A type for argparse: the id of a demo."""
    if text not in lessons.DEMOS:
        raise argparse.ArgumentTypeError(f'no demo "{text}"; there are: {", ".join(lessons.DEMOS)}')
    return text


def main() -> int:
    """Do what the command line says; the exit code."""
    parser = Parser(prog="demo", description="Run one demo, or list them in teaching order.", allow_abbrev=False)
    parser.add_argument("demo", nargs="?", type=demo, metavar="DEMO", help=" | ".join(lessons.DEMOS))
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    words = parser.parse_args()
    try:
        if words.demo:
            return run(words.demo, as_json=words.json)
        rows = {name: lessons.part(module(name).__doc__ or "", lessons.QUESTION) for name in lessons.DEMOS}
        if words.json:
            print(json.dumps([{"demo": name, "question": question} for name, question in rows.items()], indent=2))
        else:
            print("\n".join(f"{name:<18} {question}" for name, question in rows.items()), flush=True)
        return exits.OK
    except BrokenPipeError:  # nobody reads on: `demo | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.SIGNAL_BASE + 13


if __name__ == "__main__":
    sys.exit(main())
