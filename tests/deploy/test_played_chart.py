"""What the chart renders, played by podman without a Kubernetes: its Deployments, the pods of its Jobs and of its CronJob.

What podman does not play is skipped: the Service (its name is in the pods' host aliases here), NetworkPolicy, PodDisruptionBudget,
ServiceAccount, and the resources of cert-manager, Prometheus and the Dask operator. It starts one pod of a Deployment.
"""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tools
import yaml
from containers import IMAGE, USER, image_is_there, podman, wait_until
from test_pods import write_secret

from djservice import examples
from djservice.store.run_store import Store

pytestmark = pytest.mark.long
CHART = Path(__file__).parents[2] / "helm/djservice"
SERVICE = "physics-djservice-scheduler"
Resource = dict[str, Any]


class Played:
    """Resources that are played, each from a file of its own, and are all gone after :meth:`stop`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.files = folder, list[Path]()

    def play(self, resource: Resource, *with_it: Resource) -> None:
        path = self.folder / f"{resource['kind']}-{resource['metadata']['name']}.yaml"
        # A local image is in no registry.
        text = yaml.safe_dump_all([*with_it, resource])
        path.write_text(text.replace("imagePullPolicy: Always", "imagePullPolicy: Never"))
        self.files.append(path)
        done = podman("kube", "play", path)
        assert done.returncode == 0, done.stderr + self.logs()

    def logs(self) -> str:
        names = podman("ps", "--all", "--format", "{{.Names}}").stdout.split()
        ours = [name for name in names if name.startswith("physics")]
        return "\n".join(
            f"{name}: {(done := podman('logs', '--tail', 20, name)).stdout}{done.stderr}"
            for name in ours
        )

    def stop(self) -> None:
        for path in reversed(self.files):
            podman("kube", "down", path)
        podman("volume", "rm", "--force", "physics-djservice")


@pytest.fixture
def played(tmp_path: Path, requires: Callable[[str, object], None]) -> Iterator[Played]:
    requires("podman and the image: make image", image_is_there())
    made = Played(tmp_path)
    yield made
    made.stop()


def rendered(helm: Path, values: str, more: Resource, folder: Path) -> list[Resource]:
    (folder / "more.yaml").write_text(yaml.safe_dump(more))
    files = ("--values", CHART / f"ci/{values}-values.yaml", "--values", folder / "more.yaml")
    command = [helm, "template", "physics", CHART, "--namespace", "jets", *files]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def pod(name: str, template: Resource, address: str) -> Resource:
    """The template of a Deployment or a Job as a Pod; the Service's name leads to the address."""
    aliases = [{"ip": address, "hostnames": [SERVICE]}] if address else []
    spec = template["spec"] | {"hostAliases": aliases}
    labels = template["metadata"]["labels"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
    }


def finish(played: Played, name: str, template: Resource, address: str, *with_it: Resource) -> str:
    """What the pod of a Job says, which ends with 0. It is gone then."""
    spec = template["spec"] | {"restartPolicy": "Never"}  # its exit code is to be seen
    (container,) = spec["containers"]
    played.play(pod(name, template | {"spec": spec}, address), *with_it)
    code = podman("wait", f"{name}-{container['name']}").stdout.strip()
    done = podman("logs", f"{name}-{container['name']}")
    assert code == "0", done.stdout + done.stderr + played.logs()
    podman("kube", "down", played.files.pop())
    return done.stdout + done.stderr


def address_of(name: str) -> str:
    """Of the scheduler's pod, once its page of health answers."""
    listed = podman("ps", "--filter", f"name={name}", "--format", "{{.Names}}").stdout.split()
    container = next(each for each in listed if each.endswith("-scheduler"))
    (pod_id,) = {podman("inspect", "--format", "{{.Pod}}", container).stdout.strip()}
    infra = json.loads(podman("pod", "inspect", pod_id).stdout)["InfraContainerID"]
    networks = json.loads(podman("inspect", infra).stdout)[0]["NetworkSettings"]["Networks"]
    (network,) = networks.values()
    return str(network["IPAddress"])


@pytest.mark.parametrize("values", ["default", "tls"])
def test_a_run_and_a_schedule(
    values: str, played: Played, tiny: Resource, fetched: Callable[..., Path], tmp_path: Path
) -> None:
    repository, tag = IMAGE.rsplit(":", 1)
    run = {key: value for key, value in tiny.items() if key != "output"}
    nightly = run | {"input": run["input"] | {"files": "/data/in/*.root"}}
    more = {
        "image": {"repository": repository, "tag": tag, "digest": ""},
        "runs": {"tiny": run, "zh": nightly if values == "tls" else run},
        "workers": {"threads": 1},
    }
    if values == "tls":
        more["reprocess"] = {"apply": {"files": "/data/new/*.root", "pt_min": 2.0}}
    resources = rendered(fetched(tools.helm), values, more, tmp_path)
    by_name = {
        (each["kind"], each["metadata"]["name"].removeprefix("physics-djservice")): each
        for each in resources
    }
    if values == "tls":
        played.play(secret(resources, tmp_path / "certificates"))
    played.play(by_name["PersistentVolumeClaim", ""])
    runs = by_name["ConfigMap", ""]
    played.play(by_name["Deployment", "-scheduler"], runs)
    address = address_of("physics-djservice-scheduler")
    workers = by_name["Deployment", "-workers"]["spec"]["template"]
    played.play(pod("physics-djservice-workers", workers, address), runs)
    volume = Path(
        podman(
            "volume", "inspect", "--format", "{{.Mountpoint}}", "physics-djservice"
        ).stdout.strip()
    )

    jobs = [(name, each) for (kind, name), each in by_name.items() if kind == "Job"]
    assert len(jobs) == (1 if values == "tls" else 2)
    for name, job in jobs:
        submit = job["spec"]["template"]
        wait_until(lambda: health(address), played.logs)
        finish(played, f"physics-djservice{name}", submit, address, runs)
    wait_until(lambda: finished(volume / "tiny.zarr"), played.logs)
    if values == "tls":
        for folder in ("in", "new"):
            (volume / folder).mkdir()
            shutil.copy(examples.path("ZHllbb_200"), volume / folder)
            os.chown(volume / folder, USER, USER)
        job = by_name["CronJob", "-reprocess"]["spec"]["jobTemplate"]["spec"]["template"]
        said = [finish(played, "physics-djservice-reprocess", job, address, runs) for _ in range(2)]
        assert "latest: " in said[0] and "nothing changed; latest: " in said[1]


def health(address: str) -> bool:
    import urllib.request

    try:
        with urllib.request.urlopen(f"http://{address}:8787/health", timeout=5):
            return True
    except OSError:
        return False


def finished(store: Path) -> bool:
    return store.exists() and Store.read(store).attributes.get("status") == "finished"


def secret(resources: list[Resource], folder: Path) -> Resource:
    """The Secret that cert-manager would make of the Certificate."""
    (spec,) = (
        each["spec"]
        for each in resources
        if each["kind"] == "Certificate" and "dnsNames" in each["spec"]
    )
    write_secret(folder, spec["dnsNames"])
    data = {path.name: base64.b64encode(path.read_bytes()).decode() for path in folder.iterdir()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": spec["secretName"]},
        "data": data,
    }
