"""The layers of both frameworks: against ``dj.input_gradient``, each other, finite steps, and what they refuse."""

from __future__ import annotations

import importlib
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import djservice as dj
from djservice.clustering.particle_order import momenta_of
from djservice.errors import InputError

EVENTS, SLOTS = 3, 12
IDENTITY = (np.full(EVENTS, 2**31 - 1), np.arange(EVENTS), np.arange(EVENTS) + 2**40)
SETTINGS = {"seed": 3, "trees": 20, "device": "cpu", "threads": 1}


def batch() -> dj.EventBatch:
    rng = np.random.default_rng(1)
    columns = {
        "pt": rng.exponential(5.0, 26) + 1.0,
        "rapidity": rng.normal(size=26),
        "phi": rng.uniform(-3.0, 3.0, 26),
        "mass": rng.uniform(0.3, 1.0, 26),
    }
    return dj.EventBatch.from_arrays(**columns, offsets=[0, 7, 19, 26], identity=IDENTITY)


def padded(events: dj.EventBatch) -> tuple[Any, Any]:
    """Momenta and mask; NaN stands where there is no particle, also between particles."""
    mask = np.arange(SLOTS) < events.counts[:, np.newaxis]
    mask[2] = mask[2, ::-1]
    particles = np.full((EVENTS, SLOTS, 4), np.nan)
    particles[mask] = momenta_of(events)
    return particles, mask


@dj.observable(jets=1)
def squared_mass(jets: Any) -> Any:
    """Of the leading jet: the central differences of ``dj.input_gradient`` are exact to rounding."""
    return jets[..., 0].mass ** 2


class Torch:
    """What the tests need of PyTorch, in the terms of all frameworks."""

    def __init__(self) -> None:
        import torch

        self.module: ModuleType = importlib.import_module("djservice.torch")
        self.array = torch.tensor

    def mass(self, jets: Any) -> Any:
        total = jets.sum(-2)
        return (total[..., 3] ** 2 - (total[..., :3] ** 2).sum(-1)).clamp(min=1e-9).sqrt()

    def gradients(self, function: Callable[..., Any], *arrays: Any) -> list[Any]:
        """Sum of a function and its gradients."""
        tensors = [self.array(np.asarray(array), requires_grad=True) for array in arrays]
        value = function(*tensors).sum()
        value.backward()
        return [value.detach().numpy(), *(tensor.grad.numpy() for tensor in tensors)]


class Jax:
    """The same of JAX."""

    def __init__(self) -> None:
        import jax.numpy as jnp

        self.module: ModuleType = importlib.import_module("djservice.jax")
        self.array = jnp.asarray

    def mass(self, jets: Any) -> Any:
        total = jets.sum(-2)
        return (total[..., 3] ** 2 - (total[..., :3] ** 2).sum(-1)).clip(1e-9) ** 0.5

    def gradients(self, function: Callable[..., Any], *arrays: Any) -> list[Any]:
        import jax

        places = tuple(range(len(arrays)))
        of_sum = jax.value_and_grad(lambda *inputs: function(*inputs).sum(), argnums=places)
        # Compiled in one piece: the operations one by one take seconds.
        value, gradients = jax.jit(of_sum)(*map(self.array, arrays))
        return [np.asarray(value), *map(np.asarray, gradients)]


@pytest.fixture
def in_64_bits() -> Iterator[None]:
    """JAX in 64 bits, for comparisons."""
    if find_spec("jax") is None:
        yield
        return
    import jax

    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.fixture(params=[Torch, Jax], ids=["torch", "jax"])
def framework(
    request: pytest.FixtureRequest, requires: Callable[..., None], in_64_bits: None
) -> Any:
    """Each framework. They are large, and come with their own extras and not with "test"."""
    name = request.param.__name__.lower()
    requires(f"{name} (pip install 'djservice[{name}]')", find_spec(name))
    return request.param()


def both(requires: Callable[..., None]) -> list[Any]:
    for name in ("torch", "jax"):
        requires(f"{name} (pip install 'djservice[{name}]')", find_spec(name))
    return [Torch(), Jax()]


