"""What breaks the network or the processes of a lab, and mends it again. One fault a file; the folder is the registry.

A fault is a file ``NAME.py`` (id: ``_`` becomes ``-``) with a docstring, whose first line is what lists show, and

``hold(**parameters)``
    A context manager (contextlib) that applies the fault and yields an ``Effect``: which way was used, what was done,
    and what is to be watched meanwhile. Leaving it undoes the fault, and nothing else. It raises ``Refused`` for what
    cannot be done here; then nothing has been done.

``PARAMETERS``
    A literal: the name of each parameter, its ``unit``, its ``default`` and its ``help``; for a number its bounds
    ``least`` and ``most``, for a choice its ``choices``. The host reads it without importing this, checks what a user
    gives, and hands over seconds, fractions of one, bits a second and counts.

It may state more literals, and one more function:

``TARGETS``
    Whose namespaces it can be held in; default: ``("server", "client")``.
``PLACE``
    ``"namespaces"`` (the default): beside the target, in its PID and network namespaces. ``"network"``: in a
    container of its own on the lab's network; ``hold`` then gets ``address``, the server's. ``"server"``: as
    ``"namespaces"``, but ``_inside_NAME.py`` was started in the server's container before; ``hold`` gets ``inside``,
    what that answered.
``USER``
    ``"target"``: run as the user of the target's processes instead of root.
``mend(evidence)``
    A function that undoes what a holder has left that was killed, from what ``Effect.evidence`` told at the begin.
    Tables and queueing disciplines need none: they are known by their names.
``MOMENT``
    True: it is done at once, by ``hold`` or by ``work`` of its effect, and there is nothing to undo.

Files that begin with ``_`` are what faults share. ``_holder.py`` runs one: it applies the fault, can be asked, and
undoes it when it is told to, when time is up, or when it is ended; nobody has to be left on the host for that.
"""
