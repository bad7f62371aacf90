"""Workflows around djservice: the skim, Snakemake here and on a Slurm, and what REANA and Argo are given."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Any

import pytest
import tools
import yaml
from click.testing import CliRunner

from djservice import examples
from djservice.cli.app import main
from djservice.store.run_store import Store

WORKFLOWS = Path(__file__).parents[2] / "workflows"
Requires = Callable[[str, object], None]


def snakemake(
    folder: Path, profile: str, environment: dict[str, str], *options: str, **settings: object
) -> str:
    """Do the workflow in a folder that has it; what Snakemake says."""
    command = [
        "snakemake",
        "--snakefile",
        "workflows/Snakefile",
        "--profile",
        f"workflows/profiles/{profile}",
    ]
    given = {"run": "run.yaml", "threads": 1, "pt_min": 2.0} | settings
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            *command,
            *options,
            "--config",
            *(f"{name}={value}" for name, value in given.items()),
        ],
        cwd=folder,
        env=environment | {"PATH": f"{Path(sys.executable).parent}:{environment['PATH']}"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    logs = "\n".join(path.read_text()[-3000:] for path in folder.parent.glob("pods/*.log"))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:] + logs
    return done.stdout + done.stderr


def put_inputs(folder: Path, tiny: dict[str, Any]) -> None:
    (folder / "data").mkdir(parents=True)
    shutil.copy(examples.path("ZHllbb_200"), folder / "data/a.root")
    shutil.copy(examples.path("ZHllbb_1000"), folder / "data/b.root")
    few = {"iterations": 3, "trees": 4, "choose_trees": 4, "score_trees": 4, "accepted": 2}
    (folder / "run.yaml").write_text(
        yaml.safe_dump({"cluster": {"workers": 1}} | tiny | {"per_event": few})
    )


#: Skims and the fit of a global R, or also a radius per event and the report.
RULES = [
    pytest.param(("--until", "global_radius"), id="to the global radius"),
    pytest.param((), id="all", marks=pytest.mark.long),
]

#: On Kubernetes Jobs are what differs; the rules are those of before, and one Job tells whether Jobs work.
RULES_IN_PODS = [
    pytest.param(("--until", "skim"), id="a skim"),
    *(pytest.param(*rules.values, id=rules.id, marks=pytest.mark.long) for rules in RULES),
]


def check_results(until: tuple[str, ...], store: Path, report: Path, inputs: int = 2) -> None:
    fit = Store.read(store)
    assert fit.attributes["status"] == "finished"
    assert len(fit.attributes["inputs"]) == inputs
    if not until:
        assert fit.n_complete("per_event") == 40
        assert report.stat().st_size > 10_000


@pytest.fixture
def where_all_look(slurm: Any, requires: Requires) -> Iterator[None]:
    """The plugin forgets SLURM_CONF on its way: for this test alone the configuration is where Slurm looks by itself."""
    usual = Path("/etc/slurm/slurm.conf")
    requires(f"that {usual} is not there, of another Slurm", not usual.exists())
    usual.unlink(missing_ok=True)  # of a test that was killed: it leads nowhere
    usual.symlink_to(slurm.folder / "slurm.conf")
    yield
    usual.unlink()


@pytest.mark.parametrize("until", RULES)
@pytest.mark.parametrize("profile", [pytest.param("local", marks=pytest.mark.long), "slurm"])
def test_snakemake(
    profile: str,
    until: tuple[str, ...],
    tiny: dict[str, Any],
    requires: Requires,
    tmp_path: Path,
    request: Any,
) -> None:
    requires("snakemake", find_spec("snakemake"))
    here = tmp_path / "here"
    put_inputs(here, tiny)
    shutil.copytree(WORKFLOWS, here / "workflows")
    environment, sooner = dict(os.environ), []
    if profile == "slurm":
        environment = request.getfixturevalue("slurm").environment
        request.getfixturevalue("where_all_look")
        sooner = ["--slurm-init-seconds-before-status-checks=1"]
    options, files = (*sooner, *until), '["data/*.root"]'
    said = snakemake(here, profile, environment, *options, files=files)
    assert f"{'3 of 6' if until else '6 of 6'} steps" in said
    check_results(until, here / "results/fit.zarr", here / "results/report.html")
    again = snakemake(here, profile, environment, *options, files=files)
    assert re.search(r"total +0\n" if until else "Nothing to be done", again)


def test_files_of_the_same_name_are_refused(
    tiny: dict[str, Any], requires: Requires, tmp_path: Path
) -> None:
    """One of them would be left out."""
    requires("snakemake", find_spec("snakemake"))
    here = tmp_path / "here"
    put_inputs(here, tiny)
    shutil.copytree(here / "data", here / "more")
    shutil.copytree(WORKFLOWS, here / "workflows")
    with pytest.raises(
        AssertionError, match=r"expected different names, found several times: a, b\."
    ):
        snakemake(here, "local", dict(os.environ), files='["data/*.root", "more/*.root"]')
    assert not (here / "results").exists()


@pytest.mark.parametrize("until", RULES_IN_PODS)
def test_snakemake_on_kubernetes(
    until: tuple[str, ...],
    tiny: dict[str, Any],
    requires: Requires,
    fetched: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """Against a server that takes Jobs and runs their containers as processes, which share the volume and nothing else."""
    requires("snakemake", find_spec("snakemake"))
    there = all(map(shutil.which, ("rsync", "unshare", "ip"))) and os.geteuid() == 0
    requires("rsync, unshare and iproute2, as root", there)
    from kubernetes_api import KubernetesApi

    here, pods, volume = tmp_path / "here", tmp_path / "pods", tmp_path / "volume"
    put_inputs(volume / "workflow", tiny)
    shutil.copytree(WORKFLOWS, here / "workflows")
    pods.mkdir()
    recipe = (WORKFLOWS.parent / "deploy/Dockerfile.workflow").read_text()
    (plugin,) = re.findall(r"pip download .* --dest /opt/wheels '(.*)'", recipe)
    image = {name: value for name, value in os.environ.items() if name.startswith("NUMBA_")}
    image |= dict(re.findall(r"(PIP_\w+)=(\S+)", recipe)) | {
        "PIP_FIND_LINKS": str(fetched(tools.wheels, plugin))
    }
    image |= {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(tmp_path)}
    server = KubernetesApi(pods, here, image, "1.37")
    try:
        server.write_client_configuration(tmp_path / "client.yaml")
        environment = os.environ | {"KUBECONFIG": str(tmp_path / "client.yaml")}
        volumes = [
            f"--kubernetes-persistent-volumes=djservice:{volume}",
            f"--default-storage-prefix={volume}/workflow",
        ]
        store = volume / "workflow/fit.zarr"
        files = '["data/a.root"]' if "skim" in until else '["data/a.root", "data/b.root"]'
        options = (*volumes, *until)
        said = snakemake(here, "kubernetes", environment, *options, files=files, store=store)
    finally:
        server.stop()
    if "skim" in until:
        steps, jobs = "1 of 5", 1
        (skim,) = (volume / "workflow/results/skim").iterdir()
        assert skim.name == "a.root"
    else:
        steps, jobs = ("3 of 6", 3) if until else ("6 of 6", 5)
        check_results(until, store, volume / "workflow/results/report.html")
    assert f"{steps} steps" in said and len(server.jobs) == jobs
    for job in server.jobs.values():
        pod = job["spec"]["template"]["spec"]
        assert {"name": "djservice", "persistentVolumeClaim": {"claimName": "djservice"}} in pod[
            "volumes"
        ]
        assert pod["containers"][0]["image"] == "ghcr.io/example/djservice-workflow:0.1.0"
        assert (
            "pip install" in pod["containers"][0]["args"][1]
        )  # if it is no more, the image needs no wheel
        assert pod["containers"][0]["resources"]["requests"]["memory"] == "4000M"


def test_reana_takes_its_specification(fetched: Callable[..., Path]) -> None:
    program = fetched(tools.program, "reana-client")
    validate = [program, "validate", "--file", "workflows/reana.yaml"]
    done = subprocess.run(
        validate, cwd=WORKFLOWS.parent, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0 and "SUCCESS: Valid REANA specification file" in done.stdout, (
        done.stdout + done.stderr
    )
    assert "ERROR" not in done.stdout and "WARNING" not in done.stdout


@pytest.mark.long  # they are those of Snakemake
def test_the_steps_of_reana(
    tiny: dict[str, Any], scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its commands with its parameters, one after the other in one folder, as a serial workflow does."""
    given = yaml.safe_load((WORKFLOWS / "reana.yaml").read_text())
    put_inputs(tmp_path, tiny | {"cluster": {"scheduler": scheduler}})
    parameters = given["inputs"]["parameters"] | {"run": "run.yaml", "file": "data/a.root"}
    monkeypatch.chdir(tmp_path)
    for step in given["workflow"]["specification"]["steps"]:
        for command in step["commands"]:
            program, *arguments = shlex.split(Template(command).substitute(parameters))
            assert program == "djservice"
            done = CliRunner().invoke(main, arguments)
            assert done.exit_code == 0, (command, done.output)
    (report,) = given["outputs"]["files"]
    check_results((), tmp_path / parameters["store"], tmp_path / report, inputs=1)


def test_argo_knows_every_key_of_the_scheduled_workflow(requires: Requires) -> None:
    try:
        from hera.workflows import models
    except ImportError:
        models = None
    requires("hera", models)
    given = yaml.safe_load((WORKFLOWS / "argo_reprocess.yaml").read_text())
    understood = models.CronWorkflow.model_validate(given).model_dump(
        mode="json", by_alias=True, exclude_none=True
    )
    assert understood == given  # a key that it does not know would be gone
    (template,) = given["spec"]["workflowSpec"]["templates"]
    assert "djservice reprocess /runs/reprocess.yaml" in template["container"]["args"][2]
