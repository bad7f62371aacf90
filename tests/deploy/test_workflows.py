"""Workflows around djservice: the skim, Snakemake here and on a Slurm, and what REANA and Argo are given."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tools
import uproot
import yaml

import djservice as dj
from djservice import examples
from djservice.store import Store

WORKFLOWS = Path(__file__).parents[2] / "workflows"
Requires = Callable[[str, object], None]


def test_a_skim_keeps_what_is_read(tmp_path: Path) -> None:
    source, target = examples.path("ZHllbb_200"), tmp_path / "skim.root"
    subprocess.run([sys.executable, WORKFLOWS / "skim.py", source, target, "--pt-min", "2"], check=True)
    schema = dj.schemas.nanoaod(pt_min=2.0, truth="GenPart:higgs")
    before, after = dj.read(source, schema=schema), dj.read(target, schema=schema)
    for name in ("key", "offsets", "pt", "rapidity", "phi", "mass", "weight", "truth"):
        assert np.array_equal(getattr(before, name), getattr(after, name)), name
    with uproot.open(target) as file:
        assert min(file["Events"]["PFCands_pt"].array(library="np")[1]) > 2.0
    assert list(tmp_path.iterdir()) == [target]


def snakemake(folder: Path, profile: str, tiny: dict[str, Any], environment: dict[str, str]) -> str:
    """Do the workflow on two files; what Snakemake says."""
    few = {"iterations": 3, "trees": 4, "choose_trees": 4, "score_trees": 4, "accepted": 2}
    (folder / "run.yaml").write_text(yaml.safe_dump(tiny | {"per_event": few}))
    command = [f"{tools.environment('snakemake')}/snakemake", "--snakefile", WORKFLOWS / "Snakefile"]
    settings = ["run=run.yaml", "threads=1", "pt_min=2.0", 'files=["data/*.root"]']
    done = subprocess.run(
        [str(part) for part in (*command, "--profile", WORKFLOWS / "profiles" / profile, "--config", *settings)],
        cwd=folder,
        env=environment | {"PATH": f"{Path(sys.executable).parent}:{environment['PATH']}"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.fixture
def where_all_look(slurm: Any) -> Iterator[None]:
    """The plugin forgets SLURM_CONF on its way: for this test alone the configuration is where Slurm looks by itself."""
    usual = Path("/etc/slurm/slurm.conf")
    if usual.exists():
        pytest.skip(f"{usual} is there, of another Slurm")
    usual.symlink_to(slurm.folder / "slurm.conf")
    yield
    usual.unlink()


@pytest.mark.tools
@pytest.mark.parametrize("profile", ["local", "slurm"])
def test_snakemake(profile: str, tiny: dict[str, Any], requires: Requires, tmp_path: Path, request: Any) -> None:
    requires("snakemake (python tests/deploy/tools.py)", tools.environment("snakemake"))
    (tmp_path / "data").mkdir()
    shutil.copy(examples.path("ZHllbb_200"), tmp_path / "data/a.root")
    shutil.copy(examples.path("ZHllbb_1000"), tmp_path / "data/b.root")
    environment = dict(os.environ)
    if profile == "slurm":
        environment = request.getfixturevalue("slurm").environment
        request.getfixturevalue("where_all_look")
    said = snakemake(tmp_path, profile, tiny, environment)
    assert "6 of 6 steps" in said
    store = Store.read(tmp_path / "results/fit.zarr")
    assert store.attributes["status"] == "finished" and store.n_complete("per_event") == 40
    assert len(store.attributes["inputs"]) == 2
    assert (tmp_path / "results/report.html").stat().st_size > 10_000
    assert "Nothing to be done" in snakemake(tmp_path, profile, tiny, environment)


@pytest.mark.tools
def test_reana_takes_its_specification(requires: Requires) -> None:
    programs = tools.environment("reana-client")
    requires("reana-client (python tests/deploy/tools.py)", programs)
    validate = [f"{programs}/reana-client", "validate", "--file", "workflows/reana.yaml"]
    done = subprocess.run(validate, cwd=WORKFLOWS.parent, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "SUCCESS: Valid REANA specification file" in done.stdout, done.stdout + done.stderr
    assert "ERROR" not in done.stdout and "WARNING" not in done.stdout


def test_argo_knows_every_key_of_the_scheduled_workflow(requires: Requires) -> None:
    try:
        from hera.workflows import models
    except ImportError:
        models = None
    requires("hera", models)
    given = yaml.safe_load((WORKFLOWS / "argo_reprocess.yaml").read_text())
    understood = models.CronWorkflow.model_validate(given).model_dump(mode="json", by_alias=True, exclude_none=True)
    assert understood == given  # a key that it does not know would be gone
    (template,) = given["spec"]["workflowSpec"]["templates"]
    assert "djservice reprocess /runs/reprocess.yaml" in template["container"]["args"][2]
