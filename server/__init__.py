"""The ways to serve many clients: one model a file, one service a file in ``services/``.

A model has one function, ``serve(listener, handle, stop)``:

``listener``
    Where clients arrive (``_listener.py``). ``wait(stop)`` sleeps until one is there, ``accept()`` takes it.
``handle``
    ``handle(connection, peer)`` holds one whole conversation, blocking; ``handle.begin(connection, peer)`` begins one
    that an event loop goes on with. Neither raises for what a peer does (``_conversation.py``).
``stop``
    What the outside wants (``_stop.py``): ``asked`` once the server shall end, ``now`` once time is up.

``serve`` returns when the server was told to stop and no conversation is left. Read ``fork.py`` first.
"""
