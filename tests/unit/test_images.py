"""Images fit a checkout by the digest of their sources, and travel in one file that is whole or not there."""

import errno
import gzip
import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from docker.errors import ImageNotFound

from forklab import images
from forklab.errors import LabError, UsageError

OURS = [f"forklab-{name}:latest" for name in ("server", "client", "demo", "probe")]
TAGS = [*OURS, "forklab-base:trixie"]


def silent(line: str) -> None:
    """A Say for tests that do not look at progress."""


def archive(tags: list[str] = TAGS, architecture: str = "amd64", *, drop: str = "") -> bytes:
    """What `docker save` writes for ``tags``, without the member ``drop``."""
    members = {"layer.tar": b"x" * 5000, "config.json": json.dumps({"architecture": architecture}).encode()}
    manifest = [{"Config": "config.json", "Layers": ["layer.tar"], "RepoTags": [tag]} for tag in tags]
    members["manifest.json"] = json.dumps(manifest).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members.items():
            if name != drop:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


class FakeEngine:
    """The part of a DockerClient that images need: the images, one archive of them."""

    base_url, api_version, timeout = "http://engine", "1.41", 600

    def __init__(self, content: bytes | None = None, *more: str) -> None:
        self.tags = [*TAGS, *more]
        self.content = archive(self.tags) if content is None else content
        self.labels = {tag: {"forklab.source": images.source(tag.split(":")[0])} for tag in self.tags}
        self.images = self.api = self
        self.taken = b""
        self.breaks: BaseException | None = None

    def __getattribute__(self, name: str) -> Any:
        # The SDK's two `get`: of an image by its name, of a URL with parameters.
        return super().__getattribute__("_image_or_url" if name == "get" else name)

    def _image_or_url(self, name: str, params: Any = None, **_: Any) -> Any:
        if params:
            assert params == {"names": self.tags}
            return self
        if name not in self.labels:
            raise ImageNotFound(name)
        return SimpleNamespace(labels=self.labels[name], short_id="sha256:abc", attrs={"Size": 100})

    ok = True

    def __enter__(self) -> "FakeEngine":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def iter_content(self, size: int) -> Iterator[bytes]:
        """The archive in small pieces; then what breaks it, if anything does."""
        for start in range(0, len(self.content), 1000):
            yield self.content[start : start + 1000]
        if self.breaks:
            raise self.breaks

    def history(self, tag: str) -> list[dict[str, Any]]:
        """One step they share and one of their own."""
        return [{"Created": 1, "CreatedBy": "base", "Size": 70}, {"Created": 2, "CreatedBy": tag, "Size": 30}]

    def version(self) -> dict[str, str]:
        """Of an engine on this kind of machine."""
        return {"Arch": "amd64"}

    def load(self, data: Iterable[bytes]) -> list[str]:
        """Takes everything."""
        self.taken = b"".join(data)
        return self.tags


def save(engine: FakeEngine, path: Path) -> images.Saved:
    """With the fake taken for a client."""
    client: Any = engine
    return images.save(client, path, silent)


def load(engine: FakeEngine, path: Path) -> list[str]:
    """What was said, then what was loaded."""
    client: Any = engine
    said: list[str] = []
    loaded = images.load(client, path, said.append)
    return said + loaded


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small checkout of our own."""
    root = tmp_path / "checkout"
    for name in ("images/Dockerfile", "protocol/a.py", "server/b.py", "client/c.py", "probe/d.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"one\ntwo\n")
    monkeypatch.setattr(images, "ROOT", root)
    return root


@pytest.mark.parametrize("name", ["images/Dockerfile", "protocol/a.py", "server/b.py", "server/new/x.py"])
def test_what_goes_into_an_image_changes_its_digest(checkout: Path, name: str) -> None:
    """The Dockerfile, the shared words, the image's own package, also a new file deep in it."""
    before = images.source("forklab-server")
    (checkout / name).parent.mkdir(exist_ok=True)
    (checkout / name).write_bytes(b"three\n")
    assert images.source("forklab-server") != before


@pytest.mark.parametrize("name", ["client/c.py", "probe/d.py", "server/__pycache__/b.pyc", "README.md"])
def test_what_does_not_go_in_does_not_count(checkout: Path, name: str) -> None:
    """Other packages, compiled files, papers."""
    before = images.source("forklab-server")
    (checkout / name).parent.mkdir(exist_ok=True)
    (checkout / name).write_bytes(b"three\n")
    assert images.source("forklab-server") == before


def test_the_bench_is_made_of_more_and_only_on_demand(checkout: Path) -> None:
    """What it measures and its client are in its image; who does not ask for it is not told that it is missing."""
    client: Any = FakeEngine()
    assert images.stale(client) == []
    assert images.stale(client, images.ON_DEMAND) == ["forklab-bench", "forklab-examiner"]
    before = images.source("forklab-bench")
    (checkout / "server" / "b.py").write_bytes(b"three\n")
    assert images.source("forklab-bench") != before


def test_a_file_that_moves_counts(checkout: Path) -> None:
    """The path is part of the digest, and so is where one file ends and the next begins."""
    before = images.source("forklab-server")
    (checkout / "server" / "b.py").rename(checkout / "server" / "z.py")
    assert images.source("forklab-server") != before


def test_line_ends_do_not_count_in_text_only(checkout: Path) -> None:
    """A checkout on Windows has the same digest; a binary file is what it is."""
    before = images.source("forklab-server")
    (checkout / "server" / "b.py").write_bytes(b"one\r\ntwo\r\n")
    assert images.source("forklab-server") == before
    (checkout / "server" / "b.py").write_bytes(b"\0\n")
    binary = images.source("forklab-server")
    (checkout / "server" / "b.py").write_bytes(b"\0\r\n")
    assert images.source("forklab-server") != binary


