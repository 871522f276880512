"""The kernel's own tools for the network: nft(8), tc(8) and ip(8), and the features that this kernel has."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from probe.faults._effect import Refused
from probe.features import has
from protocol import exits

TABLE = "forklab_"
"""Begins the name of each nftables table of ours; the fault's name with _ follows."""

FAMILY = "inet"
HIDDEN = "FORKLAB_WITHOUT"
"""An environment variable: features, separated by commas, to do without although the kernel has them."""


def can(feature: str) -> bool:
    """Whether the kernel has a feature (``probe.features``) and we are not told to do without it."""
    return not hidden(feature) and has(feature)


def hidden(feature: str) -> bool:
    """Whether we are told to do without a feature."""
    return feature in os.environ.get(HIDDEN, "").split(",")


def tool(*words: str, script: str = "") -> str:
    """Run a tool to its end; what it printed.

    Raises:
        Refused: it failed; the message has its last line.
    """
    done = subprocess.run(words, input=script, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        raise Refused(f"{' '.join(words[:3])} failed: {said[0]}", exits.LAB_FAILED)
    return done.stdout


def tables() -> list[str]:
    """The names of our nftables tables in this network namespace, with or without somebody who holds them."""
    listed = json.loads(tool("nft", "-j", "list", "tables"))["nftables"]
    found = [row["table"] for row in listed if "table" in row]
    return [row["name"] for row in found if row["family"] == FAMILY and row["name"].startswith(TABLE)]


def drop_table(name: str) -> None:
    """Delete one of our tables with all that is in it; it may be gone already. All in one transaction (nft(8))."""
    tool("nft", "-f", "-", script=f"add table {FAMILY} {name}\ndelete table {FAMILY} {name}\n")


@contextmanager
def table(fault: str, chains: str) -> Iterator[str]:
    """Hold a table of our own with these ``chains``; its name.

    Raises:
        Refused: the kernel has no nftables, or lacks something that the chains use.
    """
    if not can("nftables"):
        raise Refused("this kernel has no nftables, and the fault needs them")
    name = TABLE + fault.replace("-", "_")
    drop_table(name)  # what a holder that was killed has left behind
    try:
        tool("nft", "-f", "-", script=f"table {FAMILY} {name} {{\n{chains}\n}}\n")
    except Refused as refused:
        raise Refused(f"nftables of this kernel cannot do it: {refused}") from None
    try:
        yield name
    finally:
        drop_table(name)


def counted(name: str) -> int:
    """How many packets the counters of a table have seen."""
    listed: list[dict[str, Any]] = json.loads(tool("nft", "-j", "list", "table", FAMILY, name))["nftables"]
    rules = [row["rule"]["expr"] for row in listed if "rule" in row]
    return sum(part["counter"]["packets"] for rule in rules for part in rule if "counter" in part)


def devices() -> list[str]:
    """The network devices that carry traffic: up, with an address, and not the loopback device."""
    links = json.loads(tool("ip", "-j", "address", "show", "up"))
    return [link["ifname"] for link in links if "LOOPBACK" not in link["flags"] and link.get("addr_info")]
