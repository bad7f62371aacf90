"""Damage of every file of every kind of store: named, or computed again to the same bits, and never silent."""

import asyncio
import contextlib
import errno
import io
import itertools
import json
import os
import random
import shutil
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import numpy as np
import pytest
import zarr
from click.testing import CliRunner

from djservice.cli import main
from djservice.config.run import Run
from djservice.core.display import Lines
from djservice.errors import DamagedStoreError, DjserviceError, StoreError
from djservice.evaluation.joint_gradient import JointEvents
from djservice.evaluation.moments import Quantity
from djservice.evaluation.reduce import PerEvent
from djservice.fit.joint_fit import JointFit, JointSample
from djservice.fit.model_fit import ModelFit, Sample
from djservice.fit.per_event import PerEventRadii
from djservice.fit.plan import RunPlan
from djservice.fit.radius_fit import RadiusFit, spectrum_radii
from djservice.fit.requests import Request
from djservice.fit.weights_fit import WeightSample, WeightsFit
from djservice.reports.summary import summary
from djservice.store import object_store
from djservice.store.columns import StoreColumns
from djservice.store.grid_store import COLUMNS, open_grid, read_grid
from djservice.store.local_folder import LocalFolder
from djservice.store.run_store import Store
from djservice.store.verify import verify_store

KEYS = np.arange(12, dtype=np.uint64) * np.uint64(2**60)
LABELS = np.arange(12) % 2
TASKS = ("global", "per-event", "radius-model", "particle-weights", "joint")
#: The requests at which the store of a run is copied as that of a running one: their stream and number.
REQUESTS = {
    "global": ("train-2", "scan-1", "newton-1", "spectrum-1"),
    "per-event": ("per-event-choose-0",),
    "radius-model": ("model-0", "model-2"),
    "particle-weights": ("weights-0", "weights-2"),
    "joint": ("joint-0", "joint-2", "error-joint-2"),
}
Content = dict[str, Any]
Damage = Callable[[Path, random.Random], None]
Act = Callable[[Request], object]
#: Seed of the sample of damages in the long tests, or "all": every file of every store, which takes most of a day.
SAMPLE = os.environ.get("DAMAGE_SAMPLE", "1")


class Stopped(DjserviceError):
    """The end of a run that is stopped by the test."""


def settings(task: str, iterations: int = 5) -> Run:
    model = {"iterations": 3, "features": ["leading_pt"], "batch_events": 4}
    return Run.from_dict(
        {
            "task": task,
            "input": {"files": "a"},
            "loss": {"target": 125.0},
            "optimiser": {"iterations": iterations, "batch_events": 4},
            "scan": {"radii": [0.5, 0.7, 0.9, 1.1]},
            "spectrum": {"radii": [0.65]},
            "radius_model": model,
            "particle_weights": model | {"features": ["log_pt"]},
            "joint": {
                "network": {"name": "moment_efn", "particle_layers": [2], "jet_layers": [2]},
                "classes": [1.0, 0.0],
                "held_back": 0.5,
                "iterations": 3,
                "batch_events": 4,
            },
            "output": {"store": "s.zarr"},
        }
    )


def numbers(request: Request, key: int) -> Any:
    """Numbers that look drawn, and are a function of the request."""
    radius = request.radius
    at = radius if isinstance(radius, float) else float(np.sum(getattr(radius, "theta", radius)))
    if request.network is not None:
        at += float(request.network.theta.sum())
    seed = [int(abs(at) * 1e12), request.iteration, len(request.stream), key]
    return np.random.default_rng(seed).normal(0.0, 0.05, 40)


def answer(request: Request, parameters: int) -> Any:
    """Moments and results per event as the bundles would give them."""
    drawn = numbers(request, 0)
    loss = Quantity(0.1 + drawn[0] ** 2, 0.01, 0.01)
    if isinstance(request.radius, float):
        loss = Quantity((request.radius - 0.7) ** 2 + 0.1 * abs(drawn[0]), 0.01, 0.01)
    gradients = [Quantity(value, 0.02, 0.01) for value in drawn[1 : 1 + parameters]]
    if request.stream in ("scan", "newton"):  # so that there are several Newton steps
        slope = 2.0 * (request.radius - 0.7)
        gradients[0] = Quantity(slope + drawn[1] / 10.0, 0.002, 0.0015)
    moments = SimpleNamespace(
        loss=lambda: loss,
        gradient=lambda: gradients[0],
        gradients=lambda: gradients,
        mean=lambda: Quantity(120.0 + drawn[2], 0.1, 0.1),
        sd=lambda: Quantity(30.0 + drawn[3], 0.1, 0.1),
        acceptance=0.9 + drawn[4] / 10,
        trees=40,
        events=12,
        state_share=6.0,
    )
    events = 12 if request.subset is None else int(np.sum(request.subset.of(KEYS)))
    columns = [numbers(request, key)[:events] for key in range(1, 6)]
    accepted = np.arange(events)
    return moments, PerEvent(
        columns[0], columns[1], accepted, columns[2], columns[3][:, None], columns[4][:, None]
    )