def test_the_variables_of_the_compose_file() -> None:
    """Each image's digest under the name that docker-compose.yml reads."""
    text = (Path(__file__).parents[2] / "docker-compose.yml").read_text(encoding="utf-8")
    variables = images.environment()
    assert variables["FORKLAB_PROBE_SOURCE"] == images.source("forklab-probe")
    assert all(f'forklab.source: "${{{variable}:-}}"' in text for variable in variables)
    assert len(variables) == 6


def test_stale_names_what_is_missing_or_other() -> None:
    """One fits, one has another digest, one is not there."""
    engine = FakeEngine()
    engine.labels["forklab-client:latest"] = {"forklab.source": "other"}
    del engine.labels["forklab-probe:latest"]
    client: Any = engine
    assert images.stale(client) == ["forklab-client", "forklab-probe"]


@pytest.mark.parametrize("name", ["lab.tar", "lab.tar.gz"])
def test_what_was_saved_can_be_loaded(tmp_path: Path, name: str) -> None:
    """Byte for byte, gzipped when the name says so, and with a summary of what is in it."""
    engine = FakeEngine()
    path = tmp_path / name
    saved = save(engine, path)
    assert (saved.path, saved.size) == (path, path.stat().st_size)
    assert saved.images == dict.fromkeys(TAGS, ("abc", 100))
    assert load(engine, path)[-len(TAGS) :] == TAGS
    taken = gzip.decompress(engine.taken) if name.endswith(".gz") else engine.taken
    assert taken == engine.content


@pytest.mark.parametrize("name", ["bench", "examiner"])
def test_what_was_built_on_demand_is_saved_too(tmp_path: Path, name: str) -> None:
    """A classroom without network can grade and measure, if whoever saves has done so once."""
    engine = FakeEngine(None, f"forklab-{name}:latest")
    path = tmp_path / "lab.tar"
    assert list(save(engine, path).images) == engine.tags
    assert load(engine, path)[-len(engine.tags) :] == engine.tags


def test_nothing_to_save_yet(tmp_path: Path) -> None:
    """What is missing, and the command that makes it."""
    engine = FakeEngine()
    del engine.labels["forklab-base:trixie"]
    with pytest.raises(LabError, match=r"no image forklab-base:trixie; build first: \./lab build"):
        save(engine, tmp_path / "lab.tar")


def test_a_place_that_cannot_be(tmp_path: Path) -> None:
    """A folder that is not there, a path that is a folder: nothing was done."""
    with pytest.raises(UsageError, match="no folder"):
        save(FakeEngine(), tmp_path / "none" / "lab.tar")
    with pytest.raises(UsageError, match="it is a folder"):
        save(FakeEngine(), tmp_path)


@pytest.mark.parametrize(
    ("breaks", "raised", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), LabError, r"no space left for .*lab\.tar: about 0 MB"),
        (OSError(errno.EIO, "Input/output error"), LabError, r"cannot write .*lab\.tar: Input/output error"),
        (requests.ConnectionError("gone"), LabError, "did not hand out the images: gone"),
        (KeyboardInterrupt(), KeyboardInterrupt, None),
    ],
)
def test_a_save_that_breaks_leaves_nothing(
    tmp_path: Path, breaks: BaseException, raised: type[BaseException], words: str | None
) -> None:
    """Neither half a file nor a changed old one; the reason names the path."""
    path = tmp_path / "out" / "lab.tar"
    path.parent.mkdir()
    path.write_bytes(b"old")
    engine = FakeEngine()
    engine.breaks = breaks
    with pytest.raises(raised, match=words):
        save(engine, path)
    assert [file.name for file in path.parent.iterdir()] == ["lab.tar"]
    assert path.read_bytes() == b"old"


def test_an_engine_that_sends_half_is_noticed(tmp_path: Path) -> None:
    """What cannot be read back never gets the name."""
    with pytest.raises(LabError, match="damaged"):
        save(FakeEngine(archive()[:4000]), tmp_path / "lab.tar")
    assert not list(tmp_path.glob("*lab.tar*"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is no tar"),
        (b"hello" * 1000, "it is no tar"),
        (archive()[:4000], "is damaged: it was cut off"),
        (gzip.compress(archive())[:-20], "is damaged: it was cut off or changed"),
        (archive(drop="manifest.json"), "a tar without images, or was cut off"),
        (archive(drop="layer.tar"), "layers are missing"),
        (archive(["other:latest"]), r"holds other:latest, not forklab-server:latest"),
        (archive(architecture="arm64"), "images for arm64, this engine runs amd64"),
    ],
)
def test_a_file_that_is_not_ours(tmp_path: Path, content: bytes, words: str) -> None:
    """Each kind is told apart in one line, and the engine is given nothing."""
    path = tmp_path / "lab.tar"
    path.write_bytes(content)
    engine = FakeEngine()
    with pytest.raises(UsageError, match=words) as caught:
        load(engine, path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert engine.taken == b""


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Its path, and the system's word."""
    with pytest.raises(UsageError, match=r"cannot read .*none\.tar"):
        load(FakeEngine(), tmp_path / "none.tar")


def test_images_of_other_sources_are_announced(tmp_path: Path) -> None:
    """They are loaded; that they will be built anew is said."""
    engine = FakeEngine()
    engine.labels["forklab-probe:latest"] = {"forklab.source": "other"}
    (tmp_path / "lab.tar").write_bytes(archive())
    said = load(engine, tmp_path / "lab.tar")
    assert any("forklab-probe was made from other sources" in line for line in said)
    assert not any("forklab-server was made" in line for line in said)
