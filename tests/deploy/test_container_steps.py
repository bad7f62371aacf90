"""Steps of workflow systems in containers of the image: Snakemake's pods, and what REANA and Argo are given."""

import os
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from containers import CONFINED, IMAGE, give_to_user, image_is_there, podman
from kubernetes_api import KubernetesApi
from test_workflows import WORKFLOWS, check_results, put_inputs, snakemake

import djservice as dj

pytestmark = pytest.mark.long
WORKFLOW_IMAGE = f"localhost/djservice-workflow:{dj.__version__}"
Requires = Callable[[str, object], None]


class PodmanApi(KubernetesApi):
    """Its Jobs run in containers of the image, which share the volume and nothing else; they have no network."""

    def command(self, container: dict[str, Any], place: Path) -> list[str | Path]:
        variables = [
            f"--env={each['name']}={each['value']}"
            for each in container.get("env", [])
            if "value" in each
        ]
        (mount,) = (
            each["mountPath"] for each in container["volumeMounts"] if each["name"] == "djservice"
        )
        give_to_user(
            Path(mount)
        )  # Snakemake's archive of the sources can be read by its owner only
        volumes = [
            f"--volume={mount}:{mount}",
            "--tmpfs=/workdir:mode=1777",
            f"--workdir={container['workingDir']}",
        ]
        program, *rest = container["command"]
        run = [
            "podman",
            "run",
            "--rm",
            "--network=none",
            "--entrypoint",
            program,
            "--cap-drop=ALL",
            *variables,
            *volumes,
        ]
        return [*run, WORKFLOW_IMAGE, *rest, *container["args"]]


def test_pods_of_snakemake(tiny: dict[str, Any], requires: Requires, tmp_path: Path) -> None:
    requires("snakemake", find_spec("snakemake"))
    requires("podman and the image: make image-workflow", image_is_there(WORKFLOW_IMAGE))
    here, pods, volume = tmp_path / "here", tmp_path / "pods", tmp_path / "volume"
    put_inputs(volume / "workflow", tiny)
    shutil.copytree(WORKFLOWS, here / "workflows")
    pods.mkdir()
    give_to_user(volume)
    server = PodmanApi(pods, here, dict(os.environ), "1.37")
    try:
        server.write_client_configuration(tmp_path / "client.yaml")
        environment = os.environ | {"KUBECONFIG": str(tmp_path / "client.yaml")}
        volumes = [
            f"--kubernetes-persistent-volumes=djservice:{volume}",
            f"--default-storage-prefix={volume}/workflow",
        ]
        files, store = '["data/a.root", "data/b.root"]', volume / "workflow/fit.zarr"
        said = snakemake(here, "kubernetes", environment, *volumes, files=files, store=store)
    finally:
        server.stop()
    assert "6 of 6 steps" in said
    check_results((), store, volume / "workflow/results/report.html")


@pytest.fixture
def in_image(requires: Requires, tmp_path: Path) -> Callable[..., str]:
    """``in_image(options, command...)``: what a container of the image says, which ends with 0; /data is a folder of the test."""
    requires("podman and the image: make image", image_is_there())
    tmp_path.chmod(0o755)

    def call(options: tuple[str, ...], *command: str) -> str:
        done = podman("run", "--rm", *CONFINED, "--env", "HOME=/tmp", *options, IMAGE, *command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout + done.stderr

    return call


def test_steps_of_reana(in_image: Callable[..., str], tiny: dict[str, Any], tmp_path: Path) -> None:
    """One after the other in one folder, as its serial engine does; each by a shell, in a container of its own."""
    given = yaml.safe_load((WORKFLOWS / "reana.yaml").read_text())
    put_inputs(tmp_path / "data", tiny)
    give_to_user(tmp_path / "data")
    parameters = given["inputs"]["parameters"] | {"run": "run.yaml", "file": "data/a.root"}
    variables = [part for name, text in parameters.items() for part in ("--env", f"{name}={text}")]
    options = (
        *variables,
        "--network",
        "none",
        "--volume",
        f"{tmp_path}/data:/data",
        "--workdir",
        "/data",
    )
    for step in given["workflow"]["specification"]["steps"]:
        assert step["environment"].endswith(IMAGE.removeprefix("localhost/"))
        for command in step["commands"]:
            in_image(options, "sh", "-c", command)
    check_results(
        (),
        tmp_path / "data" / parameters["store"],
        tmp_path / "data" / given["outputs"]["files"][0],
        inputs=1,
    )


def test_the_schedule_of_argo(
    in_image: Callable[..., str], tiny: dict[str, Any], tmp_path: Path
) -> None:
    """Twice, with scheduler and worker in containers of the image, too."""
    given = yaml.safe_load((WORKFLOWS / "argo_reprocess.yaml").read_text())
    (template,) = given["spec"]["workflowSpec"]["templates"]
    network, folders = f"djservice-test-{os.getpid()}", ["data", "runs"]
    put_inputs(tmp_path / "data", tiny)
    (tmp_path / "runs").mkdir()
    files = {
        "input": tiny["input"] | {"files": "/data/data/a.root"},
        "output": {"store": "/data/x.zarr"},
    }
    (tmp_path / "runs/zh.yaml").write_text(yaml.safe_dump(tiny | files))
    (tmp_path / "runs/reprocess.yaml").write_text("run: /runs/zh.yaml\nfolder: /data/zh\n")
    volumes = [f"--volume={tmp_path}/{name}:/{name}" for name in folders]
    options = ("--network", network, *volumes)
    for name in folders:
        give_to_user(tmp_path / name)
    started = ["djservice-scheduler", "djservice-worker"]
    commands = [[], ["dask", "worker", "tcp://djservice-scheduler:8786", "--local-directory=/tmp"]]
    assert podman("network", "create", network).returncode == 0
    try:
        for name, command in zip(started, commands, strict=True):
            run = ("run", "--detach", "--name", name, "--restart=always", *CONFINED, *options)
            done = podman(*run, "--env", "HOME=/tmp", IMAGE, *command)
            assert done.returncode == 0, done.stderr
        said = [in_image(options, *template["container"]["args"]) for _ in range(2)]
    finally:
        podman("rm", "--force", "--time", 2, *started)
        podman("network", "rm", "--force", network)
    assert "latest: " in said[0] and "nothing changed; latest: " in said[1]
