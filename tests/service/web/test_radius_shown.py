"""The radius as the pages write it, from the status of a run."""

import json
from collections.abc import Callable
from pathlib import Path

from visits import Shown

from djservice.service.web import pages


def test_the_radius_of_a_joint_training_is_that_with_its_network(
    browse: Callable[[str], Shown], tmp_path: Path
) -> None:
    """And not that of the loss alone; records of earlier versions have none."""
    cases: dict[str, dict[str, float | None]] = {
        "0.629 ± 0.012 with its network": {"joint_radius": 0.629, "joint_radius_error": 0.012},
        "0.629 ± not determined with its network": {"joint_radius": 0.629},
        "0.463 ± 0.020 (no optimum)": {"joint_radius": None},
        "0.463 ± 0.020 (no optimum) ": {},
    }
    alone = {"radius": 0.463, "radius_error": 0.02, "converged": False}
    script = (Path(pages.__file__).parent / "static" / "common.js").read_text()
    body = ""
    for number, joint in enumerate(cases.values()):
        body += f'<p id="case{number}"></p>'
        run = json.dumps({"result": alone | joint})
        script += f'document.getElementById("case{number}").textContent = radius({run});'
    page = tmp_path / "page.html"
    page.write_text(f'<meta charset="utf-8">{body}<script type="module">{script}</script>')
    shown = browse(page.as_uri()).text
    assert [shown[f"case{number}"] for number in range(len(cases))] == [x.strip() for x in cases]
