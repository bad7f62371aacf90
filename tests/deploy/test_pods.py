"""The commands of the chart's pods, run for real without a Kubernetes (see pods.py): with certificates, a run and a schedule."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pods
import pytest
import tools
import trustme
import yaml
from numba.core.caching import _CacheLocator

from djservice import examples
from djservice.clustering import kernels
from djservice.clustering.kernel_files import kernel_folder
from djservice.store.run_store import Store

CHART = Path(__file__).parents[2] / "helm/djservice"


@pytest.fixture
def mount_points() -> Iterator[None]:
    """Folders of the volumes, where there are none."""
    names = ("data", "runs", "certificates", "tmp/numba")
    made = [path for name in names if not (path := Path("/", name)).exists()]
    for path in made:
        path.mkdir()
    yield
    for path in made:
        path.rmdir()


def test_a_run_and_a_schedule(
    tiny: dict[str, Any],
    fetched: Callable[..., Path],
    requires: Callable[[str, object], None],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    requires("root and unshare, for namespaces", os.geteuid() == 0 and shutil.which("unshare"))
    request.getfixturevalue("mount_points")
    run = {key: value for key, value in tiny.items() if key != "output"}
    values = {
        "runs": {
            "tiny": run,
            "nightly": run | {"input": run["input"] | {"files": "/data/in/*.root"}},
        },
        "reprocess": {
            "enabled": True,
            "run": "nightly",
            "apply": {"files": "/data/new/*.root", "pt_min": 2.0},
        },
        "tls": {"enabled": True},
        "workers": {"threads": 1},
    }
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    template = [fetched(tools.helm), "template", "physics", CHART, "--namespace", "jets"]
    rendered = subprocess.run(
        [*template, "--values", tmp_path / "values.yaml"], capture_output=True, text=True
    )
    assert rendered.returncode == 0, rendered.stderr
    (tmp_path / "rendered.yaml").write_text(rendered.stdout)
    for name in ("in", "new"):
        (tmp_path / "data" / name).mkdir(parents=True)
        shutil.copy(examples.path("ZHllbb_200"), tmp_path / "data" / name)
    certificates = [
        each
        for each in yaml.safe_load_all(rendered.stdout)
        if each and each["kind"] == "Certificate"
    ]
    (wanted,) = (each["spec"]["dnsNames"] for each in certificates if "dnsNames" in each["spec"])
    write_secret(tmp_path / "certificates", wanted)
    put_kernels(tmp_path / "kernels")

    alone = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    done = subprocess.run(
        [*alone, sys.executable, pods.__file__, tmp_path / "rendered.yaml", tmp_path],
        capture_output=True,
        text=True,
        timeout=500,
    )
    logs = "\n".join(f"{path.name}: {path.read_text()[-3000:]}" for path in tmp_path.glob("*.log"))
    assert done.returncode == 0, done.stderr + logs
    assert Store.read(tmp_path / "data/tiny.zarr").attributes["status"] == "finished"
    first, second = (
        line for line in (tmp_path / "reprocess.log").read_text().splitlines() if "latest: " in line
    )
    assert first.startswith("latest: ") and second.startswith("nothing changed; latest: ")
    assert (tmp_path / "data/nightly/latest").exists()


def put_kernels(folder: Path) -> None:
    """What is compiled here, as the image has it: to compile it again would be most of the time of this test."""
    cached = _CacheLocator.get_suitable_cache_subpath(kernels.__file__)
    shutil.copytree(kernel_folder(), folder / cached)


def write_secret(folder: Path, names: list[str]) -> None:
    """What cert-manager would put into the Secret of the Certificate."""
    folder.mkdir()
    authority = trustme.CA()
    made = authority.issue_cert(*names)
    (folder / "ca.crt").write_bytes(authority.cert_pem.bytes())
    (folder / "tls.key").write_bytes(made.private_key_pem.bytes())
    (folder / "tls.crt").write_bytes(b"".join(each.bytes() for each in made.cert_chain_pems))
