"""Optimisers as maps, and the edge of stability: the two-factor problem beside a real network.

The network has 64 inputs, 12 tanh units and 10 outputs, 910 parameters, and fits 20 digits under
the squared error, so that its minima form a manifold.
"""

import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from fracjax._types import Estimate, Key, PyTree
from fracjax.curvature import Descent, sharpness
from fracjax.curvature.operators import hessian
from fracjax.estimators.chaos.lyapunov import lyapunov_spectrum
from fracjax.learning.digits import load_digits
from fracjax.learning.optimizer_maps import (
    TrainingMap,
    optimizer_map,
    parameters,
    quadratic_exponents,
    stability_threshold,
    training_sharpness,
)
from fracjax.reproduce.comparisons import about, exactly, number
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.rows import Findings, Row, compare, describe
from fracjax.reproduce.twofactor_exact import vanishing
from fracjax.systems.training_maps import ellipse
from fracjax.systems.training_maps.phases import Phase, orbit_phase

__all__ = ["PARTS"]

_SAMPLES, _HIDDEN, _CLASSES = 20, 12, 10
_COHEN = "Cohen et al. (2021): hovers at the threshold"


# --- known answers --------------------------------------------------------------------------


def _two_factors(params: PyTree) -> Array:
    return (1 - params["u"] * params["v"]) ** 2 / 2


def _known(key: Key, size: Size) -> list[Row]:
    """Optimisers on losses whose exponents are known."""
    num_steps = 10_000 if size == "quick" else 100_000
    rows = []
    curvatures = np.array([0.1, 1.0, 4.0, 9.0])
    with jax.enable_x64(True):
        largest = optimizer_map(_two_factors, optax.sgd(2.0))
        start = largest.start({"u": 0.3, "v": 0.3})
        found = lyapunov_spectrum(largest.step, start, num_steps=num_steps, num_transient=200)
        system = "SGD, two factors, μ=2, balanced"
        rows += [
            compare(system, "exponent 1", number(found, 0), (math.log(3), 0, "exact: ln 3")),
            compare(system, "exponent 2", number(found, 1), (0, 0, "exact: marginal")),
        ]
        for step_size in (0.6, 1.5):
            total = _mean_sum_on_the_ellipse(step_size)
            law = math.log(3) + float(ellipse.ellipse_transverse_exponent(step_size))
            system = f"SGD, two factors on the ellipse, μ={step_size:g}"
            source = "|sum of exponents - ln 3 - arcosh((1 + √(25 - 4 μ²))/4)|"
            rows.append(vanishing(system, source, abs(total - law), 1e-10))
        basis = jnp.linalg.qr(jax.random.normal(key, (4, 4)))[0]
        matrix = basis @ jnp.diag(curvatures) @ basis.T

        def bowl(params: Array) -> Array:
            return params @ matrix @ params / 2

        second = [math.log(0.8)] * 4
        cases: list[tuple[str, optax.GradientTransformation, Any]] = [
            ("SGD", optax.sgd(0.1), quadratic_exponents(curvatures, 0.1)),
            ("SGD beyond the edge", optax.sgd(0.3), quadratic_exponents(curvatures, 0.3)),
            (
                "heavy ball, β=.5",
                optax.sgd(0.1, momentum=0.5),
                quadratic_exponents(curvatures, 0.1, 0.5),
            ),
            (
                "Adam at its minimum",
                optax.adam(0.05, b1=0.5, b2=0.8, eps=0.0, eps_root=0.01),
                np.sort([*quadratic_exponents(curvatures, 0.25, 0.5), *second])[::-1],
            ),
        ]
        for name, optimizer, law in cases:
            training = optimizer_map(bowl, optimizer)
            found = lyapunov_spectrum(
                training.step, training.start(jnp.zeros(4)), num_steps=num_steps, num_transient=500
            )
            gap = float(np.max(np.abs(np.asarray(found.value) - np.asarray(law))))
            count = len(law)
            rows.append(
                about(f"{name}, quadratic", f"largest error of {count} exponents", (gap, 0.0), 0.0,
                      10 / num_steps, "exact: eigenvalues of the companion matrices")
            )  # fmt: skip
    return rows


