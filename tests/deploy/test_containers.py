"""The image at work: runs in containers that are killed, short of memory, without a place to write, and with certificates.

``make test-tools`` builds the image first.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from containers import IMAGE, USER, Containers, for_containers, image_is_there, podman, wait_until
from processes import disturbable
from test_pods import write_secret
from test_s3 import bucket  # noqa: F401

import djservice as dj
from djservice.store.run_store import Store

pytestmark = pytest.mark.long
TLS = {
    "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true",
    "DASK_DISTRIBUTED__COMM__TLS__CA_FILE": "/certificates/ca.crt",
} | {
    f"DASK_DISTRIBUTED__COMM__TLS__{role}__{name}": f"/certificates/tls.{file}"
    for role in ("SCHEDULER", "WORKER", "CLIENT")
    for name, file in (("CERT", "crt"), ("KEY", "key"))
}

#: Whether its kernels are there, and nothing compiled anew.
CLUSTERED = """
import os
from pathlib import Path
import djservice as dj
kept = lambda: {path: path.stat().st_mtime for path in Path(os.environ["NUMBA_CACHE_DIR"]).rglob("*.nb?")}
before = kept()
events = dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=2.0), entries=(0, 2))
dj.gradient(events, dj.observables.dijet_mass, radius=0.8, trees=2, seed=1)
print(os.getuid(), len(before) > 100, kept() == before)
"""


@pytest.fixture
def make_containers(
    tmp_path: Path, requires: Callable[[str, object], None]
) -> Iterator[Callable[..., Containers]]:
    requires("podman and the image: make image", image_is_there())
    made = []

    def make(environment: dict[str, str] | None = None, *options: object) -> Containers:
        made.append(Containers(tmp_path, environment or {}, *options))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def test_killed_containers_change_no_bit(
    make_containers: Any, tiny: dict[str, Any], stored: Any
) -> None:
    containers = make_containers()
    scheduler = containers.start_scheduler()
    worker, _ = containers.start_worker(), containers.start_worker()
    settings = disturbable(tiny, optimiser={"iterations": 1000})
    first = containers.submit(containers.write_run("undisturbed", settings))
    assert containers.end_of(first)["state"] == "finished", containers.logs()

    second = containers.submit(containers.write_run("disturbed", settings))
    store = containers.data / "disturbed.zarr"
    wait_until(lambda: iterations(store) >= 5, containers.logs)
    containers.kill(worker)
    before = iterations(store)
    wait_until(lambda: iterations(store) >= before + 5, containers.logs)
    containers.kill(scheduler)
    assert podman("wait", scheduler).stdout.strip() == "137"
    assert iterations(store) < 1000  # what is left is for the next one
    assert podman("start", scheduler).returncode == 0
    wait_until(lambda: answers(containers), containers.logs)
    assert containers.end_of(second)["state"] == "finished", containers.logs()
    assert stored(store) == stored(containers.data / "undisturbed.zarr")


def iterations(store: Path) -> int:
    """How many are in the store."""
    try:
        return Store.read(store).n_complete("history")
    except dj.errors.DjserviceError:
        return 0


def answers(containers: Containers) -> bool:
    try:
        dj.connect(containers.address)
    except dj.errors.ServiceError:
        return False
    return True


def test_a_worker_without_enough_memory_ends_the_run_with_the_reason(
    make_containers: Any, tiny: dict[str, Any]
) -> None:
    containers = make_containers()
    containers.start_scheduler()
    containers.start_worker("--memory", "240m", "--memory-swap", "240m")
    run = containers.submit(containers.write_run("small", tiny))
    found = containers.end_of(run)
    assert found["state"] == "failed" and "memory" in json.dumps(found), (found, containers.logs())


def test_results_on_s3_with_keys_in_a_file(
    make_containers: Any,
    tiny: dict[str, Any],
    bucket: str,  # noqa: F811
    tmp_path: Path,
) -> None:
    (tmp_path / "secrets").mkdir()
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    text = "".join(f"{key.lower()} = {os.environ[key]}\n" for key in keys)
    (tmp_path / "secrets/credentials").write_text(f"[default]\n{text}")
    for_containers(tmp_path / "secrets")
    environment = {
        "AWS_SHARED_CREDENTIALS_FILE": "/secrets/credentials",
        "AWS_ENDPOINT_URL": os.environ["AWS_ENDPOINT_URL"],
    }
    containers = make_containers(environment, "--volume", f"{tmp_path}/secrets:/secrets:ro")
    containers.start_scheduler()
    containers.start_worker()
    store = f"{bucket}/containers.zarr"
    run = containers.submit(containers.write_run("s3", tiny, store))
    assert containers.end_of(run)["state"] == "finished", containers.logs()
    assert Store.read(store).attributes["status"] == "finished"
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in containers.logs()


def test_mounted_certificates(make_containers: Any, tiny: dict[str, Any], tmp_path: Path) -> None:
    write_secret(tmp_path / "certificates", ["127.0.0.1"])
    for_containers(tmp_path / "certificates")
    containers = make_containers(TLS, "--volume", f"{tmp_path}/certificates:/certificates:ro")
    containers.start_scheduler()
    containers.start_worker()
    run = containers.submit(containers.write_run("tls", tiny))
    assert containers.end_of(run)["state"] == "finished", containers.logs()
    plain = containers.call(
        "env", "-u", "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT", "djservice", "list"
    )
    assert plain.returncode == 1 and "Traceback" not in plain.stderr


@pytest.mark.parametrize("volume", [True, False])
def test_a_folder_that_cannot_be_written_is_one_line(make_containers: Any, volume: bool) -> None:
    containers = make_containers()
    containers.data.chmod(0o555)
    if not volume:
        place = containers.options.index("--volume")
        del containers.options[place : place + 2]
    scheduler = containers.start_scheduler()
    assert podman("wait", scheduler).stdout.strip() == "1"
    done = podman("logs", scheduler)
    said = done.stdout + done.stderr
    assert said.count("cannot write /data. Mount a volume") == 1 and "Traceback" not in said, said
    assert len(said.splitlines()) == 1, said


def test_the_image(make_containers: Any) -> None:
    containers = make_containers()
    (image,) = json.loads(podman("image", "inspect", IMAGE).stdout)
    assert image["User"] == str(USER) and image["Size"] <= 900e6
    listed = containers.call("cat", "/opt/djservice/sbom.cdx.json")
    names = {each["name"] for each in json.loads(listed.stdout)["components"]}
    assert {"djservice", "dask", "numba", "zarr"} <= names
    said = containers.call("python", "-c", CLUSTERED)
    assert said.stdout.split() == [str(USER), "True", "True"], said.stderr