@pytest.mark.filterwarnings("ignore::djservice.errors.JumpWarning")
@pytest.mark.parametrize(
    ("rigidity", "scale"), [(1.3, "minimum"), (5.0, "safe"), (math.inf, "safe")]
)
def test_an_expectation_has_the_derivatives_of_the_other_functions(
    framework: Any, rigidity: float, scale: str
) -> None:
    def square(jets: Any) -> Any:
        return framework.mass(jets[..., :1, :]) ** 2

    events, radius = batch(), np.array([0.5, 0.7, 0.9])
    particles, mask = padded(events)
    settings = {**SETTINGS, "scale": scale}
    layer = partial(framework.module.expectation, square, jets=1, identity=IDENTITY, **settings)
    _, in_particles, in_radius = framework.gradients(
        lambda p, r: layer(
            p, framework.array(mask), radius=r, rigidity=rigidity,
        ), particles, radius,
    )  # fmt: skip
    expected = dj.input_gradient(events, squared_mass, radius=radius, rigidity=rigidity, **settings)
    np.testing.assert_allclose(in_particles[mask], expected.value, rtol=1e-9, atol=1e-9)
    assert not in_particles[~mask].any()
    if rigidity == math.inf:
        assert not in_radius.any()
        return
    sample = dj.cluster(
        events, radius=radius, rigidity=rigidity, jets=1, settled_pt=0.0,
        parameters=("radius", "rigidity"), **settings,
    )  # fmt: skip
    mass = squared_mass(sample.jets)
    excess = (mass - mass.mean(axis=1, keepdims=True)) / (mass.shape[1] - 1)
    np.testing.assert_allclose(in_radius, (excess * sample.score).sum(axis=1), 1e-9, 1e-9)
    (_, in_rigidity) = framework.gradients(
        lambda a: layer(
            framework.array(particles), framework.array(mask), radius=radius,
            rigidity=a,
        ), rigidity,
    )  # fmt: skip
    np.testing.assert_allclose(in_rigidity, (excess * sample.score_in("rigidity")).sum(), rtol=1e-9)


def test_derivatives_at_fixed_histories_are_those_of_finite_steps(
    requires: Callable[..., None],
) -> None:
    requires("torch (pip install 'djservice[torch]')", find_spec("torch"))
    import torch

    import djservice.torch as layers

    particles, _ = padded(batch())
    inputs = (
        torch.tensor(particles[0, :7], requires_grad=True),
        torch.tensor(0.6, dtype=torch.float64, requires_grad=True),
        torch.tensor(1.3, dtype=torch.float64, requires_grad=True),
    )

    def jets_and_log_prob(p: Any, radius: Any, rigidity: Any) -> Any:
        return layers.cluster(p, radius=radius, rigidity=rigidity, trees=2, seed=5, device="cpu")[
            :2
        ]

    assert torch.autograd.gradcheck(jets_and_log_prob, inputs)
    with pytest.raises(InputError, match="no second derivatives"):
        total = jets_and_log_prob(*inputs)[1].sum()
        slope = torch.autograd.grad(total, inputs[0], create_graph=True)[0]
        torch.autograd.grad(slope.sum(), inputs[0])


def test_the_low_level_is_the_high_level_in_parts(framework: Any) -> None:
    particles, mask = padded(batch())

    def in_parts(p: Any) -> Any:
        found = framework.module.cluster(p, framework.array(mask), radius=0.7, **SETTINGS)
        return framework.module.surrogate(framework.mass(found.jets), found.log_prob)

    found = framework.module.cluster(
        framework.array(particles), framework.array(mask), radius=0.7, **SETTINGS
    )
    members = np.asarray(found.constituents)
    assert (members[np.broadcast_to(~mask[:, np.newaxis], members.shape)] == -1).all()
    clean = np.nan_to_num(particles)
    for jet in range(2):
        sums = np.where(members[..., np.newaxis] == jet, clean[:, np.newaxis], 0.0).sum(axis=2)
        np.testing.assert_allclose(sums, np.asarray(found.jets)[:, :, jet], rtol=1e-12, atol=1e-9)
    # Complete trees have other scores after the leading jets are settled, but the same jets.
    value, _ = framework.gradients(in_parts, particles)
    expected, _ = framework.gradients(
        lambda p: framework.module.expectation(
            framework.mass, p, framework.array(mask), radius=0.7, **SETTINGS
        ), particles,
    )  # fmt: skip
    np.testing.assert_allclose(value, expected, rtol=1e-12)


