"""What must not get in, and what must not get out: certificates, roots, secrets."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import pytest
import trustme
from click.testing import CliRunner
from distributed.security import Security

import djservice as dj
from djservice.cli import main
from djservice.config.run import Run
from djservice.errors import ConfigError, RunError, ServiceError
from djservice.fit.plan import RunPlan
from djservice.service.allowed_paths import check_roots
from djservice.service.intake import checked_plan
from djservice.service.submission import pack

Settings = dict[str, Any]
SECRET = "hunter2-5ab4c3d2"


@pytest.fixture(scope="module")
def rooted(make_cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A cluster whose runs may write into its folder alone."""
    folder = tmp_path_factory.mktemp("rooted")
    cluster = make_cluster(folder, {"DASK_DJSERVICE__OUTPUT_ROOTS": f"['{folder}']"})
    cluster.start_scheduler()
    cluster.start_workers(1)
    return cluster


def test_a_token_is_in_no_log_store_or_answer(
    rooted: Any,
    events_host: str,
    tiny: Settings,
    stored: Callable[[Path], dict[str, bytes]],
    tmp_path: Path,
) -> None:
    cluster, service = rooted, dj.connect(rooted.address)

    def submit(name: str, files: str) -> Any:
        given = {
            "input": tiny["input"] | {"files": files},
            "output": {"store": str(cluster.folder / f"{name}.zarr")},
        }
        return service.submit(Run.from_dict(tiny | given))

    url = f"http://{events_host}/events.root"
    query = f"?f=(x),[y];sig={SECRET}&authz=Bearer%20{SECRET}#{SECRET}"
    good = submit("good", url.replace("://", f"://me:{SECRET}@") + query)
    finished = good.wait(timeout=300)
    bad = submit("bad", f"{url}.gone{query}")
    with pytest.raises(RunError, match="gone") as failure:
        bad.wait(timeout=300)
    command = [
        Path(sys.executable).parent / "djservice",
        "watch",
        bad.id,
        "--scheduler",
        cluster.address,
    ]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert "gone" in shown.stderr
    said = repr(
        (
            service.runs(),
            bad.status(),
            good.status(),
            bad.logs(),
            good.logs(),
            str(failure.value),
            shown,
        )
    )
    assert SECRET not in said
    assert "gone" in cluster.text() and SECRET not in cluster.text()
    for path in (cluster.folder / "good.zarr").rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path
    for path in cluster.state.glob("*.json"):  # needed there to go on; so nobody else may look
        assert SECRET in path.read_text()
        assert path.stat().st_mode & 0o077 == 0
    assert cluster.state.stat().st_mode & 0o077 == 0
    assert not submit("good", f"{url}?authz=another").new

    local = tmp_path / "local.zarr"
    dj.run(
        Run.from_dict(
            tiny | {"output": {"store": str(local)}, "cluster": {"scheduler": cluster.address}}
        )
    )
    assert stored(finished.store) == stored(local)


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Path]:
    """A folder with an ``in`` that runs may read and an ``out`` that they may write."""
    for name in ("in", "out", "elsewhere"):
        (tmp_path / name).mkdir()
    (tmp_path / "in/a.root").touch()
    (tmp_path / "elsewhere/b.root").touch()
    (tmp_path / "in/link.root").symlink_to(tmp_path / "elsewhere/b.root")
    (tmp_path / "out/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside/c.root").touch()
    roots = {
        "djservice.input-roots": [str(tmp_path / "in"), "root://eos.example//eos/public"],
        "djservice.output-roots": [str(tmp_path / "out")],
    }
    with dask.config.set(roots):
        yield tmp_path


@pytest.mark.parametrize(
    "files, store, key",
    [
        ("in/a.root", "out/run.zarr", None),
        ("example:ZHllbb_200", "out/deep/er/run.zarr", None),
        ("root://eos.example//eos/public/x.root?authz=1", "out/run.zarr", None),
        ("elsewhere/b.root", "out/run.zarr", "input"),
        ("in/../elsewhere/b.root", "out/run.zarr", "input"),
        ("in/*.root", "out/run.zarr", "input"),
        ("inside/c.root", "out/run.zarr", "input"),
        ("root://eos.example//eos/public/../private/x.root", "out/run.zarr", "input"),
        ("root://eos.example//eos/public/%2e%2e/private/x.root", "out/run.zarr", "input"),
        ("root://eos.example//eos/public2/x.root", "out/run.zarr", "input"),
        ("root://other//eos/public/x.root", "out/run.zarr", "input"),
        ("file:///etc/passwd", "out/run.zarr", "input"),
        ("in/a.root", "elsewhere/run.zarr", "output"),
        ("in/a.root", "out/../elsewhere/run.zarr", "output"),
        ("in/a.root", "out/link/run.zarr", "output"),
    ],
)
def test_runs_stay_within_their_roots(
    limited: Path, tiny: Settings, files: str, store: str, key: str | None
) -> None:
    where = files if ":" in files else str(limited / files)
    given = {"input": {"files": where}, "output": {"store": str(limited / store)}}
    run = Run.from_dict(tiny | given)
    if key is None:
        check_roots(RunPlan(run))
    else:
        with pytest.raises(ConfigError, match=rf"{key}\..* lies outside .*djservice\.{key}-roots"):
            check_roots(RunPlan(run))


