"""Small complete programs, one a file: each asks a question, provokes the answer, and reads it from the kernel.

A demo is a module with a docstring (summary; ``Question:``, ``Theory:``, ``Source:``) and ``main(show)``, which returns
the words of a PASS. ``show(line)`` is a line of evidence, ``show.measure(name=value)`` a value for ``--json``;
``show.expect(true, claim)`` ends the demo with FAIL when a claim does not hold.
"""