def run_store(path: Path | str, task: str, iterations: int = 5, act: Act = lambda _: None) -> None:
    """Do or continue a run without a cluster; the act comes before each request is answered."""
    run, watch = settings(task, iterations), Lines(io.StringIO())

    async def evaluate(request: Request) -> Any:
        act(request)
        if request.in_weights is not None and request.weights is not None:
            return answer(request, 1 + len(request.weights.theta))
        theta = getattr(request.radius, "theta", None)
        return answer(request, 1 if theta is None else len(theta))

    async def joint(request: Request) -> Any:
        """As many gradients as parameters, and a probability of each event in place of its mean."""
        assert request.network is not None
        act(request)
        asked_at = replace(request, per_event=False)
        drawn = numbers(asked_at, 10)
        slopes = [Quantity(x, 0.02, 0.01) for x in np.resize(drawn, 1 + len(request.network.theta))]
        sums = answer(asked_at, 1)[0]
        sums.gradients = lambda: slopes
        sums.slopes, sums.total = np.array([slope.value for slope in slopes[1:]]), np.ones(3)
        events = len(KEYS) if request.subset is None else int(np.sum(request.subset.of(KEYS)))
        probability = 0.5 + numbers(request, 11)[:events]
        return sums, JointEvents(probability, probability, probability)

    async def slopes(request: Request) -> Any:
        return (await evaluate(request))[0]

    async def profile(request: Request) -> Any:
        return numbers(request, 9)[:24].reshape(1, 8, 3)

    async def fit_events(radius: float, done: int) -> AsyncIterator[PerEventRadii]:
        for first in range(0, 12, 6):
            if first >= done:
                radii = radius + np.arange(first, first + 6) / 100
                left = np.arange(6) == 2
                yield PerEventRadii(radii, left, np.stack([radii] * 3, axis=1), ~left)

    features = np.random.default_rng(1).normal(size=(12, 1))
    model: ModelFit | WeightsFit | JointFit | None = None
    if task == "joint":
        model = JointFit(RunPlan(run), JointSample(joint, KEYS, np.ones(12), LABELS), watch)
    if task == "particle-weights":
        every = (KEYS, np.ones(12), np.full(12, 125.0))
        model = WeightsFit(RunPlan(run), WeightSample(evaluate, slopes, profile, *every), watch)
    if task == "radius-model":
        sample = Sample(evaluate, KEYS, np.ones(12), np.full(12, 125.0), features)
        model = ModelFit(RunPlan(run), sample, {}, watch)
    shape = StoreColumns(
        iterations,
        run.scan.radii,
        len(spectrum_radii(run, np.nan)),
        KEYS,
        np.linspace(0.5, 1.5, 12),
        starts=run.per_event.starts if task == "per-event" else (),
        model=None if model is None else model.shape,
    )
    facts = {"run": run.to_dict(), "observable": {"name": "mass", "units": "GeV"}, "inputs": []}
    with Store.open(path, facts, run.numbers, shape) as store:
        fit_model = None if model is None else model.run_to_completion
        fit = RadiusFit(run, KEYS, evaluate, store, watch, fit_events, fit_model)
        asyncio.run(fit.run_to_completion())


def content(path: Path | str) -> Content:
    """Everything that a store says, but times."""
    store = Store.read(path)
    found: Content = {"attributes": repr(store.attributes)}
    for group in store.groups:
        attributes = store.group(group).attributes
        found[f"{group} attributes"] = repr({**attributes, "arrays": [*attributes["arrays"]]})
        for name in store.attribute(group, "arrays"):
            if name != "seconds":
                found[f"{group}/{name}"] = store.array(group, name).tobytes()
    return found


