"""The Helm chart: what it renders for every set of values in ci/, held against schemas, a security scan and golden files."""

import difflib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import tools
import yaml

import djservice as dj
from djservice.config.input import Input
from djservice.reprocessing.config import Reprocessing

ROOT = Path(__file__).parents[2]
CHART, GOLDEN = ROOT / "helm/djservice", Path(__file__).parent / "golden"
MATRIX = sorted(
    path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml")
)
OLDEST, NEWEST = "1.25.0", "1.37.0"
#: Resources that Kubernetes learns of from others: the Dask operator, cert-manager, the Prometheus operator.
OTHERS = {"DaskCluster", "Issuer", "Certificate", "ServiceMonitor"}
Resources = list[dict[str, Any]]


@pytest.fixture(scope="session")
def helm(fetched: Callable[..., Path]) -> Callable[..., subprocess.CompletedProcess[str]]:
    program = fetched(tools.helm)

    def call(*options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(part) for part in (program, *options)], capture_output=True, text=True, timeout=300
        )

    return call


@pytest.fixture(scope="session")
def render(helm: Any) -> Callable[[str], str]:
    def rendered(values: str) -> str:
        done = helm(
            "template",
            "physics",
            CHART,
            "--namespace",
            "jets",
            "--values",
            CHART / f"ci/{values}-values.yaml",
        )
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    return rendered


@pytest.fixture(scope="session")
def resources(render: Callable[[str], str]) -> Callable[[str], Resources]:
    return lambda values: [each for each in yaml.safe_load_all(render(values)) if each]


@pytest.mark.parametrize("values", MATRIX)
def test_lint(values: str, helm: Any) -> None:
    done = helm("lint", "--strict", CHART, "--values", CHART / f"ci/{values}-values.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("values", MATRIX)
def test_schemas_of_kubernetes(
    values: str, version: str, resources: Any, requires: Callable[[str, object], None]
) -> None:
    try:
        import kubernetes_validate
    except ImportError:
        kubernetes_validate = None
    requires("kubernetes-validate", kubernetes_validate)
    checked = [each for each in resources(values) if each["kind"] not in OTHERS]
    assert len(checked) >= 6
    for each in checked:
        kubernetes_validate.validate(each, version.removesuffix(".0"), strict=True)


def test_schema_of_the_dask_operator(resources: Any, fetched: Callable[..., Path]) -> None:
    import jsonschema

    definition = yaml.load(
        (fetched(tools.dask_crds) / "daskcluster.yaml").read_text(), yaml.CSafeLoader
    )  # 9,000 lines
    (version,) = definition["spec"]["versions"]
    (cluster,) = (each for each in resources("operator") if each["kind"] == "DaskCluster")
    assert cluster["apiVersion"] == f"{definition['spec']['group']}/{version['name']}"
    schema = version["schema"]["openAPIV3Schema"]
    jsonschema.validate(cluster, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(cluster | {"spec": {"worker": {}}}, schema)


def test_models_of_cert_manager_and_of_the_prometheus_operator(
    resources: Any, requires: Callable[..., None]
) -> None:
    requires("cloudcoil.models.cert_manager", find_spec("cloudcoil"))
    from cloudcoil.models.cert_manager.v1 import Certificate, Issuer
    from cloudcoil.models.prometheus_operator.v1 import ServiceMonitor

    models = {"Certificate": Certificate, "Issuer": Issuer, "ServiceMonitor": ServiceMonitor}
    given = [each for each in resources("tls") if each["kind"] in models]
    assert sorted(each["kind"] for each in given) == [
        "Certificate",
        "Certificate",
        "Issuer",
        "Issuer",
        "ServiceMonitor",
    ]
    for each in given:
        understood = (
            models[each["kind"]]
            .model_validate(each)
            .model_dump(mode="json", by_alias=True, exclude_unset=True)
        )
        assert understood == each  # a key that they do not know would be gone


@pytest.mark.parametrize("values", ["tls", "operator"])
def test_golden(values: str, render: Callable[[str], str]) -> None:
    """WRITE_GOLDEN=1 writes them anew; look at the difference before it is committed."""
    path, now = GOLDEN / f"{values}.yaml", render(values)
    if os.environ.get("WRITE_GOLDEN") == "1":
        path.write_text(now)
    difference = difflib.unified_diff(
        path.read_text().splitlines(), now.splitlines(), str(path), "now", lineterm=""
    )
    assert not (text := "\n".join(difference)), text


@pytest.mark.parametrize("values", MATRIX)
def test_every_pod_is_confined(values: str, resources: Any) -> None:
    pods = list(_pods(resources(values)))
    assert len(pods) >= 3
    for spec in pods:
        assert (
            spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] > 10000
        )
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] and context["capabilities"] == {
                "drop": ["ALL"]
            }
            assert context["allowPrivilegeEscalation"] is False
            assert {"cpu", "memory"} <= set(container["resources"]["limits"])


def _pods(found: Any) -> Any:
    """Every pod specification, wherever it is."""
    if isinstance(found, dict):
        if "containers" in found:
            yield found
        for value in found.values():
            yield from _pods(value)
    if isinstance(found, list):
        for value in found:
            yield from _pods(value)


