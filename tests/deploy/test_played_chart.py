"""What the chart renders, played by podman without a Kubernetes: its Deployments, the pods of its Jobs and of its CronJob.

What podman does not play is left out: the Service (its name is in the pods' host aliases here), NetworkPolicy, PodDisruptionBudget,
ServiceAccount, workers with GPUs, and the resources of cert-manager, Prometheus and the Dask operator, whose pods are played.
It starts one pod of a Deployment, has no fsGroup, and 4.3 does not decode Secrets: they are written as it reads them.
"""

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tools
import yaml
from containers import IMAGE, build_s3_image, image_is_there, podman, wait_until
from ports import free_port
from test_pods import write_secret

from djservice import examples

pytestmark = pytest.mark.long
CHART = Path(__file__).parents[2] / "helm/djservice"
SERVICE = "physics-djservice-scheduler"
#: Of claims; podman keeps those of ConfigMaps and Secrets, too.
VOLUMES = ("physics-djservice", "results")
#: Of pods; podman makes it for the first one.
NETWORK = "podman-default-kube-network"
ADDRESS = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
Resource = dict[str, Any]


class Played:
    """Resources that are played, each from a file of its own, and are all gone after :meth:`stop`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.files, self.secrets = folder, list[Path](), list[str]()
        self.others, self.volumes = list[str](), list(VOLUMES)

    def play(self, resource: Resource, *with_it: Resource) -> None:
        for container in containers_of(resource):
            for port in container.get("ports", []):  # which podman opens on this machine, too
                port["hostPort"] = free_port()
        path = self.folder / f"{resource['kind']}-{resource['metadata']['name']}.yaml"
        # A local image is in no registry.
        text = yaml.safe_dump_all([*with_it, resource], sort_keys=False)
        # Without this, podman 4.3 ends in a panic.
        text = re.sub(r"( *)(secretName: .*\n)", r"\1\2\1optional: false\n", text)
        text = text.replace("imagePullPolicy: Always", "imagePullPolicy: Never")
        # An emptyDir is a volume of its name, which all pods would share.
        empty = f"{resource['metadata']['name']}-tmp"
        path.write_text(text.replace("name: tmp\n", f"name: {empty}\n"))
        self.volumes.append(empty)
        self.files.append(path)
        done = podman("kube", "play", path)
        assert done.returncode == 0, done.stderr + self.logs()

    def add_secret(self, name: str, folder: Path) -> None:
        data = {path.name: path.read_text() for path in folder.iterdir()}
        done = podman("secret", "create", name, "-", input=yaml.safe_dump({"data": data}))
        assert done.returncode == 0, done.stderr
        self.secrets.append(name)

    def logs(self) -> str:
        names = podman("ps", "--all", "--format", "{{.Names}}").stdout.split()
        ours = [name for name in names if name.startswith("physics")]
        return "\n".join(
            f"{name}: {(done := podman('logs', '--tail', 20, name)).stdout}{done.stderr}"
            for name in ours
        )

    def run(self, name: str, *arguments: object) -> None:
        self.others.append(name)
        if podman("network", "exists", NETWORK).returncode:
            podman("network", "create", NETWORK)
        done = podman("run", "--detach", "--name", name, "--network", NETWORK, *arguments)
        assert done.returncode == 0, done.stderr

    def stop(self) -> None:
        for path in reversed(self.files):
            podman("kube", "down", path)
        for name in self.others:
            podman("rm", "--force", "--time", 2, name)
        for name in self.secrets:
            podman("secret", "rm", name)
        podman("volume", "rm", "--force", *self.volumes, *self.secrets)


@pytest.fixture
def played(tmp_path: Path, requires: Callable[[str, object], None]) -> Iterator[Played]:
    requires("podman and the image: make image", image_is_there())
    made = Played(tmp_path)
    yield made
    made.stop()


def containers_of(resource: Resource) -> list[Resource]:
    spec = resource["spec"].get("template", resource)["spec"]
    return list(spec.get("containers", []))


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


def scheduler_container(name: str) -> str:
    listed = podman("ps", "--filter", f"name={name}", "--format", "{{.Names}}").stdout.split()
    return next(each for each in listed if each.endswith("-scheduler"))


def address_of(name: str) -> str:
    """Of the scheduler's pod."""
    container = scheduler_container(name)
    pod_id = podman("inspect", "--format", "{{.Pod}}", container).stdout.strip()
    infra = json.loads(podman("pod", "inspect", pod_id).stdout)["InfraContainerID"]
    return podman("inspect", "--format", ADDRESS, infra).stdout.strip()


def values_of(name: str, tiny: Resource) -> Resource:
    """More values: a local image, and runs that take seconds."""
    repository, tag = IMAGE.rsplit(":", 1)
    run = {key: value for key, value in tiny.items() if key != "output"}
    more = {
        "image": {"repository": repository, "tag": tag, "digest": ""},
        "runs": {"tiny": run, "zh": run | {"seed": 2}},
        "workers": {"threads": 1},
    }
    if name == "tls":
        more["runs"]["zh"] = run | {"input": run["input"] | {"files": "/data/in/*.root"}}
        more["reprocess"] = {"apply": {"files": "/data/new/*.root", "pt_min": 2.0}}
    return more


