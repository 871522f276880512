"""What a check works with: starts subjects, keeps the evidence, and turns what is raised into a verdict."""

import contextlib
import errno
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examiner import _client, _jail
from examiner._client import Client, DoesNotConnect
from examiner._connection import Connection
from examiner._moments import Moments
from examiner._subject import GRACE, DoesNotListen, Program, Subject
from probe import sockets as tcp
from protocol import verdicts

SOURCES = {".c", ".h", ".cc", ".cpp", ".py"}
MOST_SOURCE, MOST_SOURCES = 1 << 20, 16 << 20
"""Bytes of a file that are read, and of all files."""
_MOST_LINES, _LONGEST_LINE = 200, 2000
"""Of evidence: a subject may have hundreds of processes."""


TOLD = (verdicts.FAIL, verdicts.WARN, verdicts.INCONCLUSIVE)
"""Verdicts that come with their moments."""


class Outcome(Exception):
    """Ends a check; the message says what the subject really did, or why nobody knows."""

    verdict = verdicts.ERROR


class Failed(Outcome):
    """The requirement is not met. ``cause`` and ``mend`` replace the check's own where the case is a special one."""

    verdict = verdicts.FAIL

    def __init__(self, actual: str, *, cause: str = "", mend: str = "") -> None:
        super().__init__(actual)
        self.cause, self.mend = cause, mend


class Warned(Failed):
    """Allowed, not good."""

    verdict = verdicts.WARN


class Told(Outcome):
    """Neither good nor bad, and worth knowing."""

    verdict = verdicts.INFO


class Skipped(Outcome):
    """The check does not apply to this subject."""

    verdict = verdicts.SKIP


class Inconclusive(Outcome):
    """What had to be provoked did not happen, or it cannot be measured here."""

    verdict = verdicts.INCONCLUSIVE


@dataclass
class Lane:
    """Where subjects run one after the other: as a user of their own, in a folder and on ports of their own."""

    user: _jail.User
    folder: Path
    port: int
    """The next one that nobody has used."""

    @classmethod
    def number(cls, lane: int, folder: Path, first_uid: int | None, root: Path = _jail.OURS) -> "Lane":
        """Lane 0, 1, … ``first_uid`` is None where we cannot be several users; ``root`` as ``_jail.User`` has it.

        The ports lie below those that the kernel gives to clients (ip_local_port_range of ip(7)), so no client of
        another lane has one by chance.
        """
        uid = None if first_uid is None else first_uid + lane
        return cls(_jail.User(uid, root), folder / f"lane{lane}", 20_000 + 2_000 * lane)