def test_padding_leading_axes_and_types_change_nothing(framework: Any) -> None:
    particles, mask = padded(batch())

    def value_and_gradient(p: Any, m: Any, identity: Any) -> list[Any]:
        return framework.gradients(
            lambda p: framework.module.expectation(
                framework.mass, p, framework.array(m), radius=0.7, identity=identity, **SETTINGS
            ), p,
        )  # fmt: skip

    halves = framework.module.event_identity(*IDENTITY)
    value, gradient = value_and_gradient(particles, mask, IDENTITY)
    wide = np.pad(particles, ((0, 0), (0, 20), (0, 0)), constant_values=np.nan)
    wider, of_wide = value_and_gradient(wide, np.pad(mask, ((0, 0), (0, 20))), halves)
    assert wider == value
    assert np.array_equal(of_wide[:, :SLOTS], gradient)
    assert not of_wide[:, SLOTS:].any()
    deep, of_deep = value_and_gradient(particles[:, None], mask[:, None], halves[:, None])
    assert deep == value
    assert np.array_equal(of_deep[:, 0], gradient)
    _, of_one = value_and_gradient(particles[2][mask[2]], mask[2][mask[2]], halves[2])
    assert np.array_equal(of_one, gradient[2][mask[2]])
    single, of_single = value_and_gradient(particles.astype(np.float32), mask, IDENTITY)
    assert single.dtype == of_single.dtype == np.float32
    np.testing.assert_allclose(single, value, rtol=1e-4)


def test_both_frameworks_have_the_same_numbers(
    requires: Callable[..., None], in_64_bits: None
) -> None:
    particles, mask = padded(batch())
    found = [
        framework.gradients(
            lambda p, r, a, f=framework: f.module.expectation(
                f.mass, p, f.array(mask), radius=r, rigidity=a, **SETTINGS
            ), particles, np.array([0.5, 0.7, 0.9]), 1.3,
        )
        for framework in both(requires)
    ]  # fmt: skip
    for of_torch, of_jax in zip(*found, strict=True):
        np.testing.assert_allclose(of_torch, of_jax, rtol=1e-12, atol=1e-12)


def test_functions_of_functions(requires: Callable[..., None], in_64_bits: None) -> None:
    """vmap, vmap of grad, jit and compile give what the plain call gives."""
    torch_layer, jax_layer = both(requires)
    import jax
    import torch

    particles, mask = padded(batch())
    halves = torch_layer.module.event_identity(*IDENTITY)

    def on(framework: Any) -> Callable[..., Any]:
        return lambda p, m, i: framework.module.expectation(
            framework.mass, p, m, radius=0.7, identity=i, **SETTINGS
        )

    value = on(torch_layer)
    inputs = [torch.tensor(x) for x in (particles, mask, halves.astype(np.int64))]
    plain, gradient = torch_layer.gradients(lambda p: value(p, *inputs[1:]), particles)
    assert torch.equal(torch.func.vmap(value)(*inputs), value(*inputs))
    mapped = torch.func.vmap(torch.func.grad(value))(*inputs)
    np.testing.assert_allclose(mapped.numpy(), gradient, rtol=1e-12, atol=1e-12)
    compiled = torch.compile(lambda *x: value(*x).sum(), backend="eager")
    assert compiled(*inputs).numpy() == plain
    value = on(jax_layer)
    inputs = [jax.numpy.asarray(x) for x in (particles, mask, halves)]
    np.testing.assert_array_equal(jax.vmap(value)(*inputs), value(*inputs))
    mapped = jax.jit(jax.vmap(jax.grad(value)))(*inputs)
    np.testing.assert_allclose(mapped, gradient, rtol=1e-12, atol=1e-12)
    seeded = jax.jit(
        lambda s: jax_layer.module.expectation(
            jax_layer.mass, *inputs[:2], radius=0.7, identity=halves, **{**SETTINGS, "seed": s}
        )
    )
    np.testing.assert_allclose(seeded(3), value(*inputs), rtol=1e-12)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda p: value(p, *inputs[1:]), inputs[:1], inputs[:1])
    broken = inputs[0].at[1, 2].set(0.0)
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"event 1, particle 2.*a pT above 0"):
        jax.block_until_ready(jax.jit(value)(broken, *inputs[1:]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"particles": (1, 2, [np.nan] * 4)}, "event 1, particle 2: .*finite numbers"),
        ({"particles": (1, 2, [0.0, 0.0, 1.0, 1.0])}, "event 1, particle 2: .*a pT above 0"),
        ({"particles": (1, 2, [3.0, 0.0, 0.0, 1.0])}, r"event 1, particle 2: .*E of \|p\| or more"),
        ({"particles": (1, 2, [1e160, 0.0, 0.0, 1e160])}, "particles, entry 1, particle 2: pt is"),
        ({"mask": False}, "event 1: the mask leaves no particle"),
        ({"mask": np.ones((3, 5), bool)}, r"mask is bool of shape \(3, 5\), expected bool of shape"),
        ({"mask": np.ones((3, 12), np.int32)}, "mask is int32 of shape"),
        ({"radius": [0.4, 0.5]}, r"radius has shape \(2,\), expected one number or one per event"),
        ({"radius": [0.4, 0.5, math.nan]}, r"radius is nan \(event 2\)"),
        ({"radius": "wide"}, "expected numbers in radius"),
        ({"radius": dj.VariableR(30.0)}, "radius is VariableR.*expected one number or one per"),
        ({"rigidity": -1.0}, "rigidity is -1.0, expected"),
        ({"rigidity": [1.0, math.nan, 1.0]}, "event 1: rigidity is nan"),
        ({"seed": -1}, "seed is -1, expected a whole number"),
        ({"trees": 1}, "trees is 1, expected 2 or more with the leave-one-out baseline"),
        ({"trees": 0}, "trees is 0, expected a whole number"),
        ({"identity": np.zeros(3, np.int64)}, r"identity is int64 of shape \(3,\), expected"),
        ({"identity": (np.zeros(3, int),) * 2}, "identity is tuple .*expected"),
        ({"f": lambda jets: jets[..., 0]}, r"returned shape \(3, 20, 2\), expected one number for"),
        ({"f": lambda jets: 1.0}, "returned float, expected one number for each tree"),
        ({"power": 1e9}, "power is"),
    ],
)  # fmt: skip
def test_what_has_no_meaning_is_refused(
    framework: Any, changes: dict[str, Any], message: str
) -> None:
    particles, mask = padded(batch())
    given = {"f": framework.mass, "radius": 0.7, **SETTINGS, **changes}
    if "particles" in changes:
        event, slot, values = given.pop("particles")
        particles[event, slot] = values
    if "mask" in changes:
        shape = given.pop("mask")
        mask = shape if shape is not False else mask & (np.arange(EVENTS) != 1)[:, np.newaxis]
    with pytest.raises(InputError, match=message):
        framework.module.expectation(
            given.pop("f"), framework.array(particles), framework.array(mask), **given
        )


