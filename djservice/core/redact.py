"""Redaction: secrets are removed from texts for logs, stores and pages."""

from __future__ import annotations

import re
from typing import Any

_SECRETS = (
    # The query of a URL may be a token (?authz=, X-Amz-Signature=), and the part before @ a
    # password.
    (re.compile(r"(\b\w[\w+.-]*://[^\s?#'\"<>]*)\?[^\s'\"<>,;)[\]]*"), r"\1?***"),
    (re.compile(r"(\b\w[\w+.-]*://)[^\s/@'\"<>]+@"), r"\1***@"),
    (re.compile(r"(?i)\bbearer(?:\s|%20)+[\w.~+/=-]+"), "Bearer ***"),
    # Libraries also quote tokens without the URL.
    (
        re.compile(
            r"(?i)\b(authz|authorization|access_token|token|password|secret|signature)"
            r"(\s*[=:]\s*)[^\s&'\",;]+"
        ),
        r"\1\2***",
    ),
    (
        re.compile(
            r"(?i)\b(aws_\w*key\w*|aws_session_token|x-amz-[\w-]+|awsaccesskeyid)"
            r"(\s*[=:]\s*)[^\s&'\",;]+"
        ),
        r"\1\2***",
    ),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]+"), "***"),  # a JSON web token
    (re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b"), "***"),  # an AWS access key
)


def redacted(text: str) -> str:
    """The text with ``***`` in place of secrets: queries and passwords of URLs, tokens, keys."""
    for pattern, shown in _SECRETS:
        text = pattern.sub(shown, text)
    return text


def redacted_data(value: Any) -> Any:
    """Plain data with every string redacted."""
    if isinstance(value, dict):
        return {redacted_data(key): redacted_data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [redacted_data(item) for item in value]
    return redacted(value) if isinstance(value, str) else value
