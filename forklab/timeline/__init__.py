"""Turns a recording of the probe into what happened: events, lanes, descriptor tables, connections. No Docker here.

``strace`` reads lines, ``tcp`` follows segments, ``replay`` puts both on one clock, ``calls`` and ``tables`` keep what
the kernel keeps; ``text``, ``page``, ``picture`` and ``perfetto`` show it. docs/trace.md describes the events.
"""