def flip(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def delete(path: Path, _: random.Random) -> None:
    path.unlink()


def truncate(path: Path, chance: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: chance.randrange(len(data))])


def empty(path: Path, _: random.Random) -> None:
    """As a power cut leaves a file whose bytes had not reached the disk."""
    path.write_bytes(bytes(path.stat().st_size))


def nest(path: Path, _: random.Random) -> None:
    path.write_text('{"attributes":' * 100_000)


def pipe(path: Path, _: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path, _: random.Random) -> None:
    path.unlink()
    (path / "x").mkdir(parents=True)


def circle(path: Path, _: random.Random) -> None:
    path.unlink()
    path.symlink_to(path)


def enlarge(path: Path, _: random.Random) -> None:
    """A file with a hole of 40 GB."""
    os.truncate(path, 40 * 2**30)


def bury(path: Path, _: random.Random) -> None:
    """A file in the place of the folder."""
    shutil.rmtree(path.parent)
    path.parent.write_text("x")


DAMAGES: tuple[Damage, ...] = (flip, delete, truncate)
#: What stands in the place of a file. Each is tried on files of each kind.
REPLACED = (empty, nest, pipe, folder, circle, enlarge, bury)
FILES = ("scan/zarr.json", "scan/loss/zarr.json", "scan/loss/c/0", "history/gradients/c/0/0")


def files_of(path: Path) -> list[str]:
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


def cases(path: Path) -> list[tuple[str, Damage]]:
    """Files of a store with what is done to them: all and everything."""
    return [(file, damage) for file in files_of(path) for damage in DAMAGES]


def kind_of(path: Path, file: str) -> str:
    """Root, group, array or chunk."""
    if not file.endswith("zarr.json"):
        return "chunk"
    return "root" if file == "zarr.json" else json.loads((path / file).read_text())["node_type"]


def sample(path: Path, chance: random.Random) -> list[tuple[str, Damage]]:
    """Every kind of damage to a file of each kind, never one file twice while there are others."""
    kinds: dict[str, list[str]] = {}
    for file in files_of(path):
        kinds.setdefault(kind_of(path, file), []).append(file)
    chosen = []
    for _, files in sorted(kinds.items()):
        chance.shuffle(files)
        chosen += list(zip(itertools.cycle(files), DAMAGES, strict=False))
    return chosen


