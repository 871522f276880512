"""The connection to the server: making it, and saying how it was lost."""

import os
import socket

from client._errors import Broken, CannotStart

CONNECT_SECONDS = 10
"""How long one address may stay silent. The kernel alone would try for 127 s (tcp_syn_retries, tcp(7))."""

SERVER_FIRST = (8, 9, 11)
"""CLOSE_WAIT, LAST_ACK, CLOSING: the states in which the other end has sent its FIN and does not have ours.

The numbers are those of ``tcpi_state`` (net/tcp_states.h), the ways into the states those of RFC 9293, 3.3.2.
"""


def connect(host: str, port: int) -> socket.socket:
    """Connect to the first address of ``host`` that answers on ``port``; IPv6 and IPv4, in getaddrinfo's order.

    Raises CannotStart if the name does not resolve or nobody answers, Broken if a server resets at once.
    """
    try:
        # As bytes the name goes to the resolver as it is; for a str Python would load its whole IDNA codec first.
        addresses = socket.getaddrinfo(os.fsencode(host), port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise _nobody(host, port, f"the name does not resolve ({error.strerror})") from error
    refusals = []
    for family, kind, protocol, _name, address in addresses:
        try:
            return _connect_to(family, kind, protocol, address)
        except ConnectionResetError as error:  # a port where nobody listens answers ECONNREFUSED: somebody was there
            raise connection_lost(error.errno) from error
        except TimeoutError:
            refusals.append(f"No answer in {CONNECT_SECONDS} s ({address[0]})")
        except OSError as error:
            refusals.append(f"{error.strerror} ({address[0]})")
    raise _nobody(host, port, "; ".join(refusals))


def closed_first(connection: socket.socket) -> bool:
    """Ask the kernel whether the server closed before it had our FIN; then it may have missed what we sent.

    TCP_INFO tells it while our FIN is under way. A server that has closed answers later bytes with a reset; that
    ends the state, but leaves an error, which recv(2) does not report once it has seen the server's FIN.
    """
    state: int = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]  # the first byte, tcpi_state
    return state in SERVER_FIRST or connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0


def server_closed() -> Broken:
    """The error for a server that closed before we did."""
    return Broken("the server closed the connection before we were done; what it had not sent back is lost")


def connection_lost(errno: int | None) -> Broken:
    """The error for a connection that ended with ``errno``: ECONNRESET, ETIMEDOUT and their like."""
    return Broken(f"the connection broke ({os.strerror(errno or 0)}); what the server had not sent back is lost")


def _connect_to(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> socket.socket:
    connection = socket.socket(family, kind, protocol)
    try:
        connection.settimeout(CONNECT_SECONDS)
        connection.connect(address)
        connection.settimeout(None)
        # Nagle's algorithm would hold a typed character back until the one before it is acknowledged (RFC 9293, 3.7.4).
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        connection.close()
        raise
    return connection


def _nobody(host: str, port: int, why: str) -> CannotStart:
    return CannotStart(f"cannot connect to {host}:{port}: {why}. Is the server up? ./lab status")
