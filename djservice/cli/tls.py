"""The options of certificates, for every command that reaches a scheduler."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from djservice.core.regular import irregular

Command = Callable[..., None]

#: Options, and the key of Dask's configuration that each stands for.
_KEYS = {
    "tls_ca_file": "distributed.comm.tls.ca-file",
    "tls_cert": "distributed.comm.tls.client.cert",
    "tls_key": "distributed.comm.tls.client.key",
}


def tls_options(command: Command) -> Command:
    """Add the options of certificates; they go before those of Dask's configuration."""

    @wraps(command)
    def with_certificates(**arguments: Any) -> None:
        files = {key: arguments.pop(option) for option, key in _KEYS.items()}
        settings = {key: path for key, path in files.items() if path is not None}
        for path in settings.values():
            if other := irregular(path):
                raise click.BadParameter(f"{path}: expected a PEM file, found {other}.")
        if not settings:
            command(**arguments)
            return
        import dask

        if arguments.get("scheduler") is not None:
            settings["distributed.comm.require-encryption"] = True
        with dask.config.set(settings):
            command(**arguments)

    decorated: Command = with_certificates
    pem = click.Path(exists=True, dir_okay=False)
    for name, text in (
        ("--tls-key", "Private key of this user (PEM file)."),
        ("--tls-cert", "Certificate of this user (PEM file)."),
        ("--tls-ca-file", "Certificate authority of the cluster (PEM file)."),
    ):
        decorated = click.option(name, type=pem, help=text)(decorated)
    return decorated
