"""Gives a fresh Debian or Ubuntu, used as root, the packages and the running engine it lacks."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import docker
from docker.errors import DockerException

from forklab.errors import LabError
from forklab.lock import Say

SOCKET = Path("/var/run/docker.sock")
LOG = Path("/var/log/dockerd.log")
"""What a dockerd that the lab started says."""

_OS_RELEASE = Path("/etc/os-release")
_SYSTEMD = Path("/run/systemd/system")
"""Exists while systemd is PID 1 (sd_booted(3))."""
_PROC = Path("/proc")

_ANSWER_SECONDS = 60
_TICK = 5

Run = Callable[[Sequence[str], Say], tuple[int, str]]
"""Runs a command to its end; answers with exit code and output, and tells now and then that it still runs."""


def forbidden() -> bool:
    """The user does not want the lab to install or start an engine."""
    return os.environ.get("FORKLAB_ENGINE") == "off"


def debian_root() -> bool:
    """This is Debian, Ubuntu or a relative (ID or ID_LIKE of os-release(5)), and we may install packages."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return False
    ids = f"{os_release('ID')} {os_release('ID_LIKE')}".split()
    return bool({"debian", "ubuntu"} & set(ids))


def os_release(key: str) -> str:
    """The value of ``key`` in os-release(5), or nothing."""
    try:
        lines = _OS_RELEASE.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    return values.get(key, "").strip("\"'")


def possible() -> bool:
    """The lab may and can install or start an engine here."""
    return debian_root() and not forbidden()


def installed() -> bool:
    """There is a dockerd on this computer."""
    return shutil.which("dockerd", path=_path()) is not None


def run(argv: Sequence[str], say: Say) -> tuple[int, str]:
    """The real Run.

    In a session of its own: Ctrl-C ends the lab but not a dpkg half-way through a package. That one ends by itself,
    and the next command waits for its lock.
    """
    environment = {**os.environ, "PATH": _path(), "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    with tempfile.TemporaryFile() as output:
        began = time.monotonic()
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        while True:
            try:
                code = process.wait(timeout=_TICK)
                break
            except subprocess.TimeoutExpired:
                say(f"{' '.join(argv[:1])}: still at work, {time.monotonic() - began:.0f} s")
        output.seek(0)
        return code, output.read().decode(errors="replace")


def packages(say: Say, *names: str, run: Run = run) -> None:
    """Install Debian packages, without what they only recommend. For ``debian_root()`` alone.

    Raises:
        LabError: apt-get failed; the message has its last words.
    """
    say(f"installing {', '.join(names)} with apt-get")
    # What a run that was killed left half-configured; does nothing otherwise.
    run(["dpkg", "--configure", "-a"], say)
    # Its failure is not final: one third-party source that is away must not keep Debian's own packages from us.
    updated, update_log = run(["apt-get", "update"], say)
    # A fresh cloud machine upgrades itself at first boot and holds the lock meanwhile.
    options = ["-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Options::=--force-confold"]
    code, log = run(["apt-get", *options, "install", "-y", "--no-install-recommends", *names], say)
    if code:
        raise LabError(
            f"apt-get could not install {', '.join(names)}: {_last_words(update_log + log if updated else log)}; "
            "check the network and /etc/apt, then try again"
        )


def engine(say: Say, *, run: Run = run) -> None:
    """Install the distribution's engine if there is none, start it, and wait until it answers.

    Raises:
        LabError: it could not be installed, did not start, or does not answer within 60 s.
    """
    if not installed():
        say("there is no Docker Engine here: installing the distribution's (FORKLAB_ENGINE=off forbids it)")
        packages(say, *_engine_packages(run, say), run=run)
    started = time.monotonic()
    if _SYSTEMD.is_dir():
        _start_unit(say, run)
        _wait(say, None)
    elif _dockerd_runs():
        say("dockerd is starting; waiting until it answers")
        _wait(say, None)
    else:
        # Not `service docker start`: that trusts a PID file of its own which, left by a killed engine and the number
        # used again, makes it start nothing and report success; nor does it tell when dockerd dies.
        _wait(say, _start_dockerd(say))
    say(f"the Docker Engine answers after {time.monotonic() - started:.0f} s")


def _path() -> str:
    """Where dockerd and dpkg's helpers are: in sbin, which `su` without `-` leaves out of PATH."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def _engine_packages(run: Run, say: Say) -> list[str]:
    """From Debian 13 on, the docker command is a package of its own that docker.io only recommends."""
    names = ["docker.io", "ca-certificates"]
    unknown, _ = run(["apt-cache", "show", "docker-cli"], say)
    return names if unknown else [*names, "docker-cli"]


def _start_unit(say: Say, run: Run) -> None:
    say("starting the engine: systemctl start docker")
    code, log = run(["systemctl", "start", "docker"], say)
    if code:
        raise LabError(f"systemctl start docker failed: {_last_words(log)}; `journalctl -u docker` says more")


def _dockerd_runs() -> bool:
    """A dockerd of root that does not answer yet: installing the package may just have started one."""
    for comm in _PROC.glob("[0-9]*/comm"):
        try:
            if comm.read_text().strip() == "dockerd" and comm.parent.stat().st_uid == 0:
                return True
        except OSError:  # ended meanwhile
            continue
    return False


def _start_dockerd(say: Say) -> "subprocess.Popen[bytes]":
    say(f"starting the engine: dockerd (log: {LOG})")
    try:
        with LOG.open("ab") as log:
            return subprocess.Popen(
                ["dockerd"],
                executable=shutil.which("dockerd", path=_path()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={**os.environ, "PATH": _path()},
                start_new_session=True,
            )
    except OSError as error:
        raise LabError(f"cannot start dockerd: {error.strerror} ({error.filename})") from None


def _wait(say: Say, process: "subprocess.Popen[bytes] | None") -> None:
    began = told = time.monotonic()
    while not _answers():
        now = time.monotonic()
        # Another one may have been started at the same moment; ours then dies of its PID file, and that one will do.
        if process and process.poll() is not None and not _dockerd_runs():
            raise LabError(f"dockerd ended at once with code {process.returncode}: {_log_words()}; see {LOG}")
        if now - began > _ANSWER_SECONDS:
            words = f"; its last words: {_log_words()}; see {LOG}" if process else "; see its log"
            raise LabError(f"the Docker Engine was started but does not answer after {_ANSWER_SECONDS} s{words}")
        if now - told > _TICK:
            told = now
            say(f"waiting for the engine, {now - began:.0f} s")
        time.sleep(0.1)


def _answers() -> bool:
    """With "auto" the SDK asks GET /version; a fixed version is refused by engines that no longer speak it."""
    try:
        docker.APIClient(base_url=f"unix://{SOCKET}", version="auto", timeout=_TICK).close()
    except DockerException:
        return False
    return True


def _log_words() -> str:
    with LOG.open("rb") as log:
        log.seek(max(0, LOG.stat().st_size - 4096))
        return _last_words(log.read().decode(errors="replace"))


def _last_words(log: str) -> str:
    """What apt calls an error, else the last lines."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("E:", "failed to"))]
    return " / ".join((errors or lines)[-3:]) or "(it said nothing)"
