"""The kernels compiled to PTX for an H100, and CuPy as fake_cupy.py has it: in an environment that has numba-cuda and CuPy.

No GPU is needed: a processor executes the PTX, translated to C by gcc. What the simulator and the fake cannot see, types, the
compiler's arithmetic, NVIDIA's functions, and what CuPy's functions take, is seen here. An installed extra (cuda12, cuda13) is
used where there is one.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_cupy
import numpy as np
import pytest
import tools
from asked import FIELDS, INPUT_WAYS, WAYS, some_events
from compilers import kernels_in_ptx, printed, said
from ptx_as_c import ANY, BACKWARDS, FORWARDS, PtxKernel

import djservice as dj
from djservice.clustering import histories_on_gpu, on_gpu
from djservice.clustering.device import Gpu
from djservice.clustering.kernels.lanes import team
from djservice.clustering.kernels.pseudojets import LARGE
from djservice.clustering.particle_cotangents import particle_cotangents
from djservice.clustering.sampling import Sampling, TreeRequest
from djservice.errors import ClusteringError

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
Fetched = Callable[..., Path]
#: Parts of the names of functions, of kernels that grow no trees.
ENTRIES = {
    "smallest": "smallest",
    "smallest_before_ampere": "smallest",
    "prepare_events": "prepare_events",
    "summarise_jets": "summarise_on_gpu",
    "list_constituents": "constituents_on_gpu",
    "list_members": "members_on_gpu",
}

#: Prints the arguments of CuPy's functions and methods, and which names are its ufuncs.
ARGUMENTS = """
import inspect, json, re, sys
import cupy

functions, methods, ufuncs = json.loads(sys.argv[1])

def of_method(name):
    first = getattr(cupy.ndarray, name).__doc__.splitlines()[0]  # compiled: its signature is the first line
    return [part.split("=")[0].split()[-1].strip("*") for part in re.search(r"\\((.*)\\)", first)[1].split(", ")[1:]]

print(json.dumps([
    {name: list(inspect.signature(getattr(cupy, name)).parameters) for name in functions},
    {name: of_method(name) for name in methods},
    [name for name in ufuncs if isinstance(getattr(cupy, name), cupy.ufunc)],
    [hasattr(cupy.ndarray, "__cuda_array_interface__"), cupy.ndarray.__module__],
]))
"""


#: Keeps something as the code of kernels, reads it again, and once more when it was changed.
KEEPING = """
import os, sys
from pathlib import Path
os.environ["NUMBA_CACHE_DIR"] = sys.argv[1]
from djservice.clustering.kernels import code_cache, cuda
for kernel in (cuda.prepare_events_kernel, cuda.grow_trees_kernel(cuda.Features())):
    file = kernel._cache._cache_file
    file.save("signature", b"code")
    kept, problem = file.load("signature"), code_cache.cache_problem() or code_cache._say.cache_info().currsize
    for path in Path(sys.argv[1]).rglob("*.nbc"):
        path.write_bytes(path.read_bytes().replace(b"code", b"CODE"))
    print(kept, problem, file.load("signature"))
