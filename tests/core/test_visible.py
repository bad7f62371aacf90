"""What others named cannot control the terminal, nor a log, wherever it is printed."""

import io
import logging
from pathlib import Path
from typing import Any

import pytest

from djservice.cli.echo import echo
from djservice.core.display import Lines, Terminal
from djservice.core.log_records import clean_records
from djservice.core.private import private_url
from djservice.core.visible import visible

#: Names that clear a screen, set a title, start a line, overwrite it, or turn the reading direction.
NAMES = [
    "a\x1b[2J.root",
    "a\x1b]0;title\x07.root",
    "a\nok: everything is in order",
    "a\rb",
    "a\x08b",
    "a\x9b31mb",
    "a\u202egnp.root",
    "a\u2066b\u2069",
    "a\u200bb",
    "a\u2028b",
    "a\udc9bb",
    "a\ufeffb",
]


def harmless(text: str) -> bool:
    return text.rstrip("\n").isprintable() and text.count("\n") <= 1


@pytest.mark.parametrize("name", NAMES)
def test_names_are_escaped_wherever_they_meet_a_terminal(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    echo(name)
    echo(name, err=True)
    Lines().say(name)
    printed = capsys.readouterr()
    assert harmless(printed.out) and "".join(map(visible, printed.err.split("\n"))).isprintable()
    assert printed.err.count("\n") == 2 and printed.err.replace("\n", "").isprintable()
    display = Terminal()
    display.say(name)
    display.close()
    assert visible(name) in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["Ünïcode.root", "粒子.root", "👩\u200d🔬", "\u0645\u06cc\u200c\u062e"]
)
def test_other_letters_stay(name: str) -> None:
    assert visible(name) == name


@pytest.fixture
def log() -> Any:
    """What is logged, with the records of this process cleaned."""
    before, stream = logging.getLogRecordFactory(), io.StringIO()
    handler = logging.StreamHandler(stream)
    loggers = [logging.getLogger(name) for name in ("djservice", "distributed.worker")]
    for logger in loggers:
        logger.addHandler(handler)
    clean_records()
    yield stream
    logging.setLogRecordFactory(before)
    for logger in loggers:
        logger.removeHandler(handler)


def test_log_records_hold_neither_secrets_nor_controls(log: Any, tmp_path: Path) -> None:
    secret = "hunter2x5ab4c3d2"
    url = private_url(f"https://h/a.root?authz={secret}")
    worker = logging.getLogger("distributed.worker")
    worker.warning("Compute Failed: %s %r", secret, url)
    try:
        try:
            raise OSError(f"403, url='https://h/a.root?authz={secret}'")
        except OSError as error:
            raise RuntimeError("\x1b[2Jno") from error
    except RuntimeError:
        worker.exception("failed\nin two lines")
    logging.getLogger("djservice").warning("forgotten by %s", "ann\nok: by root\x1b[0m")
    text = log.getvalue()
    assert secret not in text and "https://h/a.root" in text and "RuntimeError" in text
    assert "\x1b" not in text and "failed\nin two lines" in text
    assert r"forgotten by ann\nok: by root\x1b[0m" in text


def test_a_wrong_call_of_logging_is_left_to_its_handler(log: Any) -> None:
    record = logging.getLogRecordFactory()("x", logging.INFO, "", 1, "%d", ("a",), None)
    assert record.args == ("a",)
