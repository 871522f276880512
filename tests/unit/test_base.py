"""The base comes from a registry, else from mmdebstrap, and a way that fails leaves its reason and nothing else."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import APIError, ImageNotFound

from forklab import base, provide
from forklab.errors import LabError, UsageError

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mmdebstrap is for Linux")


class FakeEngine:
    """The part of a DockerClient that the base needs. ``pulls`` is what a pull yields or raises."""

    def __init__(self, pulls: Callable[[], Iterable[dict[str, Any]]], *, there: bool = False) -> None:
        self.pulls = pulls
        self.there = there
        self.labels: dict[str, str] = {}
        self.received = b""
        self.answer = '{"status":"sha256:1"}'
        self.images = self.api = self

    def get(self, name: str) -> Any:
        """The image, if it is there."""
        if not self.there:
            raise ImageNotFound(name)
        return SimpleNamespace(labels=self.labels)

    def version(self) -> dict[str, str]:
        """Of an engine on this kind of machine."""
        return {"Arch": "amd64"}

    def pull(self, name: str, **_: Any) -> Iterator[dict[str, Any]]:
        """A stream of events."""
        yield from self.pulls()

    def tag(self, image: str, repository: str, tag: str) -> None:
        """Only what was pulled can be tagged."""
        assert (image, repository, tag) == ("debian:trixie-slim", "forklab-base", "trixie")
        self.there = True

    def import_image_from_data(self, data: Iterable[bytes], repository: str, tag: str, changes: list[str]) -> str:
        """As the real one: only a stream that ends well becomes an image."""
        self.received = b"".join(data)
        if "error" not in self.answer:
            self.there, self.labels = True, {"forklab": "base"}
        return self.answer


def unreachable() -> Iterable[dict[str, Any]]:
    """A pull where no registry answers."""
    raise APIError("500", explanation="no such host")


def asked() -> Iterable[dict[str, Any]]:
    """A pull that must not happen."""
    pytest.fail("a registry was asked")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No choice of the person who runs the tests counts."""
    monkeypatch.delenv("FORKLAB_PULL", raising=False)


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Puts an mmdebstrap of ours, and a dpkg, first in PATH."""

    def put(script: str) -> None:
        for name, text in (("mmdebstrap", script), ("dpkg", "echo amd64")):
            (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
            (tmp_path / name).chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(base, "_KEYRING", tmp_path)
    return put


def ensure(engine: FakeEngine) -> list[str]:
    """What was said."""
    said: list[str] = []
    client: Any = engine
    base.ensure(client, said.append)
    return said


def test_a_base_that_is_there_is_left_alone() -> None:
    """Nobody is asked, nothing is said."""
    assert ensure(FakeEngine(asked, there=True)) == []


def test_an_unknown_policy_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the base is there: a typing error shows at once."""
    monkeypatch.setenv("FORKLAB_PULL", "always")
    with pytest.raises(UsageError, match='FORKLAB_PULL="always" is not one of'):
        ensure(FakeEngine(asked, there=True))


def test_a_registry_that_answers_is_enough() -> None:
    """Pulled, tagged under our name, and known for what it is."""
    engine = FakeEngine(lambda: [{"status": "Pulling"}, {"status": "Download complete", "id": "a"}])
    ensure(engine)
    client: Any = engine
    assert base.origin(client) == "debian:trixie-slim from a registry"


@LINUX
@pytest.mark.parametrize("pulls", [unreachable, lambda: [{"status": "x"}, {"error": "no such host"}]])
def test_without_a_registry_mmdebstrap_makes_it(
    tools: Callable[[str], None], pulls: Callable[[], Iterable[dict[str, Any]]]
) -> None:
    """The registry's reason is said, then the steps; the tar arrives whole."""
    tools('echo "I: running apt-get update..." >&2; sleep 0.5; printf tar')
    engine = FakeEngine(pulls)
    said = ensure(engine)
    assert engine.received == b"tar"
    assert "base: debian:trixie-slim cannot be pulled: no such host" in said
    assert any(line.startswith("base: running apt-get update, ") for line in said)
    client: Any = engine
    assert base.origin(client) == "made by mmdebstrap"