"""


def python(fetched: Fetched) -> Path:
    """One that has CuPy and numba-cuda: this, or that of an environment of the tools."""
    here = all(importlib.util.find_spec(name) for name in ("cupy", "numba_cuda"))
    return Path(sys.executable) if here else fetched(tools.program, "numba").with_name("python")


def test_cupy_has_what_its_fake_has(fetched: Fetched) -> None:
    asked = [list(fake_cupy.FUNCTIONS), list(fake_cupy.METHODS), fake_cupy.UFUNCS.split()]
    functions, methods, ufuncs, of_class = json.loads(
        printed(python(fetched), "-c", ARGUMENTS, json.dumps(asked))
    )
    assert {name: " ".join(names) for name, names in functions.items()} == fake_cupy.FUNCTIONS
    assert {name: " ".join(names) for name, names in methods.items()} == fake_cupy.METHODS
    assert ufuncs == fake_cupy.UFUNCS.split()
    assert of_class == [True, "cupy"]


def test_compiled_kernels_are_kept_on_disk(fetched: Fetched, tmp_path: Path) -> None:
    """Sealed, as those of processors: numba-cuda has a class of files of its own."""
    folder = tmp_path / "numba"
    told, beside = said(python(fetched), "-c", KEEPING, folder)
    assert told.splitlines() == ["b'code' 0 None"] * 2 and not beside


def test_compiling_for_a_gpu_is_said_once(fetched: Fetched) -> None:
    program = Path(__file__).with_name("to_ptx.py")
    _, beside = said(python(fetched), program, str(team.TEAM), "list_members", "smallest")
    assert beside.count("\n") == beside.count("compiling kernels for the GPU") == 1


@pytest.fixture(scope="module")
def ptx(fetched: Fetched) -> dict[str, str]:
    """Of each kernel."""
    return kernels_in_ptx(python(fetched))


def test_the_kernels_compile_to_ptx(ptx: dict[str, str]) -> None:
    for name, text in ptx.items():
        head = text[text.index(".visible .entry") :]
        assert ENTRIES.get(name, "grow_trees") in head[: head.index("(")]
        assert "vprintf" not in text and ".extern .func" not in text
    assert (
        ptx["grow_trees"].count("fma.rn.f64") > 100
    )  # lanes are numbers side by side, fused where the source says so
    # Loops are not unrolled, and what is not asked for is not there: both are half of it.
    length = {name: text.count(";\n") for name, text in ptx.items()}
    assert ptx["grow_plain"].count("fma.rn.f64") < 300
    assert length["grow_plain"] < length["grow_usual"] < 0.8 * length["grow_trees"]
    assert 1.1 * length["grow_trees"] < length["grow_trees_large"] < 11_000


def as_c(ptx: dict[str, str], folder: Path, watched: bool) -> dict[str, PtxKernel]:
    """As a processor executes them."""
    if shutil.which("gcc") is None:
        (pytest.fail if os.environ.get("REQUIRE_SERVERS") == "1" else pytest.skip)("needs gcc")
    return {name: PtxKernel(text, folder, name, watched) for name, text in ptx.items()}


@pytest.fixture(scope="module")
def kernels(ptx: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, PtxKernel]:
    """Those of the next fixture."""
    used = {name: text for name, text in ptx.items() if "slopes" not in name}  # the longest
    return as_c(used, tmp_path_factory.mktemp("ptx"), watched=False)


@pytest.fixture(scope="module")
def watched_kernels(
    ptx: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, PtxKernel]:
    """Those of the one after it."""
    grown = (f"grow_{what}{size}" for what in ("trees", "slopes") for size in ("", "_large"))
    used = {name: ptx[name] for name in ("prepare_events", *grown)}
    return as_c(used, tmp_path_factory.mktemp("watched"), watched=True)


@pytest.fixture
def gpu(kernels: dict[str, PtxKernel], monkeypatch: pytest.MonkeyPatch) -> dict[str, PtxKernel]:
    """The kernels that an H100 would be given; "cuda" means these."""
    take(kernels, monkeypatch)
    return kernels


@pytest.fixture
def watched(watched_kernels: dict[str, PtxKernel], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The same; and in the end there was nothing in memory for which it matters which thread of a team comes first."""
    take(watched_kernels, monkeypatch)
    yield watched_kernels
    for kernel in watched_kernels.values():
        assert kernel.disorder == [0, 0, 0]


def take(
    kernels: dict[str, PtxKernel],
    monkeypatch: pytest.MonkeyPatch,
    of_trees: str = "grow_trees",
    threads: int = 64,
) -> None:
    """Let "cuda" mean these, trees growing by the one of that name: by default by that which has all features.

    The score in the particles has its own, which needs memory for it, and large events have theirs.
    """

    def grown(features: Any) -> PtxKernel:
        name = "grow_slopes" if features.slopes else of_trees
        return kernels[name + "_large" * features.large]

    gpu, module = (
        Gpu(np, threads=threads, block=32, free=lambda: 2**30),
        importlib.import_module("djservice.clustering.cluster"),
    )
    monkeypatch.setattr(module, "gpu", lambda device: gpu if device == "cuda" else None)
    for kernel in kernels.values():
        kernel.calls, kernel.order = 0, FORWARDS
    monkeypatch.setattr(on_gpu, "prepare_events_kernel", kernels["prepare_events"])
    monkeypatch.setattr(on_gpu, "grow_trees_kernel", grown)


