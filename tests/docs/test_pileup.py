"""The script that learns weights against pile-up, in few iterations: it runs, and goes on where it was."""

import runpy
from pathlib import Path

import pytest
from click.testing import CliRunner

SCRIPT = Path(__file__).parents[2] / "workflows" / "zh_pileup.py"
FEW = (
    "input.entries=[0, 30]",
    "particle_weights.iterations=2",
    "particle_weights.batch_events=8",
    "particle_weights.score_trees=2",
)


@pytest.mark.long
def test_the_study_of_pile_up_in_one_command(scheduler: str, tmp_path: Path) -> None:
    settings = (*FEW, f"cluster.scheduler={scheduler}")
    options = [word for setting in settings for word in ("--set", setting)]
    main = runpy.run_path(str(SCRIPT))["main"]
    for _ in range(2):  # the second time nothing is left to do
        done = CliRunner().invoke(
            main, ["--output", str(tmp_path), "--seeds", "1", "--no-torch", *options]
        )
        assert done.exit_code == 0, done.output
        for row in (
            "none",
            "the best constant",
            "full, seed 1",
            "pathwise, seed 1",
            "full, with R, seed 1",
        ):
            assert row in done.stdout
    assert (tmp_path / "weights.png").stat().st_size > 5000
    assert (tmp_path / "full_1.html").exists()
