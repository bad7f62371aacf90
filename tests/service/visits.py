"""What a visitor of the pages gets: answers of an address, and a page as a browser shows it."""

import json
import shutil
import subprocess
import urllib.error
import urllib.request
from decimal import ROUND_HALF_UP, Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from djservice.service.web import pages

SCHEMA = json.loads((Path(pages.__file__).parent / "static" / "schema.json").read_text())
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def get(address: str) -> tuple[int, Any, str]:
    """Status, headers and text of an answer, whatever the status."""
    try:
        with urllib.request.urlopen(address, timeout=300) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.headers, refusal.read().decode()


def found(address: str, kind: str) -> Any:
    """A JSON answer, which must be as the schema has it."""
    _, headers, text = get(address)
    assert headers["Cache-Control"] == "no-store"
    assert headers["Content-Type"].startswith("application/json")
    answer = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    jsonschema.Draft202012Validator(SCHEMA | {"$ref": f"#/$defs/{kind}"}).validate(answer)
    return answer


class Shown(HTMLParser):
    """Text by the id of the element that it is in, rows of tables, and attributes by id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.inside: list[str] = []
        self.text: dict[str, str] = {}
        self.rows: dict[str, list[list[str]]] = {}
        self.attributes: dict[str, dict[str, Any]] = {}
        self.feed(text)

    VOID = ("meta", "link", "img", "br", "input")

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag == "tr" and self.name in self.attributes:
            self.rows.setdefault(self.name, []).append([])
        if tag == "td" and self.name in self.rows:
            self.rows[self.name][-1].append("")
        if tag not in self.VOID:
            self.inside.append(given.get("id") or (tag if tag == "body" else ""))
        self.attributes.setdefault(given.get("id") or tag, given)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            self.inside.pop()

    def handle_data(self, data: str) -> None:
        self.text[self.name] = self.text.get(self.name, "") + data
        rows = self.rows.get(self.name)
        if rows and rows[-1]:
            rows[-1][-1] += data

    @property
    def name(self) -> str:
        return next((name for name in reversed(self.inside) if name), "")


def opened(profile: Path, address: str) -> Shown:
    """A page as it stands some seconds after a browser opened it; ``profile`` is a folder of the browser's own."""
    options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
    command = [
        str(CHROMIUM),
        *options,
        f"--user-data-dir={profile}",
        "--virtual-time-budget=8000",
        "--dump-dom",
        address,
    ]
    return Shown(
        subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    )


def rounded(value: float, digits: int) -> str:
    """As a browser rounds."""
    return str(Decimal(float(value)).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP))