def close(one: Any, other: Any) -> None:
    """The same steps; numbers that differ by rounding."""
    for name in FIELDS:
        a, b = getattr(one, name), getattr(other, name)
        if name == "history":
            np.testing.assert_array_equal(b, a)
        elif a is not None:
            np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-12, err_msg=name)
    assert (one.states is None) == (other.states is None)
    if one.states is not None:
        for name in ("tree", "momenta", "scores"):
            np.testing.assert_allclose(
                getattr(other.states, name),
                getattr(one.states, name),
                rtol=1e-9,
                atol=1e-12,
                err_msg=name,
            )


def ways_and_orders(ways: dict[str, Any]) -> list[Any]:
    """Each way in one of three orders of the threads; in the long form in all of them."""
    return [
        pytest.param(way, order, marks=[] if (number - which) % 3 == 0 else pytest.mark.long)
        for number, way in enumerate(ways)
        for which, order in enumerate((ANY + number, BACKWARDS, FORWARDS))
    ]


@pytest.mark.parametrize(("way", "order"), ways_and_orders(WAYS))
def test_ptx_grows_trees_in_every_way_as_the_processors_do(
    way: str, order: int, watched: dict[str, PtxKernel]
) -> None:
    """In whatever order threads come."""
    asked: dict[str, Any] = {"radius": 0.8, "rigidity": 1.0, "trees": 4, "seed": 2, **WAYS[way]}
    events = some_events(9, 0, 70)
    expected = dj.cluster(events, **asked, device="cpu", threads=1)
    watched["grow_trees"].order = watched["prepare_events"].order = order
    close(expected, dj.cluster(events, **asked, device="cuda"))
    assert watched["grow_trees"].calls >= watched["prepare_events"].calls == 1


