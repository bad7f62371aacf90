"""The script of the published study, on few events: it runs, goes on where it was, and prints every row."""

import runpy
from pathlib import Path

import pytest
from click.testing import CliRunner

import djservice as dj

SCRIPT = Path(__file__).parents[2] / "workflows" / "zh_study.py"
FEW = [
    "input.files=example:ZHllbb_200",
    "input.entries=[0, 40]",
    "input.pt_min=2.0",
    "optimiser.iterations=4",
    "optimiser.batch_events=20",
    "scan.radii=[0.4, 0.7, 1.0, 1.2]",
    "scan.trees=4",
    "spectrum.trees=4",
    "per_event.iterations=3",
    "per_event.trees=4",
    "per_event.choose_trees=12",
    "per_event.accepted=4",
    "per_event.score_trees=12",
]


def test_the_study_in_one_command(
    scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = (*FEW, f"cluster.scheduler={scheduler}")
    options = [word for setting in settings for word in ("--set", setting)]
    main = runpy.run_path(str(SCRIPT))["main"]
    monkeypatch.setattr(dj, "report", lambda store: Path(store).with_suffix(".html").touch())
    for _ in range(2):  # the second time nothing is left to do
        done = CliRunner().invoke(main, ["--output", str(tmp_path / "study"), *options])
        assert done.exit_code == 0, done.output
        for row in (
            "from R = 0.3: R = ",
            "from R = 1.0: R = ",
            "R = 1.00",
            "one R per event",
            "125.6 / 29.5",
        ):
            assert row in done.stdout
    assert done.stderr.count("done already") == 4 + 4 + 5  # the phases of the three runs
    assert {path.name for path in (tmp_path / "study").iterdir()} >= {
        f"{name}.{kind}"
        for name in ("from_0.3", "from_1.0", "per_event")
        for kind in ("zarr", "html")
    }
