"""The scripts in workflows that train a network together with R, from events to the last line, and their generator."""

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner


@pytest.fixture(autouse=True)
def torch_is_there(requires: Callable[[str, object], None]) -> None:
    requires("torch (pip install 'djservice[torch]')", find_spec("torch"))


def test_the_toy_of_dipoles(
    scheduler: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The script from the file that it makes to its last line, on few events."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "workflows"))
    import joint_dipoles

    plain = joint_dipoles.settings
    here = {"cluster": {"scheduler": scheduler}}
    monkeypatch.setattr(joint_dipoles, "settings", lambda *arguments: plain(*arguments) | here)
    options = ["--output", str(tmp_path), "--events", "60", "--iterations", "5"]
    monkeypatch.setattr("sys.argv", ["joint_dipoles.py", *options])
    joint_dipoles.main()
    joint_dipoles.main()  # the second time the run is complete
    printed = capsys.readouterr().out
    assert "lowest of the profile: R = 0." in printed and "learned: R = 0." in printed


def test_boosted_w_against_qcd(
    scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script from events of the same form, dipoles, to its figure."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "workflows"))
    import joint_dipoles
    import joint_w_qcd

    path, plain = tmp_path / "dipoles.root", joint_w_qcd.settings
    joint_dipoles.write(path, 60, 1)
    monkeypatch.setattr(joint_w_qcd, "generate", lambda folder, events: [path])
    here = {"cluster": {"scheduler": scheduler}}
    monkeypatch.setattr(joint_w_qcd, "settings", lambda *arguments: plain(*arguments) | here)
    monkeypatch.setattr(joint_w_qcd, "RADII", (0.4, 0.8))
    options = ["--output", str(tmp_path), "--iterations", "4"]
    result = CliRunner().invoke(joint_w_qcd.main, options, catch_exceptions=False)
    rows = result.output.splitlines()[-4:]
    assert [row.split(" | ")[0] for row in rows[:3]] == ["R", "0.4", "0.8"]
    assert rows[3].startswith("learned: ") and rows[3].count(" | ") == 3
    assert (tmp_path / "areas.png").exists()


def test_events_about_the_axis() -> None:
    """The generator keeps what is near the W before it decays, if that is selected."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "workflows"))
    import generate_boosted_w

    sys.path.pop(0)

    class Particle:
        def __init__(self, code: int, pt: float, eta: float, final: bool) -> None:
            self.code, self.numbers, self.final = code, (pt, eta, 3.1, 0.1), final

        def __getattr__(self, name: str) -> Callable[[], Any]:
            values = dict(zip(("pT", "eta", "phi", "m"), self.numbers, strict=True))
            values |= {"idAbs": self.code, "isFinal": self.final, "isVisible": True, "status": -23}
            return lambda: values[name]

    class Event(list[Particle]):
        size = list.__len__

    near, far = Particle(211, 5.0, 1.4, True), Particle(211, 5.0, 1.6, True)
    random = np.random.default_rng(1)
    for pt, kept in ((350.0, [(5.0, 1.4, 3.1, 0.1)]), (250.0, [])):
        event = Event([Particle(24, 1.0, 0.0, False), Particle(24, pt, 0.0, False), near, far])
        assert generate_boosted_w.around(event, "w", random) == kept
