"""The examiner: starts a server that somebody wrote, provokes it, and says which bugs it has.

One check is one file in ``examiner/checks/``; the file's name is its id, the first line of its docstring its summary.
It has one function and one description::

    def run(exam: Exam) -> str:
        subject = exam.start()
        client = exam.connect(subject)
        exam.provoked(client.served(), "a client was served")
        exam.expect(subject.alive(), "the server has died")
        return "the server lives on"

    CHECK = Check(requirement=…, reference=…, expected=…, cause=…, mend=…, run=run)

Everything but ``run`` is a literal, for the host reads it without importing it. What ``run`` returns are the words of
PASS: what the server really did. Every other verdict is raised: ``exam.expect`` raises FAIL, and there are ``Failed``,
``Warned``, ``Told`` (INFO), ``Skipped`` and ``Inconclusive``. ``exam.note`` adds a line of evidence.

What the frame does for every check, so that no check has to (``_exam.py``):

- The subject is started fresh, in a folder and under a user of its own, and is gone afterwards with all its processes.
- A round trip before, or the check is INCONCLUSIVE; after a PASS a round trip again, or it is INCONCLUSIVE, too.
- A PASS or FAIL of a check that never called ``exam.provoked`` becomes INCONCLUSIVE: nothing is proven.
- A check whose ``models`` or ``services`` do not fit is SKIP, and never runs.
- Patience is measured in the subject's own time (``Subject.eventually``): moments in which it had nothing more to do
  count, those in which it waited for a busy processor do not.
- What is done to the subject and what is seen of it is recorded for the time-line of its report (``_moments.py``).

The examiner is root in its container with few capabilities, the subject a user without any. It writes JSON lines on its
standard output, which no subject can reach: events while it goes on, and at last one with the whole result.

A submission with a Dockerfile has been built by the host, in a container whose first process is ``hold.c``. The
examiner shares its PID namespace, and starts the subject with its file system as the root (``_jail.User.root``).
"""
