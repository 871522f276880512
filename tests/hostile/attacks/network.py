"""Tries to reach a network: addresses outside, name servers, the engine's bridge, raw sockets, a device of its own."""

import contextlib
import os
import socket
import sys

reached = []
for address in ("8.8.8.8", "172.17.0.1", "10.0.0.1", "192.168.1.1", "169.254.169.254"):
    with contextlib.suppress(OSError), socket.create_connection((address, 53), timeout=1):
        reached.append(address)
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.sendto(b"x", (address, 53))
        reached.append(f"{address} by UDP")
with contextlib.suppress(OSError), socket.create_connection(("2001:4860:4860::8888", 53), timeout=1):
    reached.append("IPv6")
for family, kind, protocol in (
    (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW),
    (socket.AF_PACKET, socket.SOCK_RAW, 3),
):
    with contextlib.suppress(OSError), socket.socket(family, kind, protocol):
        reached.append((family, kind))
with contextlib.suppress(OSError):
    os.close(os.open("/dev/net/tun", os.O_RDWR))
    reached.append("tun")
print("devices:", sorted(name for _, name in socket.if_nameindex()), "reached:", reached)
sys.exit(3)