def _mean_sum_on_the_ellipse(step_size: float) -> float:
    """Over the uniform density, along a few steps, in which orbits do not leave."""
    training = optimizer_map(_two_factors, optax.sgd(step_size))
    u, v = ellipse.ellipse_point((jnp.arange(512) + 0.3) * (2 * math.pi / 512), step_size)

    def total(u: Array, v: Array) -> Array:
        start = training.start({"u": u, "v": v})
        return jnp.sum(lyapunov_spectrum(training.step, start, num_steps=6).value)

    return float(jnp.mean(jax.jit(jax.vmap(total))(u, v)))


# --- the network ----------------------------------------------------------------------------


def _initial(key: Key) -> dict[str, Array]:
    """Weights N(0, 1/inputs), no biases."""
    pixels = 64
    cut = pixels * _HIDDEN
    drawn = jax.random.normal(key, (cut + _HIDDEN * _CLASSES,))
    return {
        "in": drawn[:cut].reshape(pixels, _HIDDEN) / pixels**0.5,
        "shift": jnp.zeros(_HIDDEN, drawn.dtype),
        "out": drawn[cut:].reshape(_HIDDEN, _CLASSES) / _HIDDEN**0.5,
        "bias": jnp.zeros(_CLASSES, drawn.dtype),
    }


def _data() -> tuple[Array, Array]:
    digits = load_digits()
    images = jnp.asarray(digits.images[:_SAMPLES].reshape(_SAMPLES, -1), jnp.result_type(float))
    return images, jax.nn.one_hot(digits.labels[:_SAMPLES], _CLASSES, dtype=images.dtype)


def _errors(params: PyTree, data: tuple[Array, Array]) -> Float[Array, "samples classes"]:
    images, targets = data
    return jnp.tanh(images @ params["in"] + params["shift"]) @ params["out"] + (
        params["bias"] - targets
    )


def _loss(params: PyTree, data: tuple[Array, Array]) -> Float[Array, ""]:
    """Half the squared error, summed over classes, mean over samples."""
    return jnp.mean(jnp.sum(_errors(params, data) ** 2, axis=1)) / 2


def _edge(key: Key, size: Size) -> Findings:
    """Sharpness along training, with and without momentum, and the exponents at its end."""
    num_seeds, num_steps = {"quick": (3, 3000), "default": (4, 6000)}.get(size, (16, 40_000))
    num_last = 1000 if size == "quick" else 2000
    cases = {
        "η = .03": (0.03, 0.0),
        "η = .15": (0.15, 0.0),
        "η = .2": (0.2, 0.0),
        "η = .2, β = .5": (0.2, 0.5),
        "η = .2, β = .9": (0.2, 0.9),
    }
    rows: list[Row] = []
    pictures: dict[str, Descent] = {}
    with jax.enable_x64(True):
        data = _data()
        keys = jax.random.split(key, num_seeds)
        params = jax.vmap(_initial)(keys)
        for name, (rate, momentum) in cases.items():
            training = optimizer_map(_loss, optax.sgd(rate, momentum=momentum or None), data)
            follow = functools.partial(
                _follow, training, data, stability_threshold(rate, momentum), num_steps, num_last
            )
            descent, exponent = jax.vmap(follow)(params, keys)
            rows += _edge_rows(f"digits, {name}", rate, momentum, descent, exponent, num_last)
            pictures[name] = jax.tree.map(lambda leaf: np.asarray(leaf)[0], descent)
    rows += _product_edge(key, size)
    return Findings(rows, {"edge": functools.partial(_draw_edge, pictures)})


def _follow(
    training: TrainingMap,
    data: tuple[Array, Array],
    threshold: float,
    num_steps: int,
    num_last: int,
    params: PyTree,
    key: Key,
) -> tuple[Descent, Estimate]:
    descent, last = training_sharpness(
        _loss, training, training.start(params), data, key,
        threshold=threshold, num_steps=num_steps, record_every=num_steps // 100,
    )  # fmt: skip
    exponent = lyapunov_spectrum(
        training.step, last, num_steps=num_last, num_exponents=1, coordinates=parameters
    )
    return descent, exponent