class Exam:
    """One run of one check.

    Attributes:
        service: what the subject should do: ``echo``, ``store`` or ``line``.
        demanded: the model it should be, or ``any``.
        model: the model that was found (``_detect.py``); ``unknown`` until then.
        evidence: the lines so far.
        moments: what was done and seen so far, for the time-line.
    """

    def __init__(self, program: Program, lane: Lane, *, service: str, demanded: str, model: str = "unknown") -> None:
        self.service, self.demanded, self.model = service, demanded, model
        self.evidence: list[str] = []
        self.moments = Moments()
        self._program, self._lane = program, lane
        self._subjects: list[tuple[Subject, bool]] = []
        self._connections: list[Connection] = []
        self._provoked = False

    # Words.

    def note(self, line: str) -> None:
        """Add a line of evidence: what the kernel said, with PIDs, states, ports."""
        if len(self.evidence) < _MOST_LINES:
            self.evidence.append(line[:_LONGEST_LINE])
            self.moments.note("note", line[:_LONGEST_LINE])

    def provoked(self, true: object, claim: str) -> None:
        """What had to be brought about is proven to have happened, or the check is INCONCLUSIVE."""
        if not true:
            raise Inconclusive(f"it could not be brought about that {claim}")
        self._provoked = True

    def expect(self, true: object, actual: str) -> None:
        """Go on if it is so; else FAIL, with what the subject did instead."""
        if not true:
            raise Failed(actual)

    # Subjects.

    def sources(self) -> dict[str, str]:
        """The text of its C and Python sources, by name."""
        found, left = {}, MOST_SOURCES
        folder = self._program.sources or self._program.folder
        for path in sorted(folder.rglob("*")):
            if path.suffix in SOURCES and path.is_file() and not path.is_symlink():
                with path.open("rb") as file:
                    text = file.read(min(left, MOST_SOURCE))
                left -= len(text)
                found[path.relative_to(folder).as_posix()] = text.decode(errors="replace")
        return found

    def start(
        self, *, limits: _jail.Limits | None = None, port: int | None = None, survives: bool = True, greet: bool = True
    ) -> Subject:
        """Start the subject afresh, and make sure that it serves a client.

        Args:
            limits: other soft and hard limits than ``_jail.LIMITS``, by RLIMIT_*.
            port: this one, instead of one that nobody had before.
            survives: whether it must still serve after the check.
            greet: False leaves the round trip before the check out: for checks of that itself.

        Raises:
            Inconclusive: it does not listen, or does not serve even one client.
        """
        try:
            subject = self.launch(limits=limits, port=port, survives=survives)
        except DoesNotListen as error:
            self.evidence += error.evidence
            raise Inconclusive(f"the server did not start: {error}; see the check listens") from None
        if greet and not self._greeted(subject):
            raise Inconclusive("the server does not serve even one client well; see the checks listens and echo-bytes")
        if greet:
            # Until the first client's child has ended and was waited for: what happens then is not the check's doing.
            subject.at_rest(0.05, most=GRACE)
            if not subject.alive():
                raise Inconclusive(f"when its first client has left, {subject.status()}; see the check eintr-accept")
        self.moments.add("ready")
        return subject

    def launch(self, *, limits: _jail.Limits | None = None, port: int | None = None, survives: bool = False) -> Subject:
        """As :meth:`start`, for checks whose subject may fail to start; without a round trip.

        Raises:
            DoesNotListen: it does not.
        """
        if port is None:
            port = self._free_port()
        folder = self._lane.folder / str(len(self._subjects))
        subject = Subject(self._program, folder, self._lane.user, port, self.moments, limits)
        self._subjects.append((subject, survives))
        return subject

    def meet(self) -> Client:
        """Start the client afresh, be its server, and make sure that a line goes each way.

        Raises:
            Inconclusive: it cannot be started, does not connect, or no line passes.
        """
        try:
            return self.come()
        except DoesNotConnect as error:
            raise Inconclusive(f"{error}; see the check client-bytes") from None

    def come(self) -> Client:
        """As :meth:`meet`, for the check whose business it is whether it comes.

        Raises:
            DoesNotConnect: it does not.
        """
        folder = self._lane.folder / str(len(self._subjects))
        client = Client(self._program, folder, self._lane.user, self._free_port(), self.moments)
        self._subjects.append((client, False))
        self._connections.append(client.wire)
        _client.greet(client)
        self.moments.add("ready")
        return client

    def shared(self) -> list[str]:
        """What the subject has where another run of it would meet it: files, and ports that it was not given."""
        files = [str(path) for place in _jail.SHARED for path in self._lane.user.left_in(place)]
        return files + [local for subject, _ in self._subjects for local in subject.elsewhere()]

    def _free_port(self) -> int:
        """One that no socket has, not even in TIME_WAIT: it would be in the way of who lacks SO_REUSEADDR."""
        taken = {int(row["local"].rpartition(":")[2]) for row in tcp.sockets()}
        while self._lane.port in taken:
            self._lane.port += 1
        self._lane.port += 1
        return self._lane.port - 1

    def connect(self, subject: Subject, *, small: bool = False) -> Connection:
        """A client's connection, closed when the check is over. It counts as served only once it got an answer.

        Args:
            subject: whose client it is.
            small: with buffers that are full soon, on both sides.

        Raises:
            Failed: it is refused: the subject does not listen any more.
            Inconclusive: the kernel does not answer: the backlog is full.
        """
        try:
            connection = subject.connect(small=small)
        except OSError as error:
            self.moments.note("refused", error.strerror or str(error))
            if error.errno == errno.ECONNREFUSED:
                raise Failed(f"a client is refused: nobody listens on port {subject.port}; {_state(subject)}") from None
            raise Inconclusive(f"a client cannot connect: {error.strerror or error}") from None
        connection.tell = self.moments.client(connection.local)
        self._connections.append(connection)
        return connection

    def rows(self, port: int, state: str) -> list[dict[str, Any]]:
        """The TCP sockets of a port that are in a state, also when the subject has gone (``probe.sockets``)."""
        rows = [row for row in tcp.sockets() if row["local"].endswith(f":{port}")]
        self.moments.sockets(rows)
        return [row for row in rows if row["state"] == state]

    def clients(self, subject: Subject, count: int) -> list[Connection]:
        """So many clients at once, each served: a byte has come back.

        Raises:
            Inconclusive: one was not.
        """
        made = [self.connect(subject) for _ in range(count)]
        for number, one in enumerate(made, 1):
            if not one.served():
                raise Inconclusive(f"client {number} of {count} at once is not served; see the check concurrent")
        # A child may serve its client, and end, while its parent has not come further than fork: what such a parent has
        # still to note or to close is no check's finding.
        subject.sleeps()
        return made

    def at_once(self, count: int) -> int:
        """So many clients, or one where each waits for the one before it."""
        return 1 if self.model == "iterative" else count

    def _greeted(self, subject: Subject) -> bool:
        """A round trip: a line there and back, and not a byte more; then it is at its next client again."""
        try:
            connection = subject.connect()
        except OSError:
            return False
        try:
            served = connection.served() and not connection.got
            subject.sleeps()  # an end of its child that it cannot bear is then borne by no check
            return served
        finally:
            connection.close()
            # On a busy machine ksoftirqd brings the FIN, when it gets to run; whoever is to read it sleeps until then.
            subject.eventually(lambda: not self._established(subject, connection))

    def _established(self, subject: Subject, connection: Connection) -> bool:
        """Whether the subject's kernel takes a connection for one that neither side has ended."""
        return any((row["remote"], row["state"]) == (connection.local, "ESTABLISHED") for row in subject.sockets())

    def _greeted_at_rest(self, subject: Subject) -> bool:
        """A round trip when it is through with those who left together: it may have been full until then."""
        subject.at_rest()
        return self._greeted(subject)

    # The frame.

    def examine(self, run: Callable[["Exam"], str]) -> tuple[str, Outcome | str]:
        """Run a check to its verdict, and clean up; the verdict, and what was raised or the words of PASS.

        Raises:
            _jail.StillThere: processes of the subject are left.
        """
        said: Outcome | str
        try:
            said = run(self)
            verdict = verdicts.PASS
        except Outcome as outcome:
            said, verdict = outcome, outcome.verdict
        except DoesNotListen as error:
            self.evidence += error.evidence
            said, verdict = str(error), verdicts.INCONCLUSIVE
        except OSError as error:
            if error.errno not in (errno.ESRCH, errno.EBUSY):
                raise
            said = f"a process of it ended, or did not stop, while the check worked on it: {error.strerror}"
            verdict = verdicts.INCONCLUSIVE
        try:
            verdict, said = self._believe(verdict, said)
            self._last_look(verdict)
            self.moments.end(verdict, str(said))
            return verdict, said
        finally:
            self.close()

    def _last_look(self, verdict: str) -> None:
        """How things stand at a verdict of which the time-line is told."""
        if verdict in TOLD and self._subjects and not self._subjects[-1][0].over:
            subject = self._subjects[-1][0]
            for look in (subject.sockets, subject.holders, subject.sockets):
                look()

    def _believe(self, verdict: str, said: Outcome | str) -> tuple[str, Outcome | str]:
        """A verdict that nothing was provoked for is none; a PASS of a server that serves nobody any more is none."""
        if verdict in (verdicts.PASS, verdicts.FAIL, verdicts.WARN) and not self._provoked:
            return verdicts.INCONCLUSIVE, f"nothing was proven to have been provoked; else: {verdict}, {said}"
        if verdict == verdicts.PASS:
            self._hang_up()
            for subject, survives in self._subjects:
                if survives and not self._greeted(subject) and not self._greeted_at_rest(subject):
                    words = f"{said}; but afterwards the server serves nobody any more: {_state(subject)}"
                    return verdicts.INCONCLUSIVE, words
        return verdict, said

    def close(self) -> None:
        """End all that was started.

        Raises:
            _jail.StillThere: processes of the subject are left.
        """
        self._hang_up()
        for subject, _ in self._subjects:
            subject.end()
        self._lane.user.remove(self._lane.folder / "0")
        for number in range(1, len(self._subjects)):
            self._lane.user.remove(self._lane.folder / str(number))

    def _hang_up(self) -> None:
        for connection in self._connections:
            if connection.fileno() >= 0:
                with contextlib.suppress(OSError):
                    connection.close()


def _state(subject: Subject) -> str:
    subject.eventually(lambda: not subject.alive(), 0.3)  # its descriptors are closed before it has ended
    return "it runs" if subject.alive() else subject.status()
