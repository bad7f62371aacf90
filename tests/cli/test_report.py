"""`djservice report`: its files, what it says, and what it does not replace."""

import html
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from djservice.cli import main
from djservice.core.formatting import radius_text
from djservice.store.run_store import Store

Call = Callable[..., Result]


@pytest.fixture(scope="module")
def written(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """What the command said, and the folder where it was, with the report out/page.html."""
    folder = tmp_path_factory.mktemp("written")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return CliRunner().invoke(
            main, ["report", str(finished_run), "--output", "out/page.html"]
        ), folder


def test_a_report_that_cannot_be_written_hides_no_result(
    call: Call, config: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    ended = call("run", config, "--set", f"output.report={tmp_path}/file/x.html")
    assert ended.exit_code == 1
    assert "R: 1 -> " in ended.stdout
    assert "ReportError" in ended.stderr


def test_a_report_or_a_skim_replaces_no_other_file(
    call: Call, finished_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text("a: 1\n")
    os.mkfifo(tmp_path / "pipe.html")
    for arguments in (
        ["report", str(finished_run), "--output", str(tmp_path / "mine.yaml")],
        ["report", str(finished_run), "--output", str(finished_run / "zarr.json")],
        ["report", str(finished_run), "--output", str(tmp_path / "pipe.html")],
        ["skim", "example:ZHllbb_200", str(tmp_path / "mine.yaml")],
    ):
        done = call(*arguments)
        assert done.exit_code == 1 and "expected no file or a" in done.output
    assert (tmp_path / "mine.yaml").read_text() == "a: 1\n"


def test_the_report_is_one_file_and_its_figures(
    written: tuple[Result, Path], finished_run: Path
) -> None:
    ended, folder = written
    assert (ended.exit_code, ended.stdout) == (0, "wrote out/page.html\n")
    page = (folder / "out" / "page.html").read_text()
    result = Store.read(finished_run).attributes["result"]
    radius = radius_text(result).replace("+-", "±")
    assert f"R = {radius}</p>" in page
    page = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)  # of bokeh, inline
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:)""", page)
    assert not re.search(r"https?://|@import|url\(", page)
    assert page.count("data:image/png;base64,") == 4
    figures = sorted(file.name for file in (folder / "out" / "page.report").iterdir())
    assert figures == sorted(
        f"{name}.{kind}"
        for name in ("landscape", "iterations", "lund", "spectra")
        for kind in ("png", "svg")
    )


def test_the_report_says_where_it_comes_from_and_folds(
    written: tuple[Result, Path], finished_run: Path
) -> None:
    text = (written[1] / "out" / "page.html").read_text()
    execution = Store.read(finished_run).attributes["execution"]
    assert set(execution) == {"time", "host", "user", "command", "folder", "commit"}
    for name in ("time", "host", "user", "folder", "commit"):
        assert html.escape(execution[name]) in text, name
    without_scripts = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert " ± " in text and "+-" not in without_scripts
    assert text.count("<details") == text.count("</details>") == text.count("<summary>") >= 5
    assert without_scripts.count('type="checkbox"') == text.count("<figure>") >= 3
    assert "Bokeh" in text and 'src="http' not in without_scripts
    for part in ("events", "trees", "optimiser"):
        assert f"<td>{part}</td>" in text or "not determined" in text


def test_runs_are_compared_on_one_page(
    call: Call, finished_run: Path, config: Path, tmp_path: Path
) -> None:
    """Two runs that differ in their seed."""
    assert call("run", config, "--set", "seed=7", "--no-report", "-q").exit_code == 0
    done = call("report", finished_run, tmp_path / "tiny.zarr")
    assert (done.exit_code, done.stdout) == (0, "wrote compared.html\n"), done.output
    text = (tmp_path / "compared.html").read_text()
    assert re.search(r"<code>seed</code></td><td>1</td><td>7</td>", text)
    assert text.count("<code>") == 1 and "data:image/png;base64," in text
    assert call("report", finished_run, tmp_path / "gone.zarr").exit_code == 1
    (tmp_path / "mine.html").write_text("mine")
    assert call("report", finished_run, finished_run, "--output", "mine.html").exit_code == 1
    assert (tmp_path / "mine.html").read_text() == "mine"
