"""Each thing the lab stands on is one finding with a verdict and, if it can be mended, one sentence."""

import json
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import APIError

from forklab import base, compose, doctor, engine, images
from forklab.errors import LabError

FEATURES = {"netem": False, "tbf": True, "nftables": True, "nfqueue": True, "sock_diag": True, "ptrace": False}


class FakeEngine:
    """The part of a DockerClient that the doctor looks at."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.rows: list[dict[str, Any]] = []
        self.ran: dict[str, Any] = {}
        self.api = SimpleNamespace(containers=lambda **_: self.rows)
        self.containers = SimpleNamespace(run=self.run)
        self.closed = False

    def version(self) -> dict[str, str]:
        """Of a good engine."""
        return {"Version": "24.0", "ApiVersion": "1.43", "Os": "linux", "Arch": "amd64"}

    def info(self) -> dict[str, Any]:
        """Of a good engine."""
        return {"CgroupVersion": "2", "Driver": "overlay2", "KernelVersion": "6.1", "DockerRootDir": self.root}

    def run(self, image: str, words: list[str], **options: Any) -> bytes:
        """The probe's answer."""
        self.ran = options | {"image": image, "words": words}
        return json.dumps({"features": FEATURES}).encode()

    def close(self) -> None:
        """Remember it."""
        self.closed = True


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeEngine:
    """All is well with compose, the engine, the base and the images."""
    client = FakeEngine(tmp_path)
    monkeypatch.delenv("FORKLAB_PORT", raising=False)
    monkeypatch.setattr(engine, "connect", lambda say, provide: client)
    monkeypatch.setattr(compose, "find", lambda: compose.Found(("docker", "compose"), "2.30", "docker plugin"))
    monkeypatch.setattr(base, "origin", lambda client: "made by mmdebstrap")
    monkeypatch.setattr(images, "stale", lambda client: [])
    return client


def examine() -> dict[str, doctor.Finding]:
    """All findings by id."""
    return {finding.id: finding for finding in doctor.checks()}


def test_all_well(fake: FakeEngine) -> None:
    """Nothing is reported as bad but what the kernel lacks, and the engine's facts are all there."""
    found = examine()
    assert {name for name, finding in found.items() if finding.verdict == "WARN"} <= {
        "kernel-netem",
        "kernel-ptrace",
        "docker-command",
        "disk",
    }
    assert all(finding.verdict in ("PASS", "WARN") for finding in found.values())
    for fact in ("24.0", "API 1.43", "linux/amd64", "cgroup v2", "overlay2", "6.1"):
        assert fact in found["engine"].what
    assert doctor.exit_code(found.values()) == 0
    assert fake.closed


def test_everything_bad_says_how_to_mend_it(fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finding that is not good has a mending sentence, on one line."""
    monkeypatch.setattr(base, "origin", lambda client: "")
    monkeypatch.setattr(images, "stale", lambda client: list(images.IMAGES))
    monkeypatch.setenv("FORKLAB_PORT", "0")
    fake.rows = [{"Labels": {"com.docker.compose.project": "old"}, "State": "exited"}]
    found = examine()
    bad = [finding for finding in found.values() if finding.verdict != "PASS" and finding.id != "disk"]
    assert {finding.id for finding in bad} >= {"port", "base", *images.IMAGES, "labs", "kernel"}
    assert all(finding.mend and "\n" not in finding.what + finding.mend for finding in bad)


def test_without_an_engine_the_rest_is_inconclusive(fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal is one finding; what was not looked at is not good, and the code is that of a failure."""

    def refuse(say: Any, provide: bool) -> None:
        assert provide is False
        raise LabError("the Docker Engine does not run; start it")

    monkeypatch.setattr(engine, "connect", refuse)
    found = list(doctor.checks())
    refusal = next(finding for finding in found if finding.verdict == "FAIL")
    assert (refusal.id, refusal.what, refusal.mend) == ("engine", "the Docker Engine does not run", "start it")
    unknown = {finding.id for finding in found if finding.verdict == "INCONCLUSIVE"}
    assert unknown == {"disk", "base", "images", "labs", "kernel"}
    assert doctor.exit_code(found) == 1


def test_an_engine_that_fails_in_between(fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """One finding tells it; the others are still made."""

    def fail(*_: Any, **__: Any) -> None:
        raise APIError("500", explanation="no space left")

    fake.containers = SimpleNamespace(run=fail)
    found = examine()
    assert (found["kernel"].verdict, found["kernel"].what) == ("FAIL", "no space left")
    assert found["base"].verdict == "PASS"


def test_no_compose(fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose's own sentence, split in what and how to mend."""

    def none() -> None:
        raise LabError("docker compose is missing; pip install it")

    monkeypatch.setattr(compose, "find", none)
    found = examine()
    assert (found["compose"].verdict, found["compose"].what) == ("FAIL", "docker compose is missing")
    assert found["compose"].mend == "pip install it"


def test_a_port_that_is_taken_and_one_that_is_free(fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told by connecting to it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("FORKLAB_PORT", str(listener.getsockname()[1]))
        assert examine()["port"].verdict == "WARN"
    assert examine()["port"].verdict == "PASS"


def test_other_labs_are_counted_by_project(fake: FakeEngine) -> None:
    """Running ones are news, stopped ones are left over."""
    labels = {"com.docker.compose.project": "mine"}
    fake.rows = [{"Labels": labels, "State": "running"}] * 2 + [{"Labels": {}, "State": "exited"}]
    found = [(finding.verdict, finding.what) for finding in doctor.checks() if finding.id == "labs"]
    assert found == [("INFO", "mine: 2 running containers"), ("WARN", "without a project: 1 stopped container")]


def test_kernel_features_are_tried_without_any_right_to_spare(fake: FakeEngine) -> None:
    """No network, a read-only root, three capabilities, our label, gone afterwards; a missing one says what is lost."""
    found = examine()
    assert found["kernel-tbf"].verdict == "PASS"
    assert "delaying" in found["kernel-netem"].what
    assert (fake.ran["image"], fake.ran["words"]) == ("forklab-probe", ["features"])
    assert fake.ran["cap_drop"] == ["ALL"]
    assert sorted(fake.ran["cap_add"]) == ["NET_ADMIN", "NET_RAW", "SYS_PTRACE"]
    assert (fake.ran["network_mode"], fake.ran["read_only"], fake.ran["remove"]) == ("none", True, True)
    assert fake.ran["labels"] == {"forklab": "container"}


def test_exit_codes() -> None:
    """A failure outweighs what is unknown, and a warning is no failure."""
    finding = {word: doctor.Finding("x", word, "y") for word in ("PASS", "WARN", "INFO", "FAIL", "INCONCLUSIVE")}
    assert doctor.exit_code([finding["PASS"], finding["WARN"], finding["INFO"]]) == 0
    assert doctor.exit_code([finding["INCONCLUSIVE"], finding["PASS"]]) == 3
    assert doctor.exit_code([finding["INCONCLUSIVE"], finding["FAIL"]]) == 1