def pods_of(by_name: dict[tuple[str, str], Resource]) -> tuple[Resource, Resource]:
    """A Deployment of the scheduler, and the template of the workers' pods; of the operator's cluster, what it makes them of."""
    if ("Deployment", "-scheduler") in by_name:
        workers = by_name["Deployment", "-workers"]["spec"]["template"]
        return by_name["Deployment", "-scheduler"], workers
    cluster = by_name["DaskCluster", ""]
    labels = cluster["metadata"]["labels"]
    templates = {
        name: {"metadata": {"labels": labels}, "spec": cluster["spec"][name]["spec"]}
        for name in ("scheduler", "worker")
    }
    (worker,) = templates["worker"]["spec"]["containers"]
    worker["env"].append({"name": "DASK_WORKER_NAME", "value": "first"})  # by the operator
    return pod(SERVICE, templates["scheduler"], ""), templates["worker"]


@pytest.mark.parametrize("values", ["default", "tls", "operator", "gpu"])
def test_runs_and_a_schedule(
    values: str,
    played: Played,
    tiny: Resource,
    fetched: Callable[..., Path],
    requires: Callable[[str, object], None],
    tmp_path: Path,
) -> None:
    resources = rendered(fetched(tools.helm), values, values_of(values, tiny), tmp_path)
    by_name = {
        (each["kind"], each["metadata"]["name"].removeprefix("physics-djservice")): each
        for each in resources
    }
    add_secrets(played, values, resources, tmp_path, requires)
    claim = by_name.get(("PersistentVolumeClaim", ""))
    if claim:
        played.play(claim)
    runs = by_name["ConfigMap", ""]
    scheduler, workers = pods_of(by_name)
    played.play(scheduler, runs)
    address = address_of(SERVICE)
    played.play(pod("physics-djservice-workers", workers, address), runs)
    jobs = [(name, each) for (kind, name), each in by_name.items() if kind == "Job"]
    assert len(jobs) == (1 if values == "tls" else 2)
    wait_until(lambda: health(address), played.logs)
    for name, job in jobs:
        finish(played, f"physics-djservice{name}", job["spec"]["template"], address, runs)

    def inside(*command: str) -> subprocess.CompletedProcess[str]:
        here = "tls://127.0.0.1:8786" if values in ("tls", "operator") else "tcp://127.0.0.1:8786"
        named = ("--env", f"DJSERVICE_SCHEDULER={here}", scheduler_container(SERVICE))
        return podman("exec", *named, *command)

    for name in {"tiny"} if values == "tls" else {"tiny", "zh"}:
        runs_of = json.loads(inside("djservice", "list", "--json").stdout)
        (run,) = (each for each in runs_of if each["store"].endswith(f"/{name}.zarr"))
        watched = inside("djservice", "watch", run["id"])
        assert watched.returncode == 0, (watched.stderr, played.logs())
        checked = inside("djservice", "check", run["store"])
        assert checked.returncode == 0, checked.stderr
    if values == "tls":
        data = json.loads(podman("volume", "inspect", "physics-djservice").stdout)[0]["Mountpoint"]
        for folder in ("in", "new"):
            Path(data, folder).mkdir()
            shutil.copy(examples.path("ZHllbb_200"), Path(data, folder))
        job = by_name["CronJob", "-reprocess"]["spec"]["jobTemplate"]["spec"]["template"]
        said = [finish(played, f"{SERVICE}-reprocess", job, address, runs) for _ in range(2)]
        assert "latest: " in said[0] and "nothing changed; latest: " in said[1]


def health(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}:8787/health", timeout=5):
            return True
    except OSError:
        return False


def add_secrets(
    played: Played,
    values: str,
    resources: list[Resource],
    folder: Path,
    requires: Callable[[str, object], None],
) -> None:
    """What cert-manager would make of the Certificate, or users make: certificates, and keys of an S3 server."""
    if values in ("tls", "operator"):
        certificates = [each["spec"] for each in resources if each["kind"] == "Certificate"]
        names = [each for each in certificates if "dnsNames" in each]
        write_secret(
            folder / "tls", names[0]["dnsNames"] if names else [SERVICE, f"{SERVICE}.jets"]
        )
        played.add_secret(names[0]["secretName"] if names else "dask-tls", folder / "tls")
    if values == "gpu":
        (folder / "s3").mkdir()
        server = ("mini", "-dir=/data", "-bucket=bucket")
        keys = ("--env", "AWS_ACCESS_KEY_ID=physics", "--env", "AWS_SECRET_ACCESS_KEY=hush-hush")
        image = build_s3_image(folder / "s3", requires)
        played.run("physics-s3", *keys, "--tmpfs", "/data", "--tmpfs", "/tmp", image, *server)
        (folder / "keys").mkdir()
        place = podman("inspect", "--format", ADDRESS, "physics-s3").stdout.strip()
        (folder / "keys/credentials").write_text(
            "[default]\naws_access_key_id = physics\naws_secret_access_key = hush-hush\n"
            f"endpoint_url = http://{place}:8333\n"
        )
        played.add_secret("s3-inputs", folder / "keys")