def test_types_shapes_and_baselines_without_meaning(framework: Any) -> None:
    for particles, message in (
        (np.ones((3, 4), np.int64), "particles are int64, expected float32 or float64"),
        (np.ones((3, 5)), r"particles have shape \(3, 5\)"),
        (np.ones((3, 0, 4)), r"particles have shape \(3, 0, 4\)"),
    ):
        with pytest.raises(InputError, match=message):
            framework.module.cluster(framework.array(particles), radius=0.7)
    with pytest.raises(InputError, match="particles are list"):
        framework.module.cluster([[1.0, 0.0, 0.0, 1.0]], radius=0.7)
    values = framework.array(np.ones((3, 2)))
    with pytest.raises(InputError, match="baseline is 'state', expected 'leave_one_out' or None"):
        framework.module.surrogate(values, values, "state")
    with pytest.raises(InputError, match="trees is 1, expected 2 or more"):
        framework.module.surrogate(values[:, :1], values[:, :1])


def test_a_loss_without_finite_derivatives_names_the_event(framework: Any) -> None:
    particles, mask = padded(batch())

    def infinite(jets: Any) -> Any:
        scale = np.ones((EVENTS, SETTINGS["trees"]))
        scale[1] = np.inf
        return framework.mass(jets) * framework.array(scale)

    # Inside JAX's jit an error of ours comes as one of JAX.
    with pytest.raises(Exception, match=r"event 1, tree 0: the loss has no finite derivative"):
        framework.gradients(
            lambda p: framework.module.expectation(
                infinite, p, framework.array(mask), radius=0.7, **SETTINGS
            ), particles,
        )  # fmt: skip


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_a_missing_package_is_named_with_its_extra(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [m for m in sys.modules if m.startswith(f"djservice.{name}")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"pip install 'djservice\[{name}\]'") as caught:
        importlib.import_module(f"djservice.{name}")
    assert isinstance(caught.value, dj.DjserviceError)


def test_the_package_imports_no_framework() -> None:
    program = (
        "import sys, djservice, djservice.layers.trees, djservice.analysis.calibration\n"
        "assert not {'torch', 'jax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
