"""One grading from beginning to end: the image, the container, the progress, the outcome."""

from pathlib import Path

from docker import DockerClient

from forklab import engine
from forklab.grade import container, image
from forklab.grade.catalogue import CLIENT
from forklab.grade.outcome import Outcome
from forklab.grade.rubric import Rubric
from forklab.grade.submission import Submission
from forklab.grade.wish import Tell, Wish, gather
from forklab.lab import Lab

_MOST_LANES = 4


def grade(lab: Lab, path: Path, wish: Wish, tell: Tell, rubric: Rubric | None = None) -> Outcome:
    """Have a submission examined; ``tell`` gets each event of the examiner as it comes.

    Raises:
        UsageError: there is nothing to grade at ``path``.
        LabError: the image cannot be made, or the examiner broke.
    """
    submission = Submission.at(path)
    packed = submission.packed()
    lab.build([container.IMAGE])
    lanes = min(_MOST_LANES, processors(lab.client))
    return examine(lab, submission, packed, wish, tell, lanes=lanes, rubric=rubric)


def processors(client: DockerClient) -> int:
    """How many the engine has.

    Raises:
        LabError: it does not tell.
    """
    with engine.trouble("the engine does not tell of its processors"):
        return max(1, int(client.info()["NCPU"]))


def examine(
    lab: Lab,
    submission: Submission,
    packed: bytes,
    wish: Wish,
    tell: Tell,
    *,
    lanes: int,
    rubric: Rubric | None = None,
    mark: str = "",
) -> Outcome:
    """As :func:`grade`, for a submission that is packed already, where the image is there.

    Args:
        lab: whose engine.
        submission: what is graded.
        packed: the tar of it.
        wish: how.
        tell: gets each event.
        lanes: how many checks at once, each on a processor.
        rubric: what each check is worth.
        mark: by which a class finds its containers.

    Raises:
        LabError: the examiner broke.
    """
    arguments = ("{host}", "{port}") if wish.service == CLIENT else ("{port}",)
    with image.lent(lab, submission, wish.run, arguments, mark) as loan:
        words = wish.order(submission, lanes) + loan.words
        events = container.examine(lab.client, words, packed, lanes=lanes, mark=mark, lender=loan.container)
        return gather(events, submission, wish, rubric, tell)
