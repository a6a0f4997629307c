"""Ports of this machine that nobody has yet."""

from __future__ import annotations

import socket
from typing import Final

LOOPBACK: Final = "127.0.0.1"


def listening(host: str, port: int) -> socket.socket:
    """A server's socket on the host's port, 0 for any that is free; raises ``OSError``."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


def free_port(host: str = LOOPBACK) -> int:
    """A TCP port of the host's that nobody listens on now, and that is given to nobody else soon.

    Whoever listens on it later asks for it by its number. Until then another process may be given
    it as a free one, or be told it here: so a connection is made on it, which the system remembers
    for a minute. A server may listen there all the same, as each of ours does (``SO_REUSEADDR``).
    """
    with listening(host, 0) as probe:
        port: int = probe.getsockname()[1]
        with socket.create_connection((host, port)):
            # The side that ends it first is the one that is remembered.
            probe.accept()[0].close()
        return port
