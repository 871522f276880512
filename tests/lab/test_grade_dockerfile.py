"""Submissions with a Dockerfile: built within bounds, examined in their own file system, and gone afterwards.

A Dockerfile is a program that runs on the teacher's computer: what a RUN may not do is tried here.
"""

import signal
from pathlib import Path
from typing import Any

import docker
import pytest

from forklab.errors import LabError
from forklab.grade import box, conduct, image
from forklab.grade.wish import Wish
from forklab.lab import Lab
from tests.deadline import until
from tests.lab.test_grade import FLAWS, alone, examiners, start

alone = alone  # a fixture is one of the file that uses it

MULTI = """\
FROM forklab-examiner AS build
WORKDIR /src
COPY . .
RUN gcc -Wall -static -o server server.c
FROM scratch
COPY --from=build /src/server /bin/server
EXPOSE 7000
ENTRYPOINT ["/bin/server", "7000"]
"""
PYTHON = """\
FROM forklab-server
WORKDIR /app
COPY --chmod=600 server.py ./
CMD python3 server.py $PORT
"""


def boxes(client: docker.DockerClient) -> list[str]:
    """The containers in which images are built."""
    return [row["Id"] for row in client.api.containers(all=True) if row["Command"].startswith(f"/{box.HOLD}")]


class Class:
    """Grades submissions that each are a Dockerfile and a server."""

    def __init__(self, client: docker.DockerClient, folder: Path) -> None:
        self._client, self._folder = client, folder

    def folder(self, text: str, **files: str) -> Path:
        """One of them."""
        (self._folder / "Dockerfile").write_text(text)
        for name, content in files.items():
            (self._folder / name.replace("_", ".")).write_text(content)
        return self._folder

    def grade(self, text: str, checks: str = "listens", **files: str) -> dict[str, Any]:
        """Its results by check, and how it was started; nothing of it is left."""
        wish = Wish.of(run="", service="echo", model="any", check=checks, core=False)
        try:
            found = conduct.grade(Lab.here(self._client, print), self.folder(text, **files), wish, lambda event: None)
        finally:
            assert boxes(self._client) + examiners(self._client) == []
        return {"command": found.command, **{each["id"]: each for each in found.results}}


@pytest.fixture
def school(alone: docker.DockerClient, tmp_path: Path) -> Class:
    """The engine, without an examiner and without a build."""
    assert boxes(alone) == []
    return Class(alone, tmp_path)


def test_stages_in_c_are_built_and_a_flaw_is_named(school: Class) -> None:
    """Compiled in one stage, alone in the last one, which holds nothing else; EXPOSE's port is replaced by ours."""
    checks = "listens,reap-burst,concurrent"
    good = school.grade(MULTI, checks, server_c=FLAWS["c", "fork.c"].program)
    assert good.pop("command") == "/bin/server {port}"
    assert {each["verdict"] for each in good.values()} == {"PASS"}, good
    bad = school.grade(MULTI, checks, server_c=FLAWS["c", "reap-burst"].program)
    assert [bad[check]["verdict"] for check in checks.split(",")] == ["PASS", "FAIL", "PASS"]
    assert bad["reap-burst"]["actual"] == "4 of 5 children stay zombies"


def test_a_server_in_python_runs_in_a_folder_of_its_own(school: Class) -> None:
    """In a copy of WORKDIR that it may write to, each time another one; also files that were only root's are there."""
    server = "open('log', 'x').close()\n" + FLAWS["python", "fork.py"].program
    found = school.grade(PYTHON, "listens,reap-burst,concurrent,sigterm", server_py=server)
    assert found.pop("command") == "/bin/sh -c exec python3 server.py $PORT"
    assert {each["verdict"] for each in found.values()} == {"PASS"}, found


def test_a_subject_writes_only_where_it_may_and_does_not_see_the_examiner(school: Class) -> None:
    """What the build left open to everybody, or to users like it, is closed; no program gives it other rights."""
    server = """
import os, subprocess
def try_(deed):
    try: return str(deed()).strip()
    except OSError as error: return error.strerror
status = open('/proc/self/status').read()
print('capabilities', {l.split()[1] for l in status.splitlines() if l.startswith(('CapEff', 'CapPrm'))})
print('open', [path for path in ('/open/x', '/theirs/x', '/app/x', '/etc/hosts', '/tmp/x', 'x')
    if try_(lambda: open(path, 'a').name) == path])
print('theirs', os.stat('/theirs').st_uid, os.stat('/theirs').st_gid)
print('suid', try_(lambda: subprocess.run(['/suid', '-u'], capture_output=True, text=True).stdout) == str(os.getuid()))
print('devices', os.listdir('/sys/class/net'))
first = dict(line.split(':', 1) for line in open('/proc/1/status').read().splitlines())
print('first', first['Name'].strip(), first['Uid'].split(), first['CapPrm'].strip())
for place in (f'/proc/{os.getppid()}/root', '/proc/1/root', '/run/examiner'):
    print(place.replace(str(os.getppid()), "PPID"), try_(lambda: os.listdir(place)))
print('kill', try_(lambda: os.kill(os.getppid(), 9)), try_(lambda: os.kill(1, 9)))
"""
    text = """\
FROM forklab-server
RUN mkdir -m 777 /open /theirs && chown 10000:59999 /theirs && install -m 4755 /usr/bin/id /suid
WORKDIR /app
COPY . .
CMD ["python3", "server.py"]
"""
    said = "\n".join(school.grade(text, server_py=server)["listens"]["evidence"]).replace("it said: ", "")
    assert said.splitlines()[:10] == [
        "capabilities {'0000000000000000'}",
        "open ['/tmp/x', 'x']",
        "theirs 0 0",
        "suid True",
        "devices ['lo']",
        "first .forklab-hold ['65534', '65534', '65534', '65534'] 0000000000000000",
        "/proc/PPID/root Permission denied",
        "/proc/1/root Permission denied",
        "/run/examiner No such file or directory",
        "kill Operation not permitted Operation not permitted",
    ]


