"""Captures of the network: record one in the server's namespace, read any, and tell its TCP connections.

    frames      a file as its packets: pcap and pcapng
    segments    a packet as a TCP segment
    connections the segments as connections: who sent how much, who closed, who reset
    ladder      a connection as text; picture: as SVG
    pcapng      what we write
    record      a live capture, from the probe
    wireshark   where it is on this computer

All but the last two are functions of bytes. The parsers are our own, on the standard library: scapy is many times what
is needed and under the GPL, the latest dpkt is of 2022, and both let a damaged file raise whatever comes up.
"""

from forklab.capture.connections import CLIENT, SERVER, Connection, Reading, choose, read

__all__ = ["CLIENT", "SERVER", "Connection", "Reading", "choose", "read"]
