"""The script of the published study, on few events: it runs, goes on where it was, and prints every row."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "workflows" / "zh_study.py"
FEW = [
    "input.files=example:ZHllbb_200",
    "input.entries=[0, 40]",
    "input.pt_min=2.0",
    "optimiser.iterations=4",
    "optimiser.batch_events=20",
    "scan.trees=4",
    "spectrum.trees=4",
    "per_event.iterations=3",
    "per_event.trees=4",
    "per_event.choose_trees=12",
    "per_event.accepted=4",
    "per_event.score_trees=12",
]


def test_the_study_in_one_command(scheduler: str, tmp_path: Path) -> None:
    options = [
        word for setting in (*FEW, f"cluster.scheduler={scheduler}") for word in ("--set", setting)
    ]
    command = [sys.executable, str(SCRIPT), "--output", str(tmp_path / "study"), *options]
    for _ in range(2):  # the second time nothing is left to do
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env={**os.environ, "COLUMNS": "200"},
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        for row in (
            "from R = 0.3: R = ",
            "from R = 1.0: R = ",
            "R = 1.00",
            "one R per event",
            "125.6 / 29.5",
        ):
            assert row in done.stdout
    assert "done already" in done.stderr
    assert {path.name for path in (tmp_path / "study").iterdir()} >= {
        f"{name}.{kind}"
        for name in ("from_0.3", "from_1.0", "per_event")
        for kind in ("zarr", "html")
    }