def test_what_pods_are_told_is_what_djservice_takes(resources: Any, tmp_path: Path) -> None:
    """Configurations are read, commands have their options, and the configuration of Dask its certificates."""
    found = {(each["kind"], each["metadata"]["name"]): each for each in resources("tls")}
    files = found["ConfigMap", "physics-djservice"]["data"]
    for name, text in files.items():
        (tmp_path / name).write_text(text.replace("/runs/", f"{tmp_path}/"))
    run = dj.Run.from_yaml(tmp_path / "zh.yaml")
    assert run.output.store == "/data/zh.zarr" and run.loss[0].target == 125.0
    settings = Reprocessing.from_yaml(tmp_path / "reprocess.yaml")
    assert settings.read_run() == run and isinstance(settings.apply, Input)
    assert settings.apply.bad_inputs == "quarantine" and settings.folder == "/data/zh"
    job = found["CronJob", "physics-djservice-reprocess"]["spec"]
    assert job["concurrencyPolicy"] == "Forbid" and job["timeZone"] == "Etc/UTC"
    scheduler = found["Deployment", "physics-djservice-scheduler"]["spec"]["template"]["spec"][
        "containers"
    ][0]
    environment = {each["name"]: each["value"] for each in scheduler["env"]}
    assert environment["DJSERVICE_SCHEDULER"] == "tls://physics-djservice-scheduler:8786"
    code = (
        "import distributed, json\ns = distributed.Security()\n"
        "print(json.dumps({name: getattr(s, name) for name in s.__slots__ if name.startswith(('tls', 'req'))}, default=str))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True
    )
    security = json.loads(told.stdout)
    assert (
        security["require_encryption"] is True and security["tls_ca_file"] == "/certificates/ca.crt"
    )
    for role in ("scheduler", "worker", "client"):
        assert security[f"tls_{role}_cert"] == "/certificates/tls.crt"
        assert security[f"tls_{role}_key"] == "/certificates/tls.key"


@pytest.mark.parametrize("values", MATRIX)
def test_commands_have_the_options_that_they_are_given(values: str, resources: Any) -> None:
    from distributed.cli import dask_scheduler, dask_worker

    from djservice import preload
    from djservice.cli import main

    groups = {
        ("dask", "scheduler"): (dask_scheduler.main, preload.dask_setup),
        ("dask", "worker"): (dask_worker.main,),
    }
    seen = set()
    for spec in _pods(resources(values)):
        program, command, *arguments = spec["containers"][0]["args"]
        if (program, command) in groups:
            known = {
                name
                for each in groups[program, command]
                for option in each.params
                for name in option.opts
            }
            given = {argument.split("=")[0] for argument in arguments if argument.startswith("--")}
            assert given <= known
        else:
            assert (
                program == "sh"
                or (program, command) == ("dask", "cuda")
                or command in main.commands
            )
        seen.add((program, command))
    assert {("dask", "scheduler"), ("dask", "worker")} <= seen


def test_readme_is_that_of_the_values() -> None:
    namespace: dict[str, Any] = {"__file__": str(ROOT / "helm/readme.py"), "__name__": "readme"}
    exec((ROOT / "helm/readme.py").read_text(), namespace)
    assert (CHART / "README.md").read_text() == namespace["readme"]()


@pytest.mark.parametrize(
    "bad, message",
    [
        ("cluster=other", "at '/cluster': value must be one of 'plain', 'operator'"),
        ("workers.replica=3", "at '/workers': additional properties 'replica' not allowed"),
        ("workers.replicas=-1", "at '/workers/replicas': minimum: got -1, want 0"),
        ("reprocess.enabled=true", "at '/reprocess/run': minLength: got 0, want 1"),
        (
            "reprocess.enabled=true,reprocess.run=zh",
            'reprocess.run is "zh", expected one of the runs',
        ),
        ("reprocess.schedule=daily", "at '/reprocess/schedule': 'daily' does not match pattern"),
        (
            "storage.results=/elsewhere",
            "at '/storage/results': '/elsewhere' does not match pattern",
        ),
        ("cluster=operator,gpu.replicas=1", "at '/gpu/replicas': value must be 0"),
        (
            "workers.resources.limits.memory=lots",
            "at '/workers/resources/limits/memory': 'lots' does not match pattern",
        ),
        ("image.digest=latest", "at '/image/digest': 'latest' does not match pattern"),
        ("runs.zh.input.files=a", "at '/runs/zh': missing property 'loss'"),
    ],
)
def test_bad_values_are_refused_with_a_message(bad: str, message: str, helm: Any) -> None:
    done = helm("template", "physics", CHART, "--set", bad)
    assert done.returncode != 0 and message in done.stderr, done.stderr


def test_security_scan(
    render: Callable[[str], str], fetched: Callable[..., Path], tmp_path: Path
) -> None:
    program = fetched(tools.program, "checkov")
    for values in MATRIX:
        (tmp_path / f"{values}.yaml").write_text(render(values))
    scan = [program, "--directory", str(tmp_path), "--framework", "kubernetes", "--output", "json"]
    done = subprocess.run(
        [*scan, "--skip-download", "--quiet"], capture_output=True, text=True, timeout=300
    )
    failed = [
        (each["check_id"], each["resource"])
        for each in json.loads(done.stdout)["results"]["failed_checks"]
    ]
    assert failed == []
    assert json.loads(done.stdout)["summary"]["passed"] > 500
