"""The engine is found as the docker CLI finds it, and each way it can refuse has its own sentence."""

import hashlib
import json
import os
import shutil
import socket
import socketserver
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import docker
import pytest

from forklab import engine, provide
from forklab.errors import LabError

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="unix sockets")
GOOD = {"Version": "24.0.1", "ApiVersion": "1.43", "Os": "linux", "Arch": "amd64"}


def silent(line: str) -> None:
    """A Say for tests that do not look at progress."""


def handler(status: int, body: bytes) -> type[BaseHTTPRequestHandler]:
    """Answers every request in the same way."""

    class Same(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def address_string(self) -> str:
            return "test"

    return Same


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No variable or configuration of the person who runs the tests counts."""
    for name in list(os.environ):
        if name.startswith(("DOCKER_", "FORKLAB_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path


Serve = Callable[[int, bytes], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts HTTP servers on free TCP ports; answers with their tcp:// address."""
    servers = []

    def start(status: int, body: bytes) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler(status, body))
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"tcp://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def socket_folder() -> Iterator[Path]:
    """A folder with a short name: sun_path holds 104 bytes on macOS."""
    folder = tempfile.mkdtemp(dir="/tmp")
    yield Path(folder)
    shutil.rmtree(folder)


def context(home: Path, name: str, host: str) -> None:
    """What `docker context create` and `docker context use` leave behind."""
    folder = home / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
    folder.mkdir(parents=True)
    meta = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": False}}}
    (folder / "meta.json").write_text(json.dumps(meta))


def use(home: Path, name: str) -> None:
    """Make ``name`` the current context."""
    (home / "config.json").write_text(json.dumps({"currentContext": name}))


def refusal(match: str) -> None:
    """Connecting is refused with a LabError of exit code 4 that says ``match``."""
    with pytest.raises(LabError, match=match) as caught:
        engine.connect(silent)
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)


def closed_port() -> int:
    """A port nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_without_any_choice_it_is_the_default_socket() -> None:
    """No variable, no context: the default endpoint, and only that one may be provided."""
    found = engine.endpoint()
    assert (found.host, found.source, found.is_default) == (None, "default socket", True)


def test_docker_host_comes_before_any_context(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DOCKER_HOST wins over DOCKER_CONTEXT and the current context."""
    context(home, "far", "tcp://far:2375")
    use(home, "far")
    monkeypatch.setenv("DOCKER_CONTEXT", "far")
    monkeypatch.setenv("DOCKER_HOST", "tcp://near:2375")
    found = engine.endpoint()
    assert (found.host, found.source, found.undo) == ("tcp://near:2375", "DOCKER_HOST", "unset DOCKER_HOST")


def test_the_current_context_is_used(home: Path) -> None:
    """What `docker context use` wrote counts."""
    context(home, "far", "tcp://far:2375")
    use(home, "far")
    found = engine.endpoint()
    assert (found.host, found.source, found.is_default) == ("tcp://far:2375", "docker context far", False)


def test_docker_context_is_found_without_a_config_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DOCKER_CONTEXT wins over the current context, and needs no config.json."""
    context(home, "other", "unix:///other.sock")
    monkeypatch.setenv("DOCKER_CONTEXT", "other")
    assert engine.endpoint().host == "unix:///other.sock"


def test_a_broken_config_file_means_the_default(home: Path) -> None:
    """As with the docker CLI, a config.json that is no JSON does not keep anyone from working."""
    (home / "config.json").write_text("{")
    assert engine.endpoint().is_default


def test_a_context_keeps_a_lone_authority(home: Path) -> None:
    """A context whose TLS has a CA and no client certificate still verifies against that CA."""
    context(home, "safe", "tcp://safe:2376")
    use(home, "safe")
    folder = home / "contexts" / "tls" / hashlib.sha256(b"safe").hexdigest() / "docker"
    folder.mkdir(parents=True)
    (folder / "ca.pem").write_text("x")
    tls = engine.endpoint().tls
    assert tls is not None
    assert (tls.ca_cert, tls.verify, tls.cert) == (str(folder / "ca.pem"), True, None)


def test_a_context_that_does_not_exist(home: Path) -> None:
    """It is named, with the command that goes back."""
    use(home, "gone")
    refusal(r'context "gone" .* does not exist.*docker context use default')


@pytest.mark.parametrize("meta", ["{", "[]", '{"Endpoints": {"docker": 3}}', '{"Endpoints": {}}'])
def test_a_context_that_is_broken(home: Path, monkeypatch: pytest.MonkeyPatch, meta: str) -> None:
    """Whatever is in its file, it is one sentence with the way back."""
    context(home, "bad", "tcp://x:1")
    next(home.rglob("meta.json")).write_text(meta)
    monkeypatch.setenv("DOCKER_CONTEXT", "bad")
    refusal('context "bad" is broken.*unset DOCKER_CONTEXT')


def test_an_engine_that_answers(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A good one is used, with the API it speaks, and patience for long work."""
    monkeypatch.setenv("DOCKER_HOST", serve(200, json.dumps(GOOD).encode()))
    client = engine.connect(silent)
    assert client.api.api_version == "1.43"
    assert client.api.timeout == 600


