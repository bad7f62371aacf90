"""Certificates that a scheduler asks for."""

from __future__ import annotations

from distributed.security import Security

from djservice.errors import RunError


def need_certificates(address: str, security: Security | None = None) -> None:
    """Refuse a ``tls://`` address without certificates.

    Parameters
    ----------
    address
        Address of a scheduler.
    security
        Its certificates; those of Dask's configuration by default.

    Raises
    ------
    RunError
        If the authority, the certificate or the key is missing. The message names their options.
    """
    if not address.startswith("tls://"):
        return
    security = security or Security()
    files = {
        "--tls-ca-file": security.tls_ca_file,
        "--tls-cert": security.tls_client_cert,
        "--tls-key": security.tls_client_key,
    }
    missing = [option for option, file in files.items() if not file]
    if missing:
        raise RunError(
            f"{address}: the scheduler asks for certificates, and none are given for "
            f"{', '.join(missing)}. Give these options, or set distributed.comm.tls in Dask's "
            "configuration (docs/security.md)."
        )
