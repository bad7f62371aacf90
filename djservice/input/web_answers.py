"""What a web server answers instead of a part of a file, for the message of a failed read."""

from __future__ import annotations

import contextlib
import http.client
import urllib.error
import urllib.request

#: Seconds to wait for the answer.
_PATIENCE = 5.0


def wrong_answer(url: str) -> str:
    """A sentence on a server that sends a page, or knows no byte ranges; empty if it does neither.

    The first bytes are asked for once more. ROOT files begin with "root".
    """
    if not url.startswith(("http://", "https://")):
        return ""
    request = urllib.request.Request(url, headers={"Range": "bytes=0-31"})
    with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
        with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:
            status, head = answer.status, bytes(answer.read(32))
        if head.lstrip()[:1] == b"<":
            return (
                "The server sends a page of HTML instead of the file, such as one that asks to "
                "sign in. See it with a browser or curl."
            )
        if status != 206 and head.startswith(b"root"):
            return (
                "The server sends the whole file where a part is asked for: it knows no byte "
                "ranges, which reading by parts needs. Use another server, or copy the file here."
            )
    return ""
