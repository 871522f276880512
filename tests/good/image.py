"""Makes the image that has those servers: the examiner's, and packages of Debian's."""

from pathlib import Path

from docker import DockerClient

from forklab import engine

IMAGE = "forklab-good"


def build(client: DockerClient) -> None:
    """Make it; the examiner's must be there.

    Raises:
        LabError: the engine cannot.
    """
    with engine.trouble(f"the image {IMAGE} cannot be made"):
        client.images.build(path=str(Path(__file__).parent), tag=IMAGE, rm=True, forcerm=True)
