"""Ports for servers that cannot be told to choose one themselves."""

from __future__ import annotations

import errno
import random
import socket
from pathlib import Path


def free_port() -> int:
    """A port of the loopback interface that nobody listens on, and that the system gives to nobody who asks for any.

    Between the moment it is found and the moment it is used, a port of the system's own range may be handed to another process.
    """
    first, last = 10_000, int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert last > first + 1000, f"ports from {last} on are the system's own: none is left to choose from"
    while True:
        port = random.SystemRandom().randrange(first, last)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return port
