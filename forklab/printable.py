"""Makes text of others harmless to whoever shows it: a terminal obeys some characters instead of showing them."""

import re
from typing import Any, TypeVar

_OBEYED = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff]")
"""Control characters but for tab and line feed (ECMA-48), those that turn the direction of writing (Unicode UAX 9), and
what stands for a byte that is no text (PEP 383), which no file and no page takes."""

Content = TypeVar("Content")


def printable(content: Content) -> Content:
    r"""The same, where each such character is shown as what Python writes for it, such as ``\x1b``.

    Args:
        content: a text, or lists and dictionaries with texts in them.
    """
    made: Any = content
    if isinstance(content, str):
        made = _OBEYED.sub(lambda found: ascii(found[0])[1:-1], content)
    elif isinstance(content, dict):
        made = {key: printable(value) for key, value in content.items()}
    elif isinstance(content, list):
        made = [printable(value) for value in content]
    found: Content = made
    return found
