"""Nothing that was secret where it came from is in a text, whoever wrote that text."""

import base64
import json
import pickle
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from djservice.core.private import full_url, private, private_url, public
from djservice.core.redact import message_of, redacted, remember_settings, shareable
from djservice.core.urls import basename, is_url

SECRET = "hunter2-5ab4/c3d2+é=ü"
PLAIN = "hunter2x5ab4c3d2"

#: URLs with a secret, and what is shown of them.
URLS = {
    "query": (f"root://h//a.root?authz={PLAIN}", "root://h//a.root"),
    "query without a name": (f"https://h/a.root?{PLAIN}", "https://h/a.root"),
    "one of several": (f"https://h/a.root?x=1&X-Amz-Signature={PLAIN}&y=2", "https://h/a.root"),
    "repeated": (f"https://h/a.root?t=1&t={PLAIN}&t=2", "https://h/a.root"),
    "semicolons": (f"https://h/a.root?a=1;sig={PLAIN}", "https://h/a.root"),
    "brackets": (f"https://h/a.root?f[]=1&sig={PLAIN}", "https://h/a.root"),
    "parenthesis": (f"https://h/a.root?f=(x)&sig={PLAIN}", "https://h/a.root"),
    "comma": (f"root://h//a.root?xrd.k=a,b&x={PLAIN}", "root://h//a.root"),
    "space": (f"https://h/a.root?a=1 b&sig={PLAIN}", "https://h/a.root"),
    "line end": (f"https://h/a.root?x=1\n&sig={PLAIN}", "https://h/a.root"),
    "bearer": (f"root://h//a.root?authz=Bearer%20{PLAIN}", "root://h//a.root"),
    "password": (f"https://me:{PLAIN}@h/a.root", "https://h/a.root"),
    "user alone": (f"https://{PLAIN}@h/a.root", "https://h/a.root"),
    "password with @": (f"https://me:pa@{PLAIN}@h/a.root", "https://h/a.root"),
    "password with a slash": (f"https://me:pa/{PLAIN}@h/a.root", "https://***@h/a.root"),
    "password with a question mark": (f"https://me:pa?{PLAIN}@h/a.root", "https://***@h/a.root"),
    "fragment": (f"https://h/a.root#access={PLAIN}", "https://h/a.root"),
    "bare fragment": (f"https://h/a.root#{PLAIN}", "https://h/a.root"),
    "parameters of the path": (f"https://h/a.root;sid={PLAIN}", "https://h/a.root"),
    "percent code": (f"https://h/a.root%3Fsig%3D{PLAIN}", "https://h/a.root"),
    "twice percent code": (f"https://h/a.root%253fsig%253d{PLAIN}", "https://h/a.root"),
    "chain": (f"simplecache::https://me:{PLAIN}@h/a.root?x=1", "simplecache::https://h/a.root"),
    "archive": (f"zip://a.root::https://h/a.zip?t={PLAIN}", "zip://a.root::https://h/a.zip"),
    "address": (
        f"https://[2001:db8::a:1]:80/a.root?t={PLAIN}",
        "https://[2001:db8::a:1]:80/a.root",
    ),
    "one slash": (f"https:/h/a.root?x={PLAIN}", "https:/h/a.root"),
    "no scheme": (f"//h/a.root?authkey={PLAIN}", "//h/a.root"),
    "neither": (f"h.org/a.root?authkey={PLAIN}", "h.org/a.root"),
    "bucket": (f"s3://KEY:{PLAIN}@bucket/a.root", "s3://bucket/a.root"),
    "capitals": (f"HTTPS://h/a.root?T={PLAIN}", "HTTPS://h/a.root"),
    "encoded": (f"https://h/a.root?t={quote(SECRET, safe='')}", "https://h/a.root"),
}


def quoted(secret: str) -> list[str]:
    """Texts of errors in which libraries quote a secret."""
    basic = base64.b64encode(f"me:{secret}".encode()).decode()
    return [
        f"403 for {secret}",
        f"sig%3D{quote(secret, safe='')}",
        f"sig={quote_plus(secret).lower() if secret == PLAIN else quote_plus(secret)}",
        json.dumps({"access_token": secret}),
        repr({"token": secret, "data": secret.encode()}),
        f"Authorization: Basic {basic}",
        base64.urlsafe_b64encode(secret.encode()).decode(),
        f"S3FileSystem(key='{secret}')",
    ]


@pytest.mark.parametrize("form", URLS)
def test_a_url_is_shown_without_what_may_be_secret(form: str) -> None:
    url, shown = URLS[form]
    private = private_url(url)
    texts = [private, repr(private), f"{private}[0:3]", json.dumps([private]), basename(private)]
    assert private == private_url(url) != private_url(url + "0") and str(private) == shown
    assert full_url(private) == full_url(pickle.loads(pickle.dumps(private))) == url
    mistyped = form in ("one slash", "no scheme", "neither")  # they may be paths, and stay
    assert json.dumps(public({"a": [url], url: 1})).count(PLAIN) == 2 * mistyped
    secret = SECRET if form == "encoded" else PLAIN
    texts += map(redacted, [f"403, url={url!r}", *quoted(secret)])
    assert [text for text in texts if "unter2" in text or "5ab4" in text] == []
    assert [text for text in map(redacted, quoted(secret)) if base64_part(secret) in text] == []