@LINUX
def test_never_asks_no_registry(tools: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """FORKLAB_PULL=never goes straight to mmdebstrap."""
    monkeypatch.setenv("FORKLAB_PULL", "never")
    tools("printf tar")
    engine = FakeEngine(asked)
    ensure(engine)
    assert engine.there


@LINUX
def test_an_mmdebstrap_that_fails_leaves_no_image(tools: Callable[[str], None]) -> None:
    """Half a tar is never taken for a base; both reasons and what to do are said."""
    tools("printf half; echo 'I: x' >&2; echo 'E: no mirror' >&2; exit 1")
    engine = FakeEngine(unreachable)
    with pytest.raises(LabError, match=r"no such host; mmdebstrap failed: E: no mirror\. Connect .*\./lab load FILE"):
        ensure(engine)
    assert not engine.there


@LINUX
def test_an_engine_that_does_not_take_it(tools: Callable[[str], None]) -> None:
    """An error in the stream of an import that began well counts."""
    tools("printf tar")
    engine = FakeEngine(unreachable)
    engine.answer = '{"errorDetail":{"message":"disk full"},"error":"disk full"}'
    with pytest.raises(LabError, match="did not take the base: disk full"):
        ensure(engine)


@LINUX
def test_when_the_upload_breaks_mmdebstrap_is_ended(tools: Callable[[str], None], tmp_path: Path) -> None:
    """Its whole group gets SIGTERM, and time to clean up."""
    tools(f"trap 'touch {tmp_path}/cleaned; exit 1' TERM; touch {tmp_path}/ready; while :; do sleep 0.05; done")

    class Broken(FakeEngine):
        def import_image_from_data(self, *_: Any, **__: Any) -> str:
            deadline = time.monotonic() + 10
            while not (tmp_path / "ready").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            raise APIError("gone", explanation="the engine went away")

    with pytest.raises(LabError, match="the engine went away"):
        ensure(Broken(unreachable))
    assert (tmp_path / "cleaned").exists()


@LINUX
def test_another_architecture_is_not_made_here(tools: Callable[[str], None]) -> None:
    """An engine of another kind needs a base that this computer cannot make."""
    tools("exit 9")

    class Arm(FakeEngine):
        def version(self) -> dict[str, str]:
            return {"Arch": "arm64"}

    with pytest.raises(LabError, match="the engine needs a base for arm64, this computer makes one for amd64"):
        ensure(Arm(unreachable))


@LINUX
def test_without_mmdebstrap_and_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What to install is said."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(provide, "debian_root", lambda: False)
    with pytest.raises(LabError, match="sudo apt-get install mmdebstrap"):
        ensure(FakeEngine(unreachable))


@LINUX
def test_without_mmdebstrap_as_root_it_is_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tools: Callable[[str], None]
) -> None:
    """Then used."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/nowhere")
    monkeypatch.setattr(provide, "debian_root", lambda: True)
    installed: list[str] = []

    def packages(say: object, *names: str) -> None:
        installed.extend(names)
        tools("printf tar")

    monkeypatch.setattr(provide, "packages", packages)
    engine = FakeEngine(unreachable)
    ensure(engine)
    assert installed == ["mmdebstrap"]
    assert engine.received == b"tar"


def test_a_silent_registry_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK would wait for ever."""
    monkeypatch.setattr(base, "_FIRST_EVENT", 0.1)
    monkeypatch.setattr(base, "_make", unable)
    release = threading.Event()

    def silent() -> Iterable[dict[str, Any]]:
        release.wait(60)
        return []

    with pytest.raises(LabError, match=r"silent for 0\.1 s"):
        ensure(FakeEngine(silent))
    release.set()


def unable(client: Any, say: Any) -> None:
    """In place of ``_make``, on any system."""
    raise LabError("not here")


def test_progress_of_a_pull_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """In megabytes over all layers."""
    monkeypatch.setattr(base, "sparingly", lambda say: say)
    detail = {"current": 4_000_000, "total": 10_000_000}
    said = ensure(FakeEngine(lambda: [{"status": "Downloading", "id": i, "progressDetail": detail} for i in "ab"]))
    assert said[-1] == "base: pulling debian:trixie-slim, 8 of 20 MB"


DEB822 = """# a comment
Types: deb
# URIs: http://old.example/debian
URIs: {uri}
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://elsewhere.example/debian-security
Suites: bookworm-security
Components: main
"""


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        (
            "sources.list.d/debian.sources",
            DEB822.format(uri="http://near.example/debian/"),
            "http://near.example/debian",
        ),
        ("sources.list", "deb http://near.example/debian bookworm main # x\n", "http://near.example/debian"),
        ("sources.list", "deb [arch=amd64] https://a.example/debian bookworm main\n", "https://a.example/debian"),
        ("sources.list", "deb-src http://near.example/debian bookworm main\n", None),
        ("sources.list", "# deb http://near.example/debian bookworm main\n", None),
        ("sources.list", "deb cdrom:[Debian 12]/ bookworm main\n", None),
        ("sources.list", "deb http://127.0.0.1:3142/debian bookworm main\n", None),
        ("sources.list", "deb [signed-by=/x/shop.gpg] https://shop.example/debian bookworm main\n", None),
        ("sources.list", "deb https://docker.example/linux/debian bookworm stable\n", None),
        ("sources.list.d/debian.sources", DEB822.format(uri="mirror+file:///etc/apt/mirrors/debian.list"), None),
        (
            "sources.list.d/debian.sources",
            "Enabled: no\n" + DEB822.split("\n", 1)[1].format(uri="http://a/debian"),
            None,
        ),
        ("sources.list.d/broken.sources", "\udcff", None),
    ],
)
def test_the_hosts_own_mirror(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: str, text: str, expected: str | None
) -> None:
    """Debian's own archive as this host reaches it, if a container reaches it too; no third party's."""
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode(errors="surrogateescape"))
    monkeypatch.setattr(base, "_APT", tmp_path)
    monkeypatch.setattr(provide, "os_release", {"ID": "debian", "VERSION_CODENAME": "bookworm"}.__getitem__)
    assert base._mirror() == expected


def test_ubuntu_leaves_the_mirror_to_mmdebstrap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ubuntu's mirror has no Debian."""
    (tmp_path / "sources.list").write_text("deb http://near.example/debian noble main\n")
    monkeypatch.setattr(base, "_APT", tmp_path)
    monkeypatch.setattr(provide, "os_release", {"ID": "ubuntu", "VERSION_CODENAME": "noble"}.__getitem__)
    assert base._mirror() is None