@pytest.mark.parametrize("order", [ANY, BACKWARDS, FORWARDS])
@pytest.mark.parametrize("settled_pt", [None, 5.0, 100.0])
def test_one_team_grows_the_trees_of_several_events(
    settled_pt: float | None,
    order: int,
    watched: dict[str, PtxKernel],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some end before their first step, and no thread may begin the next while another still reads."""
    take(watched, monkeypatch, threads=team.TEAM)
    asked: dict[str, Any] = {"radius": 0.8, "rigidity": 1.0, "trees": 2, "seed": 2}
    events = some_events(8, 16, 9)
    for kernel in watched.values():
        kernel.order = order
    one, other = (
        dj.cluster(events, **asked, settled_pt=settled_pt, device=device)
        for device in ("cpu", "cuda")
    )
    close(one, other)
    assert_same_sums(events, 3, {"rigidity": 1.0, "settled_pt": settled_pt})


@pytest.mark.parametrize("order", [ANY, pytest.param(BACKWARDS, marks=pytest.mark.long)])
@pytest.mark.parametrize("way", ["histories and traces", "safe scale", "all scores"])
def test_ptx_grows_trees_of_a_large_event_as_the_processors_do(
    way: str, order: int, watched: dict[str, PtxKernel]
) -> None:
    """Its slots are in order of rapidity, and close up; and it has rows of pairs."""
    asked: dict[str, Any] = {"radius": 0.4, "rigidity": 1.0, "trees": 1, "seed": 2, **WAYS[way]}
    events = some_events(LARGE + 8)
    expected = dj.cluster(events, **asked, device="cpu", threads=1)
    watched["grow_trees_large"].order = watched["prepare_events"].order = order
    close(expected, dj.cluster(events, **asked, device="cuda"))


@pytest.mark.parametrize(("way", "order"), ways_and_orders(INPUT_WAYS))
def test_ptx_differentiates_in_particles_as_the_processors_do(
    way: str, order: int, watched: dict[str, PtxKernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In sums over several trees each, and in whatever order threads come."""
    monkeypatch.setattr("djservice.clustering.particle_cotangents._STRAND", 2)
    watched["grow_slopes"].order = watched["prepare_events"].order = order
    assert_same_sums(some_events(9, 0, 70), 5, INPUT_WAYS[way])
    assert watched["grow_slopes"].calls >= 1


@pytest.mark.usefixtures("watched")
def test_ptx_differentiates_in_particles_where_there_are_rows() -> None:
    assert_same_sums(some_events(LARGE), 1, {"rigidity": 1.0, "scale": "safe"})


def assert_same_sums(events: Any, trees: int, way: dict[str, Any]) -> None:
    """Sums over trees of derivatives in particles, by either device."""
    asked: dict[str, Any] = {"radius": 0.8, "rigidity": 1.0, **way}
    random, shape = np.random.default_rng(1), (len(events), trees, 2)
    radius = asked.pop("radius")
    request = TreeRequest(trees, settled_pt=asked.pop("settled_pt", None))
    factors, jets = random.normal(size=(*shape, 2)), random.normal(size=(*shape, 4))

    def sums(device: Any) -> tuple[Any, Any]:
        sampling = Sampling(**asked, seed=2, device=device, threads=1)
        return particle_cotangents(
            events, radius, sampling, request, factors, jets, coordinates="pt_y_phi_m"
        )

    for one, other in zip(sums("cpu"), sums("cuda"), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-8, atol=1e-9 * np.abs(one).max())


@pytest.mark.parametrize("name", ["smallest", "smallest_before_ampere"])
def test_a_warp_finds_its_smallest_number(
    name: str, ptx: dict[str, str], kernels: dict[str, PtxKernel]
) -> None:
    """From Ampere on by an instruction for whole words, before by exchange between threads."""
    assert ("redux" in ptx[name]) == (name == "smallest")
    assert ("shfl" in ptx[name]) == (name != "smallest")
    random, tiny = np.random.default_rng(6), np.nextafter(0.0, 1.0)
    fixed = [[1.0, np.nextafter(1.0, 2.0)], [0.0, tiny], [tiny, 1e308], [1e308, np.inf], [np.inf]]
    spread = [np.exp(random.normal(scale=width, size=32)) for width in (1e-15, 1e-9, 1.0, 200.0)]
    for numbers in [*(np.resize(some, 32) for some in fixed), *spread]:
        shuffled, result = random.permutation(numbers), np.full(1, np.nan)
        kernels[name][1, 32](shuffled, result)
        assert result[0] == numbers.min()


def test_ptx_lists_the_constituents_of_jets(
    kernels: dict[str, PtxKernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, and as they are summed up: more trees than threads."""
    functions = {f.__name__: f for f in histories_on_gpu.KERNELS}
    monkeypatch.setattr(
        histories_on_gpu, "KERNELS", {f: kernels[name] for name, f in functions.items()}
    )
    monkeypatch.setattr(
        histories_on_gpu, "gpu", lambda device: Gpu(np, threads=40, block=32, free=lambda: 2**30)
    )
    events = some_events(9, 0, 40)
    how: dict[str, Any] = {"radius": 0.8, "rigidity": 1.0, "trees": 20, "constituents": True}
    members = dj.cluster(events, **how).constituents

    def listed() -> list[Any]:
        slots = np.flatnonzero(members.summary.counts)[::3].copy()
        index = members.listed(slots, 7)
        return [*members.summary, index, *members.members()]

    expected = listed()
    del members.summary

    def on_gpu(kernel: Any, rows: int, *arguments: Any) -> None:
        threads = rows, 2 * int(events.counts.max()), members.jets
        trees_each = members.trees_each
        histories_on_gpu.follow_on_gpu(kernel, threads, trees_each, members.trees, arguments)

    monkeypatch.setattr(members, "_run", on_gpu)
    for one, other in zip(expected, listed(), strict=True):
        np.testing.assert_array_equal(other, one)
    assert all(kernels[name].calls > 0 for name in functions)


@pytest.mark.usefixtures("gpu")  # put back at the end
@pytest.mark.parametrize(
    "wait", [0, *(pytest.param(wait, marks=pytest.mark.long) for wait in (3, 9))]
)
def test_a_wait_that_is_missing_is_noticed(
    wait: int, ptx: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, *after = re.split(r"(?=\tbar\.warp\.sync)", ptx["prepare_events"])
    without = before + "".join(
        f"//{part}" if number == wait else part for number, part in enumerate(after)
    )
    kernel = PtxKernel(without, tmp_path, f"without_wait_{wait}", watched=True)
    monkeypatch.setattr(on_gpu, "prepare_events_kernel", kernel)
    dj.cluster(some_events(9, 0, LARGE + 8), radius=0.4, rigidity=1e3, device="cuda")
    assert kernel.disorder[0] > 0


@pytest.mark.parametrize(
    ("of_trees", "way"),
    [
        ("grow_plain", {}),
        ("grow_usual", {"states": True, "settled_pt": 5.0}),
        ("grow_usual", {"states": True}),
    ],
)
def test_a_kernel_without_what_is_not_asked_for_grows_the_same_trees(
    of_trees: str,
    way: dict[str, Any],
    kernels: dict[str, PtxKernel],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    take(kernels, monkeypatch, of_trees)
    asked: dict[str, Any] = {"radius": 0.8, "rigidity": 1.0, "trees": 6, "seed": 2, **way}
    one, other = (
        dj.cluster(some_events(9, 0, 70), **asked, device=device) for device in ("cpu", "cuda")
    )
    close(one, other)
    assert kernels[of_trees].calls > 0


@pytest.mark.usefixtures("watched")
def test_ptx_follows_flips_and_histories() -> None:
    events, how = some_events(8, 30), {"radius": 0.8, "rigidity": 1.0, "trees": 5, "seed": 3}
    first = dj.cluster(events, **how, flips=True, history=True, device="cpu")  # type: ignore[arg-type]
    close(
        *(
            dj.cluster(events, **how, flips=first.flips[:, :, 0], device=device)
            for device in ("cpu", "cuda")
        )
    )  # type: ignore[arg-type]
    close(*(
        dj.replay(events, first.history, radius=0.6, rigidity=2.0, trace=True, device=device)  # type: ignore[arg-type]
        for device in ("cpu", "cuda")
    ))  # fmt: skip


@pytest.mark.usefixtures("watched")
def test_an_event_that_ptx_cannot_cluster_is_named() -> None:
    px = np.array([3.0, 4.0, 3e-18, 3e-18])
    events = dj.EventBatch.from_arrays(
        pt=px,
        rapidity=[0.0, 1.0, 0.0, 0.0],
        phi=[0.0, 0.0, np.pi / 2, -np.pi / 2],
        mass=[0.0] * 4,
        offsets=[0, 2, 4],
    )
    with pytest.raises(ClusteringError, match=r"arrays, entry 1, tree 0: .* infinite"):
        dj.cluster(events, radius=0.8, rigidity=math.inf, power=-10.0, device="cuda")


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("number", [16, pytest.param(80, marks=pytest.mark.long)])
@pytest.mark.parametrize("rigidity", [1.0, pytest.param(10.0, marks=pytest.mark.long)])
def test_ptx_grows_the_trees_of_the_processors_on_real_events(rigidity: float, number: int) -> None:
    schema, trees = dj.schemas.nanoaod(pt_min=0.5), 2
    events = dj.read("example:ZHllbb_200", schema=schema, entries=(0, number))
    asked: dict[str, Any] = {
        "radius": 0.7,
        "rigidity": rigidity,
        "trees": trees,
        "seed": 1,
        "history": True,
    }
    one, other = (dj.cluster(events, **asked, device=device) for device in ("cpu", "cuda"))
    starts = (
        events.offsets[:-1, np.newaxis] * trees + np.arange(trees) * events.counts[:, np.newaxis]
    ).ravel()
    differs = np.add.reduceat((one.history != other.history).any(axis=1), starts) > 0
    same = ~differs.reshape(len(events), trees)
    assert same.mean() > 0.98
    np.testing.assert_allclose(other.scores[same], one.scores[same], rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("gpu")  # put back at the end
def test_the_teams_of_a_warp_stay_together(
    ptx: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as their trees differ: a way out of a step from within a branch leaves them alone, a quarter of the warp."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    ((_, _, model),) = importlib.import_module("warps").counted(ptx, [60], [10.0], warps=1)
    counts = model.counts
    assert counts.used > 0.4
    assert counts.lines < 5 * counts.requests  # and they read what is side by side