def base64_part(secret: str) -> str:
    return base64.b64encode(secret.encode()).decode()[4:16]


@pytest.mark.parametrize(
    "path",
    ["/data/what?.root", "s3://bucket/a*.root", "example:ZHllbb_200", "file:///a", "tcp://h:8786"],
)
def test_other_paths_stay(path: str) -> None:
    assert private_url(path) is path and redacted(path) == path


@pytest.mark.parametrize("secret", ["7", "ab", "x9z"])
def test_very_short_values_are_hidden_beside_their_names(secret: str) -> None:
    private_url(f"https://me:{secret}@h/a.root?token={secret}")
    for text in (
        f"token={secret}",
        f"{{'token': '{secret}'}}",
        f"token%3D{secret}",
        f"?token={secret}",
    ):
        assert secret not in redacted(f"403 ({text}) h").replace("403", "")
    assert f"me:{secret}" not in redacted(f"no me:{secret}@h")
    assert redacted(f"row {secret}, columns 17") == f"row {secret}, columns 17"


@pytest.mark.parametrize("secret", [SECRET, PLAIN])
@pytest.mark.parametrize("source", ["environment", "url", "file", "dask", "fsspec", "yaml"])
def test_the_secrets_of_a_process_are_in_no_error_of_another_library(
    source: str, secret: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if source == "environment":
        monkeypatch.setenv("BEARER_TOKEN", secret)
    if source == "url":
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:{quote(secret, safe='')}@proxy:3128")
    if source == "file":
        (tmp_path / "token").write_text(f"{secret}\n")
        monkeypatch.setenv("BEARER_TOKEN_FILE", str(tmp_path / "token"))
    if source == "dask":
        remember_settings({"gateway": {"auth": {"kwargs": {"password": secret}}}})
    if source == "fsspec":
        import fsspec.config

        monkeypatch.setitem(fsspec.config.conf, "s3", {"key": "me", "secret": secret})
    if source == "yaml":
        remember_settings({"input": {"storage_options": [{"secrets": {"value": secret}}]}})
    cause = OSError(f"Bearer {secret}")
    assert message_of(cause) == "Bearer ***" and shareable(cause) is None
    assert [text for text in map(redacted, quoted(secret)) if "5ab4" in text] == []
    assert [text for text in map(redacted, quoted(secret)) if base64_part(secret) in text] == []


def test_a_path_that_is_a_key_is_no_name_of_a_secret() -> None:
    remember_settings({"files": {"/data/secrets/a.root": {"format": "root"}}})
    assert redacted("/data/a.root") == "/data/a.root"


def test_an_error_without_a_secret_stays_the_cause() -> None:
    private_url(f"https://h/a.root?authz={PLAIN}")
    error = OSError("no such host")
    assert shareable(error) is error
    error.__cause__ = OSError(PLAIN)
    assert shareable(error) is None


def test_a_url_that_a_server_names_is_cut_too() -> None:
    text = "redirected to root://pool7:1094//a.root?authz=never-seen&x: refused"
    assert redacted(text) == "redirected to root://pool7:1094//a.root: refused"
    assert (
        redacted("see https://h/a.root; or (s3://b/c).") == "see https://h/a.root; or (s3://b/c)."
    )


@pytest.mark.parametrize(
    "text",
    [
        "authz=never-seen&x",
        "Authorization: Basic never-seen",
        "{'access_token': 'never-seen'}",
        'line 3: password: "never-seen"',
        "Bearer%20never-seen",
        "aws_secret_access_key = never-seen",
    ],
)
def test_what_a_text_calls_a_secret_is_hidden(text: str) -> None:
    assert "never-seen" not in redacted(text) and "***" in redacted(text)


def test_private_data_keep_their_credentials_as_keys_and_items() -> None:
    url = f"https://h/a.root?authz={PLAIN}"
    data = private({"files": {url: None}, "others": [url, 1.5, "a ? b = c"]})
    assert PLAIN not in repr(data) and is_url(data["others"][0])
    assert data["files"] == {url: None} and data["others"][1:] == [1.5, "a ? b = c"]


@pytest.mark.parametrize(
    "name, value",
    [
        ("TOKENIZERS_PARALLELISM", "false"),
        ("USE_TOKEN", "true"),
        ("HOME", "/root"),
        ("TERM", "dumb"),
    ],
)
def test_other_variables_of_the_environment_are_no_secrets(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert redacted(f"it is {value}") == f"it is {value}"
