"""Names under which the pages answer.

A page elsewhere may have its own name point to this server (DNS rebinding), and would then be
allowed to read the answers. Its requests have that name in their header ``Host``. An address there
was not looked up, so addresses are allowed.
"""

from __future__ import annotations

import ipaddress
import socket

import dask
from tornado.web import RequestHandler

from djservice.errors import ServiceError

SETTING = "djservice.dashboard-hosts"


class OwnNamesOnly(RequestHandler):
    """Handler that refuses requests under names that are not this server's."""

    def prepare(self) -> None:
        """Called by Tornado before the request is handled."""
        if not is_allowed(self.request.host_name):
            self.refuse(
                421,
                "this server does not answer to that name. Use its address, or add the name to "
                f"{SETTING} of Dask's configuration.",
            )

    def refuse(self, status: int, message: str) -> None:
        """Send an error message."""
        self.set_status(status)
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.finish(message)


def configured_hosts() -> tuple[str, ...]:
    """Names that the configuration adds.

    Raises
    ------
    ServiceError
        If they are not a name or a list of names.
    """
    value = dask.config.get(SETTING, None) or ()
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise ServiceError(
            f"{SETTING}: expected a host name or a list of them, found {value!r}. Correct Dask's "
            "configuration."
        )
    return tuple(name.lower() for name in names)


def is_allowed(host: str) -> bool:
    """True for an address, ``localhost``, the names of this machine, and the configured ones."""
    name = host.lower().strip("[]").removesuffix(".")
    try:
        ipaddress.ip_address(name)
    except ValueError:
        machine = socket.gethostname().lower()
        return name in ("localhost", machine, machine.partition(".")[0], *configured_hosts())
    return True
