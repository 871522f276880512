"""What goes wrong in words a user can act on; only ``tasks.py`` turns one of these into an exit."""

from protocol import exits


class LabError(Exception):
    """The lab itself failed. The message says what was wrong, with which value, and what to do next."""

    exit_code = exits.LAB_FAILED


class UsageError(LabError):
    """The words on the command line were wrong; nothing was done."""

    exit_code = exits.USAGE


class Inconclusive(LabError):
    """What had to be provoked cannot be, or did not happen; the message says why. Never counts as good."""

    exit_code = exits.INCONCLUSIVE