@pytest.mark.parametrize(
    "path, inside",
    [("in/a.onnx", True), ("elsewhere/a.onnx", False), ("in/../elsewhere/a.onnx", False)],
)
@pytest.mark.parametrize("key", ["model", "preprocess"])
@pytest.mark.parametrize("section", ["loss", "objective"])
def test_files_of_observables_stay_within_the_input_roots(
    limited: Path, tiny: Settings, section: str, key: str, path: str, inside: bool
) -> None:
    """They are refused before anything reads them: here there are none."""
    files = {name: str(limited / "in/a.json") for name in ("model", "preprocess")}
    term = {"observable": {"name": "onnx", **files, key: str(limited / path)}, "target": 1.0}
    given = {
        "input": {"files": str(limited / "in/a.root")},
        "output": {"store": str(limited / "out/a.zarr")},
    }
    where = "loss[0].observable"
    if section == "objective":
        where, tiny = "objective.observable", {k: v for k, v in tiny.items() if k != "loss"}
        term = {"kind": "mutual_information", "observable": term["observable"]}
    config = pack(Run.from_dict(tiny | {section: term} | given))
    with pytest.raises(ConfigError) as found:
        checked_plan(config)
    message = str(found.value)
    assert where in message and ("cannot be read" in message) == inside
    assert (f"observable.{key}: " in message and "lies outside the folders" in message) != inside


def test_roots_hold_at_submission(rooted: Any, tiny: Settings) -> None:
    with pytest.raises(ConfigError, match=r"output\.store: .*tiny\.zarr lies outside"):
        dj.connect(rooted.address).submit(Run.from_dict(tiny))


def certificate(authority: trustme.CA, folder: Path, name: str) -> dict[str, str]:
    """Paths of the authority, of a certificate of it and of its key."""
    issued = authority.issue_cert("127.0.0.1")
    paths = {key: folder / f"{name}-{key}.pem" for key in ("ca", "cert", "key")}
    authority.cert_pem.write_to_path(paths["ca"])
    issued.cert_chain_pems[0].write_to_path(paths["cert"])
    issued.private_key_pem.write_to_path(paths["key"])
    return {key: str(path) for key, path in paths.items()}


def test_tls_lets_in_who_has_a_certificate_and_nobody_else(
    make_cluster: Any, tiny: Settings, tmp_path: Path
) -> None:
    authority = trustme.CA()
    right, rogue = (
        certificate(authority, tmp_path, "right"),
        certificate(trustme.CA(), tmp_path, "rogue"),
    )

    def security(paths: dict[str, str]) -> Security:
        client = {"tls_client_cert": paths["cert"], "tls_client_key": paths["key"]}
        return Security(tls_ca_file=right["ca"], require_encryption=True, **client)

    cluster = make_cluster(tmp_path)
    plain = cluster.address
    cluster.address, cluster.host = plain.replace("tcp://", "tls://"), "tls://127.0.0.1"
    options = ("--tls-ca-file", right["ca"], "--tls-cert", right["cert"], "--tls-key", right["key"])
    service = cluster.start_scheduler(*options, security=security(right))
    cluster.start_workers(1, *options)
    assert service.submit(Run.from_dict(tiny)).wait(timeout=300).result.iterations == 6
    with pytest.raises(ServiceError, match="no answer from a Dask scheduler"):
        dj.connect(plain)
    with pytest.raises(ServiceError, match="no answer from a Dask scheduler"):
        dj.connect(cluster.address, security(rogue))
    listing = ["list", "--scheduler", cluster.address]
    assert "tiny" in CliRunner().invoke(main, [*listing, *options]).stdout
    refused = CliRunner().invoke(main, listing)
    assert refused.exit_code == 1
    assert "the scheduler asks for certificates, and none are given" in refused.stderr
    assert "Traceback" not in refused.stderr
