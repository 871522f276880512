"""Grades a server that somebody wrote: hands it to the examiner in a container, and reports what that found.

``submission.py`` packs it, ``container.py`` runs the examiner, ``conduct.py`` is one run from beginning to end,
``outcome.py`` what came of it, ``terminal.py`` shows it. Where there is a Dockerfile, ``dockerfile.py`` reads it,
``image.py`` does its steps, ``copying.py`` those that copy, ``box.py`` is the container that they are done in. Nothing
here runs anything of the submission outside of a container.
"""
