"""What ends the client before its work is done, in words a user can act on."""

from protocol import exits


class ClientError(Exception):
    """Ends the client. The message says what was wrong, with which value, and what to do next."""

    exit_code: int


class UsageError(ClientError):
    """The words on the command line were wrong; nothing was done."""

    exit_code = exits.USAGE


class CannotStart(ClientError):
    """The conversation could not begin: nobody to connect to, or no second process."""

    exit_code = exits.LAB_FAILED


class Broken(ClientError):
    """The conversation broke before it was complete."""

    exit_code = exits.FAILED
