"""The live view on a terminal: a stream of snapshots, what changed between them, and keys to go back in time.

``stream`` fetches, ``changes`` compares, ``history`` remembers, ``screen`` draws, ``keys`` listens, ``loop`` joins.
"""
