"""The lab's client: sends standard input to the server, prints what comes back.

``python3 -m client [MODE]``; each mode is one file here without a leading underscore, with a function
``converse(connection, raw)``. Standard library and ``protocol`` only.
"""