def test_an_old_engine(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its version and the one that is needed are said."""
    old = GOOD | {"Version": "18.09", "ApiVersion": "1.39"}
    monkeypatch.setenv("DOCKER_HOST", serve(200, json.dumps(old).encode()))
    refusal(r"18\.09 \(API 1\.39\) is too old: 20\.10")


def test_an_engine_too_old_even_for_the_sdk(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK refuses it by itself; the sentence is ours."""
    monkeypatch.setenv("DOCKER_HOST", serve(200, json.dumps(GOOD | {"ApiVersion": "1.12"}).encode()))
    refusal(r"too old: 20\.10")


def test_windows_containers(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker Desktop in its other mode is told what to switch."""
    monkeypatch.setenv("DOCKER_HOST", serve(200, json.dumps(GOOD | {"Os": "windows"}).encode()))
    refusal("switch Docker Desktop to Linux containers")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>hello</html>"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"ApiVersion": "x"}'),
        (404, b"no"),
        (403, b"{}"),
    ],
)
def test_something_that_is_no_engine(serve: Serve, monkeypatch: pytest.MonkeyPatch, status: int, body: bytes) -> None:
    """Any other web server is recognised, whatever it answers."""
    monkeypatch.setenv("DOCKER_HOST", serve(status, body))
    refusal("not a Docker Engine.*unset DOCKER_HOST")


def test_an_engine_that_fails(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own words are passed on."""
    monkeypatch.setenv("DOCKER_HOST", serve(503, b'{"message": "Docker Desktop is paused"}'))
    refusal("answers with an error: Docker Desktop is paused")


def test_a_server_that_speaks_no_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who says something else, and hangs up."""

    class Greeter(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1000)
            self.request.sendall(b"220 mail\r\n")

    with socketserver.TCPServer(("127.0.0.1", 0), Greeter) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{server.server_address[1]}")
        refusal("not a Docker Engine")
        server.shutdown()


def test_a_server_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hung engine is given up, and said to hang."""
    monkeypatch.setattr(engine, "_FIRST_ANSWER", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{listener.getsockname()[1]}")
        refusal("did not answer within")


def test_tls_with_a_server_that_has_none(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables that asked for TLS are named."""
    monkeypatch.setenv("DOCKER_HOST", serve(200, json.dumps(GOOD).encode()))
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    refusal("TLS with the engine at DOCKER_HOST=.* failed.*DOCKER_CERT_PATH")


def test_no_tls_with_a_server_that_wants_it(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine's answer to plain HTTP at its TLS port is recognised."""
    monkeypatch.setenv("DOCKER_HOST", serve(400, b"Client sent an HTTP request to an HTTPS server."))
    refusal("TLS with the engine")


def test_nobody_at_docker_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """The value and how to be rid of it are said; nothing is ever provided in its place."""
    monkeypatch.setattr(provide, "possible", lambda: True)
    monkeypatch.setattr(provide, "engine", lambda say: pytest.fail("provided"))
    address = f"tcp://127.0.0.1:{closed_port()}"
    monkeypatch.setenv("DOCKER_HOST", address)
    refusal(f"nobody answers at DOCKER_HOST={address}.*unset DOCKER_HOST")


def test_nobody_at_a_context(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A context that a product made is started with that product; nothing is provided."""
    monkeypatch.setattr(provide, "possible", lambda: True)
    monkeypatch.setattr(provide, "engine", lambda say: pytest.fail("provided"))
    context(home, "desktop-linux", f"tcp://127.0.0.1:{closed_port()}")
    use(home, "desktop-linux")
    refusal(r"\(docker context desktop-linux\).*open Docker Desktop, or `docker context use default`")


@pytest.mark.parametrize(
    "value", ["garbage", "foo://x", "tcp://", "tcp://host", "tcp://host:99999", "tcp://a b:1", "fd://", "tcp://[::1:2"]
)
def test_a_docker_host_that_is_no_address(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """The value is shown, beside values that would do."""
    monkeypatch.setenv("DOCKER_HOST", value)
    refusal("is not the address of an engine.*tcp://HOST:2375.*unset DOCKER_HOST")


def test_an_ssh_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the SDK lacks its package or the host does not answer, what to do about ssh is said."""
    monkeypatch.setenv("DOCKER_HOST", f"ssh://nobody@127.0.0.1:{closed_port()}")
    refusal("paramiko|ssh nobody@127.0.0.1")


@POSIX
def test_a_socket_without_permission(socket_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named, with the group that helps."""
    path = socket_folder / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0)
        monkeypatch.setattr(provide, "SOCKET", path)
        monkeypatch.setattr(engine, "_system", lambda: "Linux")
        root = os.geteuid() == 0
        if root:  # for whom no permission bit counts
            os.seteuid(65534)
        try:
            refusal(f"no permission to use the Docker socket {path}; run `sudo usermod -aG docker")
        finally:
            if root:
                os.seteuid(0)


@POSIX
@pytest.mark.parametrize(
    ("system", "installed", "words"),
    [
        ("Linux", True, "does not run .*systemctl start docker"),
        ("Darwin", True, "does not run .*colima start"),
        ("Linux", False, "no Docker Engine on this computer.*apt-get install docker.io"),
        ("Darwin", False, "no Docker Engine on this computer.*brew install"),
        ("Windows", False, "no Docker Engine on this computer.*winget install"),
    ],
)
def test_nobody_at_the_default_socket(
    socket_folder: Path, monkeypatch: pytest.MonkeyPatch, system: str, installed: bool, words: str
) -> None:
    """Stopped and not installed are told apart, for each system."""
    monkeypatch.setattr(provide, "SOCKET", socket_folder / "none.sock")
    monkeypatch.setattr(provide, "possible", lambda: False)
    monkeypatch.setattr(provide, "installed", lambda: installed)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(engine, "_system", lambda: system)
    refusal(words)


@POSIX
def test_a_forbidden_engine_says_so(socket_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FORKLAB_ENGINE=off is named as the reason that the lab did nothing, and it did nothing."""
    monkeypatch.setattr(provide, "SOCKET", socket_folder / "none.sock")
    monkeypatch.setattr(provide, "debian_root", lambda: True)
    monkeypatch.setattr(provide, "engine", lambda say: pytest.fail("provided"))
    monkeypatch.setenv("FORKLAB_ENGINE", "off")
    refusal("FORKLAB_ENGINE=off")


class _UnixServer(socketserver.ThreadingMixIn, getattr(socketserver, "UnixStreamServer", socketserver.TCPServer)):  # type: ignore[misc]
    daemon_threads = True


@POSIX
def test_a_missing_engine_is_provided_and_used(socket_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody chose an endpoint and it is possible, one is provided, and the connection made then."""
    path = socket_folder / "docker.sock"
    monkeypatch.setattr(provide, "SOCKET", path)
    monkeypatch.setattr(provide, "possible", lambda: True)
    servers = []

    def start(say: Callable[[str], None]) -> None:
        servers.append(_UnixServer(str(path), handler(200, json.dumps(GOOD).encode())))
        threading.Thread(target=servers[0].serve_forever, args=(0.01,), daemon=True).start()

    monkeypatch.setattr(provide, "engine", start)
    with pytest.raises(LabError, match="Docker Engine"):
        engine.connect(silent, provide=False)
    assert not servers
    try:
        assert engine.connect(silent).api.api_version == "1.43"
    finally:
        servers[0].shutdown()
        servers[0].server_close()


def test_trouble_passes_the_engines_words_on(serve: Serve) -> None:
    """An SDK exception becomes a LabError with the engine's own explanation."""
    client = docker.DockerClient(serve(500, b'{"message": "no space left on device"}'), version="1.41")
    with pytest.raises(LabError, match=r"^cannot look: no space left on device$"), engine.trouble("cannot look"):
        client.images.get("x")
