"""Ports for servers that tests start."""

import contextlib
import random
import socket


def free_port(partner: int = 0) -> int:
    """A port that is free, below those that the system gives to anybody before a server listens there.

    With ``partner`` the port that is so much higher is free, too.
    """
    while True:
        port = random.SystemRandom().randrange(12_000, 22_000)
        with socket.socket() as one, socket.socket() as other, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            if partner:
                other.bind(("127.0.0.1", port + partner))
            return port
