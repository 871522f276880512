"""What the engine was told to forbid, and that it does."""

import re
from typing import Any

import pytest

from tests.lab.conftest import Rig


def host_config(rig: Rig, service: str) -> dict[str, Any]:
    """How the engine runs a container."""
    return dict(rig.container(service).attrs["HostConfig"])


@pytest.mark.parametrize("service", ["server", "probe"])
def test_no_more_rights_than_needed(rig: Rig, service: str) -> None:
    """All capabilities dropped, root read-only but for one place, no new privileges, no socket of the engine."""
    config = host_config(rig, service)
    assert config["CapDrop"] == ["ALL"]
    assert config["ReadonlyRootfs"] is True
    assert config["Privileged"] is False
    assert any(option.startswith("no-new-privileges") for option in config["SecurityOpt"])
    mounts = [(mount["Type"], mount["Destination"]) for mount in rig.container(service).attrs["Mounts"]]
    assert mounts == [("volume", {"server": "/data", "probe": "/trace"}[service])]


def test_the_server_has_no_capability(rig: Rig) -> None:
    """The kernel agrees: every capability set of the server is empty, and it is not root."""
    server = rig.snapshot().server
    _, status = rig.container("probe").exec_run(["cat", f"/proc/{server}/status"])
    assert isinstance(status, bytes)
    fields = dict(re.findall(r"^(\w+):\t(.*)$", status.decode(), re.MULTILINE))
    assert {fields[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert fields["Uid"].split() == ["9190"] * 4
    assert fields["NoNewPrivs"] == "1"
    assert not host_config(rig, "server")["CapAdd"]
    assert host_config(rig, "server")["PidsLimit"] > 0


def test_only_this_computer_reaches_the_port(rig: Rig) -> None:
    """The published port is bound to the loopback address, and its number was picked by the engine."""
    (bound,) = rig.container("server").attrs["NetworkSettings"]["Ports"]["9190/tcp"]
    assert bound["HostIp"] == "127.0.0.1"
    (asked,) = host_config(rig, "server")["PortBindings"]["9190/tcp"]
    assert asked["HostPort"] in ("", "0")


def test_everything_carries_the_label(rig: Rig) -> None:
    """Containers, network and volume can be found, and removed, by the label alone."""
    for service in ("server", "probe"):
        assert "forklab" in rig.container(service).labels
    (network,) = rig.client.networks.list(names=[rig.network()])
    assert network.attrs is not None
    assert "forklab" in network.attrs["Labels"]
    volumes = rig.client.volumes.list(filters={"label": f"com.docker.compose.project={rig.project}"})
    assert len(volumes) == 2
    for volume in volumes:
        assert volume.attrs is not None
        assert "forklab" in volume.attrs["Labels"]


def test_the_health_check_does_not_connect(rig: Rig) -> None:
    """After several health checks the server has accepted nobody because of them."""
    container = rig.container("server")
    assert container.attrs["State"]["Health"]["Status"] == "healthy"
    test = container.attrs["Config"]["Healthcheck"]["Test"]
    before = container.logs().count(b"client connected")
    code, _ = container.exec_run(test[1:])
    assert code == 0
    assert container.logs().count(b"client connected") == before