BOMB = "b() { b | b & }; b"
HOG = """\
python3 -c "import itertools, os; \\
[os.posix_fallocate(os.open(str(i), os.O_CREAT | os.O_WRONLY), 0, 1 << 26) for i in itertools.count()]"\
"""


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("RUN exec sleep 1000 >/dev/null 2>&1", "does not end in time"),
        ("RUN yes", "says more than 1 MiB"),
        (f"RUN {HOG}", "fills the disk"),
        ("RUN python3 -c 'b\"x\" * (3 << 30)'", "it was killed, as when it takes more than 1 GiB of memory"),
        ("RUN echo some words && false", "ended with exit status 1"),
        (f"RUN ln -s / {box.LENT}/lane0", "cannot be made safe to start: seal: Directory not empty"),
        ("USER 7", "has neither CMD nor ENTRYPOINT"),
    ],
)
def test_a_build_that_fails_is_the_finding(
    school: Class, monkeypatch: pytest.MonkeyPatch, step: str, told: str
) -> None:
    """With the line, and what was said last; what needs an image is not known."""
    monkeypatch.setattr(image, "_RUN_SECONDS", 1.0 if "sleep" in step else 60.0)
    monkeypatch.setattr(box, "MOST_SAID", 1 << 20)
    found = school.grade(f"FROM forklab-server\n{step}\n", "listens,reap-one")
    assert found["listens"]["verdict"] == "FAIL"
    assert ("Dockerfile:2: " in found["listens"]["actual"]) == ("USER" not in step and "ln" not in step)
    assert told in found["listens"]["actual"]
    assert ("some words" in found["listens"]["evidence"]) == ("some words" in step)
    assert found["reap-one"]["verdict"] == "INCONCLUSIVE"


def test_what_a_run_leaves_behind_is_ended(school: Class) -> None:
    """A fork bomb and a daemon: the next step begins alone, and has the rights of a build and no others."""
    text = f"""\
FROM forklab-server
RUN sleep 1000 & {BOMB}
RUN cat /proc/[0-9]*/comm > /seen; ! grep sleep /seen && test $(wc -l < /seen) -lt 5
RUN grep CapEff.*eb$ /proc/self/status && grep NoNewPrivs.*1 /proc/self/status
RUN ! (echo full > /proc/1/fd/1) && ! (echo sweep > /proc/1/fd/0) && ! cat /proc/1/maps && ! chroot / true
WORKDIR /app
COPY server.py .
CMD ["python3", "server.py"]
"""
    found = school.grade(text, server_py=FLAWS["python", "fork.py"].program)
    assert found["listens"]["verdict"] == "PASS", found


def test_a_base_that_is_not_there_is_told(school: Class, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its line and what there is; nobody's code is to blame, so it is no finding."""
    monkeypatch.setenv("FORKLAB_PULL", "never")
    with pytest.raises(LabError, match=r"Dockerfile:1: there is no image nothing-of-this-name:1 .*forklab-server"):
        school.grade("FROM nothing-of-this-name:1\n")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_build_that_is_interrupted_leaves_nothing(school: Class, alone: docker.DockerClient, how: int) -> None:
    """Killed, the box's input ends, and with it all that runs there; the engine removes it."""
    folder = school.folder("FROM forklab-server\nRUN echo begun && sleep 1000\n")
    process = start("grade", str(folder))
    until(
        lambda: any("sleep" in " ".join(each) for box in boxes(alone) for each in processes(alone, box)), "it runs", 60
    )
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    assert process.returncode == (130 if how == signal.SIGINT else -how)
    until(lambda: not boxes(alone), "the box is gone", patience=60)


def processes(client: docker.DockerClient, container: str) -> list[list[str]]:
    """The rows of ps in a container; none when it does not run."""
    try:
        rows: list[list[str]] = client.api.top(container)["Processes"]
    except docker.errors.APIError:
        return []
    return rows