@pytest.fixture(autouse=True)
def torch_is_there(request: pytest.FixtureRequest, requires: Callable[..., None]) -> None:
    if "joint" in request.node.name:
        requires("torch (pip install 'djservice[torch]')", find_spec("torch"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with TASK-STATE.zarr for every task and state."""
    folder = tmp_path_factory.mktemp("damage")

    def stop(_: Request) -> None:
        raise Stopped("stopped by the test")

    for task, requests in REQUESTS.items():
        if task == "joint" and not find_spec("torch"):
            continue
        path = folder / f"{task}-finished.zarr"
        left = set(requests)

        def copy(request: Request, task: str = task, left: set[str] = left) -> None:
            name = f"{request.stream}-{request.iteration}"
            if name in left:
                left.remove(name)
                shutil.copytree(
                    folder / f"{task}-finished.zarr", folder / f"{task}-running-{name}.zarr"
                )

        run_store(path, task, act=copy)
        assert not left, "no such requests"
        shutil.copytree(
            folder / f"{task}-running-{requests[-1]}.zarr", folder / f"{task}-interrupted.zarr"
        )
        with pytest.raises(Stopped):
            run_store(folder / f"{task}-interrupted.zarr", task, act=stop)
    return folder


def outcome(path: Path, file: str, task: str, before: Content, whole: Content) -> str:
    """What comes of a damaged store: "" if it is named, mended to the same bits, or without effect; else what is wrong."""
    try:
        if content(path) != before:
            return "silent: read other content"
        summary(path)
    except StoreError as error:
        if str(path) not in str(error):
            return f"the store is not named: {error}"
    try:
        verify_store(path)
        if content(path) != before:
            return "silent: verified"
    except StoreError as error:
        if file not in str(error):
            return f"the file is not named: {error}"
    try:
        run_store(path, task)
    except StoreError as error:
        return "" if file == "zarr.json" else f"not mended: {error}"
    if content(path) != whole:
        return "silent: other result"
    verify_store(path)
    return ""


STORES = [
    f"{task}-{state}"
    for task, requests in REQUESTS.items()
    for state in ("finished", "interrupted", *(f"running-{request}" for request in requests))
]


def damage_each(name: str, made: Path, path: Path, tried: list[tuple[str, Damage]]) -> None:
    """Damage files of a store, one at a time, and assert that nothing is silent."""
    chance, bad = random.Random(name + SAMPLE), []
    task = next(task for task in TASKS if name.startswith(task))
    before, whole = content(made / f"{name}.zarr"), content(made / f"{task}-finished.zarr")
    for file, damage in tried:
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(made / f"{name}.zarr", path)
        damage(path / file, chance)
        wrong = outcome(path, file, task, before, whole)
        print(name, damage.__name__, file, wrong or "well", flush=True)
        if wrong:
            bad.append(f"{damage.__name__} {file}: {wrong}")
    assert not bad, f"{len(bad)} of {len(tried)}:\n" + "\n".join(bad)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("global-running-newton-1", flip),
        ("per-event-interrupted", delete),
        ("radius-model-finished", truncate),
        ("particle-weights-running-weights-2", flip),
        ("joint-running-joint-0", delete),
    ],
)
def test_no_damage_of_a_store_is_silent(
    name: str, damage: Damage, made: Path, tmp_path: Path
) -> None:
    file = random.Random(name).choice(files_of(made / f"{name}.zarr"))
    damage_each(name, made, tmp_path / "s.zarr", [(file, damage)])


@pytest.mark.parametrize(
    ("damage", "file"),
    [
        pytest.param(damage, file, marks=() if (d + f) % 4 == 0 else pytest.mark.long)
        for d, damage in enumerate(REPLACED)
        for f, file in enumerate(FILES)
    ],
)
@pytest.mark.timeout(300)
def test_what_is_no_file_of_ours_is_damage(
    damage: Damage, file: str, made: Path, tmp_path: Path
) -> None:
    """It is named and computed again; nothing hangs, and no memory is filled."""
    path = shutil.copytree(made / "global-finished.zarr", tmp_path / "s.zarr")
    whole = content(path)
    damage(path / file, random.Random(1))
    named = file if damage is not bury else str(Path(file).parent)
    assert outcome(path, named, "global", whole, whole) == ""


@pytest.mark.parametrize("group", ["history", "radius_model", "particle_weights"])
def test_an_average_is_computed_again(group: str, made: Path, tmp_path: Path) -> None:
    """It follows from the gradients, in each group that has one."""
    task = "global" if group == "history" else group.replace("_", "-")
    path = shutil.copytree(made / f"{task}-finished.zarr", tmp_path / "s.zarr")
    whole, file = content(path), f"{group}/parameters_average/c/0/0"
    flip(path / file, random.Random(1))
    assert outcome(path, file, task, whole, whole) == ""


def large(data: bytes) -> bytes:
    return data + bytes(300_000)


def declared(data: bytes) -> bytes:
    """Metadata of chunks of 10^12 rows; of another file, something large."""
    return data.replace(b'"chunk_shape": [\n', b'"chunk_shape": [\n 1000000000000').ljust(2)


@pytest.mark.parametrize(
    ("file", "change"), [*((file, large) for file in FILES), ("scan/loss/zarr.json", declared)]
)
def test_an_object_that_is_too_large_is_named_before_it_is_read(
    file: str, change: Callable[[bytes], bytes], made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bucket may hold anything under any name."""
    whole, url = content(made / "global-finished.zarr"), f"memory://{uuid.uuid4().hex}/s.zarr"
    files, root = fsspec.core.url_to_fs(url)
    files.put(f"{made / 'global-finished.zarr'}/", root, recursive=True)
    files.pipe_file(f"{root}/{file}", change(files.cat_file(f"{root}/{file}")))
    read, sizes = type(files).cat_file, [0]

    def measured(*arguments: Any, **keywords: Any) -> Any:
        data = read(*arguments, **keywords)
        sizes.append(len(data))
        return data

    monkeypatch.setattr(object_store, "PROBE", 5_000)
    monkeypatch.setattr(object_store, "LARGEST", 200_000)
    monkeypatch.setattr(type(files), "cat_file", measured)
    with pytest.raises(DamagedStoreError, match=file):
        content(url)
    run_store(url, "global")
    assert content(url) == whole
    assert max(sizes) <= 200_000
    files.rm(root.rpartition("/")[0], recursive=True)


@pytest.mark.parametrize("group", ["history", pytest.param("scan", marks=pytest.mark.long)])
def test_a_group_of_another_store_is_not_taken_for_its_own(
    group: str, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes are as they were written, in another place."""
    path = shutil.copytree(made / "global-finished.zarr", tmp_path / "s.zarr")
    whole = content(path)
    of_run = settings
    with monkeypatch.context() as patch:
        other = lambda *given: of_run(*given).model_copy(update={"seed": 5})  # noqa: E731
        patch.setitem(globals(), "settings", other)
        run_store(tmp_path / "other.zarr", "global")
    shutil.rmtree(path / group)
    shutil.copytree(tmp_path / "other.zarr" / group, path / group)
    with pytest.raises(DamagedStoreError, match=rf"{group}/zarr\.json is that of another run"):
        content(path)
    assert outcome(path, f"{group}/zarr.json", "global", whole, whole) == ""


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", STORES)
def test_no_damage_of_any_file_of_a_store_is_silent(name: str, made: Path, tmp_path: Path) -> None:
    """Each kind of store, of file and of damage once; ``DAMAGE_SAMPLE`` chooses other files, or all."""
    source = made / f"{name}.zarr"
    tried = cases(source) if SAMPLE == "all" else sample(source, random.Random(SAMPLE + name))
    damage_each(name, made, tmp_path / "s.zarr", tried)


@pytest.mark.parametrize(
    ("array", "earlier"),
    [("scan/mean", "scan-1"), ("newton/mean", "newton-1"), ("spectrum/mean", "spectrum-1")],
)
def test_an_old_chunk_in_the_place_of_a_new_one_is_not_silent(
    array: str, earlier: str, made: Path, tmp_path: Path
) -> None:
    """Its codec calls it sound; the checksum of the rows does not."""
    path = tmp_path / "s.zarr"
    shutil.copytree(made / "global-finished.zarr", path)
    whole = content(path)
    shutil.copy(made / f"global-running-{earlier}.zarr/{array}/c/0", path / array / "c/0")
    with pytest.raises(DamagedStoreError, match=f"damaged: {array}, .* holds other rows"):
        content(path)
    assert outcome(path, f"{array}/c", "global", whole, whole) == ""


def write_grid(path: Path, cells: int = 8) -> tuple[Content, int]:
    """Fill cells of a grid, and return what it says, and how many were done before."""
    rigidities, radii = (1.0, 2.0), (0.5, 0.9)
    shown = {"observable": "m", "versions": {"numpy": "2.0"}}
    with open_grid(path, (1, 2, 2, 2), rigidities, radii, {"code": "1"}, shown) as grid:
        done = grid.n_complete
        for cell in range(done, cells):
            grid.write({name: len(name) + cell / 7 for name in COLUMNS})
    return read_whole_grid(path), done


def read_whole_grid(path: Path) -> Content:
    grid = read_grid(path)
    return {name: grid[name].tobytes() for name in (*COLUMNS, "rigidity", "radius")} | grid.attrs


@pytest.mark.parametrize("only", [flip, pytest.param(None, marks=pytest.mark.long)])
def test_no_damage_of_a_grid_is_silent(only: Damage | None, tmp_path: Path) -> None:
    chance, path, stopped = random.Random(3), tmp_path / "s.zarr", tmp_path / "stopped.zarr"
    whole, _ = write_grid(tmp_path / "whole.zarr")
    write_grid(stopped, 5)
    for source in (tmp_path / "whole.zarr", stopped):
        before = read_whole_grid(source)
        every = cases(source)
        for file, damage in every if only is None else [(chance.choice(every)[0], only)]:
            shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(source, path)
            damage(path / file, chance)
            with contextlib.suppress(StoreError):
                assert read_whole_grid(path) == before, file
            try:
                verify_store(path)
                assert read_whole_grid(path) == before, file
            except StoreError as error:
                assert file in str(error)
            try:
                assert write_grid(path)[0] == whole, file
            except StoreError:
                assert file == "zarr.json"
            else:
                verify_store(path)


@pytest.mark.parametrize(
    ("name", "iterations"),
    [("global-running-newton-1", 5), pytest.param("per-event-finished", 9, marks=pytest.mark.long)],
)
def test_a_write_that_fails_loses_nothing(
    name: str, iterations: int, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when arrays are lengthened, averages are written again, and damage is mended."""
    task, path = name.rpartition("-running")[0] or name.rpartition("-")[0], tmp_path / "s.zarr"
    run_store(tmp_path / "whole.zarr", task, iterations)
    whole = content(tmp_path / "whole.zarr")
    chance = random.Random(name)
    for damaged in (None, "history/gradients/c/0/0"):
        for number in chance.sample(range(60), 1):
            shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(made / f"{name}.zarr", path)
            rows = Store.read(path).n_complete("history")
            if damaged is not None:
                (path / damaged).unlink()
            with monkeypatch.context() as patch, pytest.raises(StoreError, match="No space left"):
                fail_from(patch, number)
                run_store(path, task, iterations)
            if damaged is None:
                verify_store(path)
                assert Store.read(path).n_complete("history") >= rows
            run_store(path, task, iterations)
            assert content(path) == whole, (damaged, number)
            verify_store(path)


def fail_from(patch: pytest.MonkeyPatch, number: int) -> None:
    """Let the writes from a number on fail, as on a full disk."""
    count = itertools.count()

    def failing(write: Callable[..., Any]) -> Callable[..., Any]:
        def write_or_fail(*arguments: Any, **keywords: Any) -> Any:
            if next(count) >= number:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(*arguments, **keywords)

        return write_or_fail

    patch.setattr(LocalFolder, "write", failing(LocalFolder.write))
    patch.setattr("zarr.storage._local._put", failing(zarr.storage._local._put))


LONG = pytest.mark.long


@pytest.mark.parametrize("damage", [truncate, pytest.param(delete, marks=LONG)])
@pytest.mark.parametrize(
    "file",
    [
        pytest.param("scan/loss/c/0", marks=LONG),
        pytest.param("scan/zarr.json", marks=LONG),
        "scan/mean/zarr.json",
        pytest.param("history/gradients/zarr.json", marks=LONG),
    ],
)
def test_damage_under_a_run_ends_it_with_an_error(
    file: str, damage: Damage, made: Path, tmp_path: Path
) -> None:
    path = tmp_path / "s.zarr"
    shutil.copytree(made / "global-running-scan-1.zarr", path)

    def act(request: Request) -> None:
        if (request.stream, request.iteration) == ("scan", 2):
            damage(path / file, random.Random(1))

    with pytest.raises(DamagedStoreError, match=file.removesuffix("/0")):  # or all chunks
        run_store(path, "global", act=act)
    run_store(path, "global")
    assert content(path) == content(made / "global-finished.zarr")


def test_a_store_without_checksums_is_not_read(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "global-finished.zarr", tmp_path / "s.zarr")
    root = tmp_path / "s.zarr" / "zarr.json"
    attributes = {"djservice_format": 2, "numbers": {}}
    root.write_text(json.dumps({"attributes": attributes, "zarr_format": 3, "node_type": "group"}))
    for read in (Store.read, verify_store):
        with pytest.raises(StoreError, match=r"written in format 2, expected 4\. Read it with"):
            read(tmp_path / "s.zarr")


def test_the_command_names_what_is_damaged(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    shutil.copytree(made / "global-finished.zarr", path)
    done = CliRunner().invoke(main, ["check", str(path)])
    arrays = [kind_of(path, file) for file in files_of(path)].count("array")
    assert (done.exit_code, done.output) == (0, f"{path}: whole: {arrays} arrays\n")
    (path / "scan/loss/c/0").unlink()
    done = CliRunner().invoke(main, ["check", str(path)])
    assert done.exit_code == 1
    assert "scan/loss, rows 0 to 3: scan/loss/c/0 is missing" in done.output
    shutil.copytree(made / "global-finished.zarr", tmp_path / "t.zarr")
    copies = tmp_path / "t.zarr/zarr.json"
    copies.write_text(copies.read_text().replace('"metadata": {', '"metadatb": {', 1))
    done = CliRunner().invoke(main, ["check", str(tmp_path / "t.zarr")])
    assert done.exit_code == 1 and "no readable copies of metadata" in done.output
    done = CliRunner().invoke(main, ["check", str(tmp_path / "gone.zarr")])
    assert done.exit_code == 1 and "there is no store here" in done.output
