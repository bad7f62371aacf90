"""What every answer over HTTP has in common."""

from __future__ import annotations

from distributed.http.utils import RequestHandler

from djservice.service.interface import RunBoard, run_board

#: Scripts and pictures from this server only: what a user wrote runs nowhere even if it got into a page. Bokeh styles its
#: figures from within.
POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; form-action 'none'"


class Handler(RequestHandler):
    """Answers with what the service of this scheduler says."""

    def set_default_headers(self) -> None:
        """Nothing is kept by browsers or proxies, for it is old at once."""
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Content-Security-Policy", POLICY)

    def compute_etag(self) -> None:
        """None: what is not kept needs no name."""

    @property
    def service(self) -> RunBoard:
        """The service.

        Raises
        ------
        ServiceError
            If the scheduler has none.
        """
        return run_board(self.server)