def _edge_rows(
    system: str, rate: float, momentum: float, descent: Descent, exponent: Estimate, num_last: int
) -> list[Row]:
    ratio = np.asarray(descent.sharpness.value) / np.asarray(descent.threshold)[:, None]
    last = ratio[:, -ratio.shape[1] // 4 :].mean(axis=1)
    kept = np.isfinite(last)
    rows = [describe(system, "share of seeds that diverge", (float(np.mean(~kept)), 0.0))]
    if not kept.any():
        return rows
    farthest = float(np.max(np.abs(last[kept] - 1)))
    if rate < 0.1:
        ends = ratio[kept, -1]
        quantity = "largest sharpness / threshold at the end"
        rows.append(describe(system, quantity, (float(np.max(ends)), 0.0)))
        count = int(np.sum(ends > 0.9))
        rows.append(exactly(system, "runs at the edge", count, 0, "fits before"))
    elif momentum > 0.5:
        quantity = "farthest sharpness / threshold from 1, last quarter"
        rows.append(describe(system, quantity, (farthest, 0.0)))
    else:
        quantity = "farthest sharpness / threshold from 1, last quarter"
        rows.append(about(system, quantity, (farthest, 0.0), 0.0, 0.1, _COHEN))
    if momentum:
        over = float(np.median(last[kept]) * (1 + momentum))
        rows.append(describe(system, "median sharpness over 2/η", (over, 0.0)))
    loss = np.asarray(descent.losses)[kept, -1]
    rows.append(describe(system, "loss at the end, median", (float(np.median(loss)), 0.0)))
    values = np.asarray(exponent.value)[kept, 0]
    place = int(np.argmax(np.abs(values)))
    largest = float(values[place]), float(np.asarray(exponent.stderr)[kept, 0][place])
    quantity = "largest exponent at the end, farthest of all seeds from 0"
    if momentum:
        rows.append(describe(system, quantity, largest))
    else:
        # An orbit without exponential growth reads up to this.
        neutral = math.log(num_last) / num_last
        source = f"0 on a manifold of minima; ln(T)/T = {neutral:.2g}"
        rows.append(about(system, quantity, largest, 0.0, 2 * neutral, source))
    return rows


def _product_edge(key: Key, size: Size) -> list[Row]:
    """The minimal model: which minima are reached, and the exponent across them."""
    count = 2000 if size == "quick" else 20_000
    rows = []
    with jax.enable_x64(True):
        for step_size in (0.3, 0.9):
            starts = jax.random.uniform(key, (count, 2), minval=-3.0, maxval=3.0)
            follow = jax.vmap(lambda s, m=step_size: orbit_phase(m, s, num_steps=4096))
            found = follow(starts)
            phase = np.asarray(found.phase)
            there = (phase == Phase.MONOTONE) | (phase == Phase.CATAPULT)
            ratio = np.asarray(found.sharpness)[there] * step_size / 2
            catapult = phase[there] == Phase.CATAPULT
            system = f"product map, μ={step_size:g}, starts in [-3, 3]²"
            rows += [
                exactly(system, "minima reached beyond the edge", int(np.sum(ratio >= 1)), 0,
                        "exact: s < 2/μ"),
                describe(system, "sharpness reached / (2/μ), median", (float(np.median(ratio)), 0)),
                describe(system, "the same, after a catapult",
                         (float(np.median(ratio[catapult])), 0)),
                about(system, "largest |exponent| at a minimum",
                      (float(np.max(np.abs(np.asarray(found.exponent.value)[there]))), 0.0), 0.0,
                      1e-3, "exact: 0 along the minima"),
            ]  # fmt: skip
    return rows


def _draw_edge(pictures: Mapping[str, Descent]) -> Any:
    from fracjax.plotting.style import DISCOUNT_COLORS, new_figure, style
    from fracjax.plotting.training_maps import sharpness_over_threshold

    with style():
        figure = new_figure(9.6, 3.8)
        left, right = figure.subplots(1, 2)
        sharpness_over_threshold(left, pictures)
        left.set_title("Sharpness over (2 + 2 β)/η")
        left.set_ylim(0, 1.6)
        for (name, run), shade in zip(pictures.items(), DISCOUNT_COLORS, strict=True):
            right.semilogy(run.steps, run.losses, lw=1, color=shade, label=name)
        right.set_xlabel("step")
        right.set_ylabel("loss")
        right.set_title("Training loss")
    return figure


# --- exponents at a minimum -----------------------------------------------------------------


def _fit(params: PyTree, data: tuple[Array, Array]) -> tuple[Array, Any]:
    """Gauss-Newton steps of least length, to a loss of rounding: a point on the manifold."""
    flat, unravel = ravel_pytree(params)

    def errors(flat: Array) -> Array:
        return _errors(unravel(flat), data).ravel()

    def step(_: Array, flat: Array) -> Array:
        matrix = jax.jacrev(errors)(flat)
        gram = matrix @ matrix.T
        size = jnp.trace(gram) / len(gram)
        change = jnp.linalg.solve(gram + 1e-12 * size * jnp.eye(len(gram)), errors(flat))
        return flat - matrix.T @ change

    return jax.jit(lambda flat: jax.lax.fori_loop(0, 30, step, flat))(flat), unravel


def _minima(key: Key, _: Size) -> list[Row]:
    """Exponents of an optimiser at a minimum of the network, below and above the edge.

    Rounding grows along the unstable direction: in 120 steps by 1.2^120 = 3e9, to 1e-6 at most.
    """
    rows = []
    with jax.enable_x64(True):
        data = _data()
        params = _initial(key)
        descent = optimizer_map(_loss, optax.sgd(0.05), data)
        begin = descent.start(params)
        trained = jax.jit(lambda s: jax.lax.fori_loop(0, 2000, lambda _, at: descent.step(at), s))
        flat, unravel = _fit(trained(begin).params, data)
        minimum = unravel(flat)
        slopes = np.asarray(
            jax.jit(jax.jacrev(lambda at: _errors(unravel(at), data).ravel()))(flat)
        )
        singular = np.linalg.svd(slopes, compute_uv=False)
        # Where all errors are 0 the Hessian is this.
        curvatures = np.zeros(flat.size)
        curvatures[: singular.size] = singular**2 / _SAMPLES
        top = float(curvatures[0])
        system = "digits, at a minimum"
        rank = int(np.sum(singular > 1e-9 * singular[0]))
        expected = _SAMPLES * _CLASSES
        rows += [
            vanishing(system, "loss", float(_loss(minimum, data)), 1e-20),
            describe(system, f"curved directions of 910, with {expected} equations", (rank, 0.0)),
        ]
        found = sharpness(hessian(_loss, minimum, data), key, num_iterations=40)
        value = float(found.value)
        rows.append(
            about(
                system,
                "sharpness by Lanczos",
                (value, 0.0),
                top,
                1e-6 * top,
                "Jacobian's singular value",
            )
        )
        for share, momentum in ((0.9, 0.0), (1.1, 0.0), (0.9, 0.5), (1.1, 0.5)):
            rate = share * (2 + 2 * momentum) / top
            law = np.asarray(quadratic_exponents(curvatures, rate, momentum))
            training = optimizer_map(_loss, optax.sgd(rate, momentum=momentum or None), data)
            run = functools.partial(
                lyapunov_spectrum, training.step, num_steps=60, num_exponents=3, num_transient=60,
                coordinates=parameters,
            )  # fmt: skip
            spectrum = jax.jit(run)(training.start(minimum))
            name = f"{system}, η = {share:g} (2 + 2 β)/sharpness, β = {momentum:g}"
            source = "exact: eigenvalues of the companion matrices"
            for index in (0, 1):
                computed = float(spectrum.value[index]), 0.0
                rows.append(
                    about(name, f"exponent {index + 1}", computed, float(law[index]), 2e-3, source)
                )
    return rows


PARTS: dict[str, Part] = {
    "optimisers: known answers": _known,
    "optimisers: at a minimum": _minima,
    "edge of stability": _edge,
}
