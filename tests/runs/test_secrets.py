"""A run on a URL full of secrets: it reads with them, and none is in anything that it leaves or says."""

import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest

import djservice as dj
from djservice.config.run import Run
from djservice.core.display import Lines
from djservice.core.private import PrivateUrl
from djservice.core.redact import message_of
from djservice.errors import ConfigError, DjserviceError, MissingFileError
from djservice.exports.contents import contents_of
from djservice.exports.files import description
from djservice.exports.write import export
from djservice.fit.plan import RunPlan
from djservice.input import retries
from djservice.reports.compared import compare_runs
from djservice.reports.html import report
from djservice.reports.summary import summary
from djservice.reports.terminal import print_summary
from djservice.runs.dry_run import dry_run
from djservice.service.records import Record
from djservice.service.submission import identity, pack, same_numbers, unpack

Settings = dict[str, Any]
TOKENS = ("hunter2x5ab4c3d2", "other7token7of7ann")

#: Where a token may stand in the URL of a file.
FORMS = {
    "everywhere": "http://me:{token}@{host}{path}?f=(x),[y];sig={token}&sig={token}&t=7#{token}",
    "chain": "simplecache::http://{host}{path}?authz=Bearer%20{token}",
}


def written(folder: Path) -> bytes:
    """Everything in a folder: names and contents."""
    paths = sorted(folder.rglob("*"))
    return b"".join(str(path).encode() + path.read_bytes() for path in paths if path.is_file())


@pytest.mark.parametrize("form", [pytest.param("chain", marks=pytest.mark.long), "everywhere"])
def test_a_token_opens_the_file_and_is_in_no_output(
    form: str,
    events_host: str,
    tiny: Settings,
    scheduler: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retries, "PAUSES", (0.0,))
    caplog.set_level(logging.DEBUG, "distributed")
    said = io.StringIO()
    tiny["optimiser"] |= {"iterations": 2}

    def run_of(token: str, path: str = "/events.root") -> Run:
        files = FORMS[form].format(host=events_host, path=path, token=token)
        return Run.from_dict(
            tiny | {"input": tiny["input"] | {"files": files}, "cluster": {"scheduler": scheduler}}
        )

    first, second = map(run_of, TOKENS)
    finished = dj.run(first, watch=Lines(said))
    again = dj.run(second, watch=Lines(said))  # continues the store: nothing is left to do
    assert repr(again.result) == repr(finished.result)
    assert identity(first) == identity(second) and same_numbers(first) == same_numbers(second)
    assert first.numbers == second.numbers and first != second
    bad = run_of(TOKENS[0], "/gone.root")
    with pytest.raises(DjserviceError, match=r"gone\.root") as failure:
        dj.run(bad, overwrite=True, watch=Lines(said))
    page = report(finished.store)
    compare_runs([finished.store, finished.store], tmp_path / "compared.html")
    for kind in ("csv", "parquet", "root", "hepdata"):
        export(finished.store, kind, tmp_path / kind)
    print_summary(finished.store, page)
    record = Record("id", "ann", pack(first))
    assert TOKENS[0] in json.dumps(record.config) and unpack(record.config) == Run.from_dict(
        record.config
    )
    texts = [said.getvalue(), *capfd.readouterr(), caplog.text, repr(record), repr(first)]
    texts += [first.to_yaml(), repr(first.model_dump()), first.model_dump_json(), repr(first.input)]
    texts += [json.dumps(description(contents_of(finished.store))), *dry_run(first)]
    texts += [json.dumps(summary(finished.store)), str(failure.value), repr(bad), page.read_text()]
    texts += [str(cause) for cause in (failure.value.__cause__,) if cause]
    texts += [repr(finished), identity(first), written(tmp_path).decode(errors="replace")]
    for token in TOKENS:
        assert [text for text in texts if token in text] == []
    assert "/events.root" in first.to_yaml()


@pytest.mark.parametrize(
    "where, value",
    [
        ("files", [["https://h/a.root?sig={token}"]]),
        ("files", {"url": "https://h/a.root", "token": "{token}"}),
        ("fileset", {"ZH": {"files": {"https://h/a.root?t={token}": {"steps": "x"}}}}),
        ("storage_options", {"secret": "{token}"}),
        ("tree", ["s3://me:{token}@bucket"]),
        ("entries", "https://me:{token}@h/a.root#{token}"),
    ],
)
def test_a_configuration_at_fault_is_described_without_its_secrets(
    where: str, value: Any, tiny: Settings
) -> None:
    filled = json.loads(json.dumps(value).replace("{token}", TOKENS[0]))
    given = {key: item for key, item in tiny["input"].items() if key not in ("files", where)}
    files = {} if where in ("files", "fileset") else {"files": "example:ZHllbb_200"}
    with pytest.raises((ConfigError, DjserviceError), match=r"input|steps") as failure:
        RunPlan(Run.from_dict(tiny | {"input": given | files | {where: filled}})).check()
    assert TOKENS[0] not in str(failure.value)
    assert TOKENS[0] not in message_of(OSError(f"401 for {TOKENS[0]}"))


@pytest.mark.parametrize(
    "text",
    [
        "input: {{files: https://h/a.root?x=1&sig={token}: y}}",
        "x: 1\npassword: [{token}",
        "files: 'https://h/a.root?" + 90 * "x" + "={token}",
        "key: {token}\n\tx: 1",
    ],
)
def test_yaml_that_cannot_be_read_is_not_quoted(text: str, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text.format(token=TOKENS[0]))
    with pytest.raises(ConfigError, match=r"run\.yaml: not valid YAML: .*line \d") as failure:
        Run.from_yaml(path)
    assert TOKENS[0] not in str(failure.value)
    with pytest.raises(ConfigError, match=r"--set input\.files: not valid YAML") as failure:
        Run.from_yaml(examples_yaml(tmp_path), [f"input.files=[{TOKENS[0]}"])
    assert TOKENS[0] not in str(failure.value)


def examples_yaml(folder: Path) -> Path:
    """An empty configuration."""
    (folder / "empty.yaml").write_text("{input: {}}")
    return folder / "empty.yaml"


@pytest.mark.parametrize("path", ["//data/run#1;a.zarr", "data/x?y=1.zarr", "a:/b?c=d.zarr"])
def test_a_path_with_marks_of_a_url_stays_a_path(path: str, tiny: Settings) -> None:
    run = Run.from_dict(
        tiny | {"output": {"store": path}} | {"input": tiny["input"] | {"cache": path}}
    )
    assert run.output.store == run.input.cache == path
    assert run.to_dict()["output"]["store"] == path
    assert not isinstance(run.output.store, PrivateUrl)


@pytest.mark.parametrize("form", ["https:/h/a.root?x={}", "//h/a.root?x={}", "h.org/a.root?x={}"])
def test_a_mistyped_url_is_missed_without_its_secret(form: str, tiny: Settings) -> None:
    run = Run.from_dict(tiny | {"input": {"files": form.format(TOKENS[0])}})
    with pytest.raises(MissingFileError, match=r"there is no such file|no file matches") as failure:
        RunPlan(run).check()
    assert TOKENS[0] not in str(failure.value)
