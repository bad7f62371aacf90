"""Base class of all HTTP handlers."""

from __future__ import annotations

from distributed.http.utils import RequestHandler

from djservice.service.interface import RunBoard, run_board

#: Only scripts and pictures of this server are loaded, so that text of a user is never executed.
#: Bokeh needs inline styles.
POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'"
)


class Handler(RequestHandler):
    """Handler with access to the service of this scheduler."""

    def set_default_headers(self) -> None:
        """Forbid browsers and proxies to cache answers, which are soon out of date."""
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Content-Security-Policy", POLICY)

    def compute_etag(self) -> None:
        """None, because answers are not cached."""

    @property
    def service(self) -> RunBoard:
        """The service of this scheduler.

        Raises
        ------
        ServiceError
            If the scheduler does not accept runs.
        """
        return run_board(self.server)
