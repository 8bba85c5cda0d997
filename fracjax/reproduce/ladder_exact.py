"""Paths whose numbers are known: by hand, by a walk's laws, and by the algorithm itself."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fracjax._types import Key, Status
from fracjax.learning.path_trimming.closed_form import trim_and_boost
from fracjax.learning.path_trimming.transformation import pptb
from fracjax.learning.policy_paths.changes import path_changes, walk_gini
from fracjax.learning.policy_paths.path_gram import Centering, path_gram
from fracjax.learning.policy_paths.temporal_svd import TemporalSvd, temporal_svd
from fracjax.learning.policy_paths.walk_nulls import walk_null
from fracjax.learning.policy_paths.walks import (
    coordinate_detour_cdf,
    coordinate_detour_median,
    walk_detours,
    walk_eigenvalues,
)
from fracjax.reproduce.comparisons import ANCHOR, about, exactly
from fracjax.reproduce.experiments import Part, Size
from fracjax.reproduce.rows import Row, compare

__all__ = ["PARTS", "unit_walk"]

_SHARES = (0.5, 0.8, 0.95, 0.99)
_LAW = "law of the walk"


def unit_walk(key: Key, num_steps: int, size: int, radius: float = 0.0) -> np.ndarray:
    """Walk in unit steps in random directions, from a start of a given norm, in float64."""
    numbers = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    steps = numbers.standard_normal((num_steps, size))
    steps /= np.linalg.norm(steps, axis=1, keepdims=True)
    start = numbers.standard_normal(size)
    return np.cumsum(steps, axis=0) + radius * start / np.linalg.norm(start)


def _changes(key: Key, size: Size) -> list[Row]:
    """Small paths by hand, and what every parameter of a walk does."""
    path = jnp.zeros((4, 3)).at[:, 0].set(jnp.array([0.0, 1.0, 0.0, 2.0]))
    path = path.at[:, 1].set(jnp.array([0.0, 0.1, 0.3, 0.7]))
    found = path_changes(path)
    name = "path 0, 1, 0, 2"
    by_hand = {
        (name, "accumulated change"): (found.accumulated[0], 4.0),
        (name, "final change"): (found.final[0], 2.0),
        (name, "detour"): (found.detour[0], 2.0),
        ("monotone path", "detour"): (found.detour[1], 1.0),
        ("constant parameter", "detour is NaN"): (jnp.isnan(found.detour[2]), 1.0),
    }
    rows = [
        compare(*label, (float(one), 0.0), (expected, 0.0, "by hand"))
        for label, (one, expected) in by_hand.items()
    ]
    parameters = 4000 if size == "quick" else 20_000
    for steps in (199,) if size == "quick" else (199, 1999):
        walk = np.random.default_rng(np.asarray(jax.random.key_data(key))).standard_normal(
            (steps + 1, parameters), dtype=np.float32
        )
        found = path_changes(jnp.asarray(np.cumsum(walk, axis=0)))
        ordered = np.sort(np.asarray(found.detour))
        shares = (np.arange(parameters) + 0.5) / parameters
        distance = np.abs(coordinate_detour_cdf(ordered, steps) - shares).max()
        name = f"Gaussian walk, {steps} steps, {parameters} parameters"
        median = coordinate_detour_median(steps)
        # Of the median: √(π/2) times that of the mean in the logarithm, about 1.1/√m.
        error = 1.1 * median / math.sqrt(parameters)
        computed = (float(found.detour_median), error)
        rows += [
            about(name, "median detour", computed, median, 0.01 * median, _LAW),
            about(name, "Kolmogorov distance of detours", (distance, 0.0), 0.0, 0.02, _LAW),
            about(
                name,
                "Gini coefficient",
                (float(found.gini), float(found.gini) / math.sqrt(2 * parameters)),
                float(walk_gini(steps)),
                0.01 * float(walk_gini(steps)),
                _LAW,
            ),
        ]
    return rows


def _spectra(key: Key, size: Size) -> list[Row]:
    """Eigenvalues, D(β) and detours of walks along the axes: what the laws say, to rounding."""
    del key
    published = {
        50: ((6, 23, 42, 48), (3, 19, 41, 49)),
        200: ((12, 73, 161, 192), (6, 56, 154, 191)),
        1000: ((27, 267, 760, 950), (14, 204, 720, 943)),
    }
    rows = []
    for steps in (50, 200) if size == "quick" else (50, 200, 1000):
        with jax.enable_x64(True):
            path = jnp.tril(jnp.ones((steps, steps)))
            origin = jnp.concatenate([jnp.zeros((1, steps)), path])
            cases: dict[bool, tuple[jax.Array, Centering]] = {
                True: (path, "mean"),
                False: (origin, "first"),
            }
            found = {
                centred: temporal_svd(one, center=center, num_directions=5, shares=_SHARES)
                for centred, (one, center) in cases.items()
            }
        for centred, one in found.items():
            rows += _against_laws(one, steps, centred, published[steps][0 if centred else 1])
    return rows


def _against_laws(
    found: TemporalSvd, steps: int, centred: bool, published: tuple[int, ...]
) -> list[Row]:
    name = f"walk of {steps} steps, {'centred' if centred else 'from its origin'}"
    law = walk_eigenvalues(steps, centred=centred)
    worst = float(np.abs(np.asarray(found.singular_values, float) ** 2 / law - 1).max())
    rows = [about(name, "worst eigenvalue / law - 1", (worst, 0.0), 0, 1e-10, _LAW)]
    for share, own, theirs in zip(_SHARES, found.dimensionality, published, strict=True):
        rows.append(exactly(name, f"D({share:g})", int(own), theirs, ANCHOR))
    for index in range(0, 5, 2) if centred else range(5):
        limit = float(walk_detours(5, centred=centred)[index])
        tolerance = 4 * math.pi * (index + 1) / steps
        computed = (float(found.detour[index]), 0.0)
        rows.append(about(name, f"detour {index + 1}", computed, limit, tolerance, _LAW))
    return rows


def _offsets(key: Key, size: Size) -> list[Row]:
    """One walk from starts of three norms: uncentred numbers read the norm."""
    anchors = {
        0: (0.266, (6, 56, 153, 190)),
        20: (0.442, (2, 30, 134, 186)),
        200: (0.879, (1, 1, 21, 138)),
    }
    parameters = 5000 if size == "quick" else 20_000
    slack = 2.0 if size == "quick" else 1.0
    rows = []
    for radius, (first, dimensionality) in anchors.items():
        path = jnp.asarray(unit_walk(key, 200, parameters, float(radius)), jnp.float32)
        gram = path_gram(path)
        name = f"walk of 200 steps from a start of norm {radius}"
        found = {
            "uncentred": (temporal_svd(gram, center="none", shares=_SHARES), first, dimensionality),
            "centred": (temporal_svd(gram, shares=_SHARES), 0.164, (12, 72, 161, 191)),
        }
        for kind, (one, share, counts) in found.items():
            computed = (float(one.information[0]), 0.0)
            rows.append(about(name, f"a_1, {kind}", computed, share, 0.01, ANCHOR))
            for beta, own, theirs in zip(_SHARES, one.dimensionality, counts, strict=True):
                text = f"D({beta:g}), {kind}"
                rows.append(about(name, text, (float(own), 0.0), theirs, 2 * slack, ANCHOR))
        null = walk_null(gram, key, center="none", shares=_SHARES)
        outside = int(null.dimensionality.departs(found["uncentred"][0].dimensionality).sum())
        rows.append(exactly(name, "D(β) outside of the null's band", outside, 0, "it is a walk"))
    return rows


def _trimming(key: Key, size: Size) -> list[Row]:
    """Identities of trimming and boosting, in float64."""
    steps, parameters = (50, 2000) if size == "quick" else (200, 20_000)
    rows = []
    with jax.enable_x64(True):
        path = jnp.asarray(unit_walk(key, steps, parameters, 20.0))
        left, values, right = np.linalg.svd(np.asarray(path), full_matrices=False)
        moved = float(jnp.linalg.norm(path[-1] - path[0]))
        signs = np.where(np.arange(steps) % 3 == 0, -1.0, 1.0)

        def algorithm(kept: int, boosted: int, boost: float, flips: np.ndarray) -> np.ndarray:
            last, first = (left * flips)[-1].copy(), (left * flips)[0]
            last[:boosted] += boost * (last - first)[:boosted]
            return (last[:kept] * values[:kept]) @ (right * flips[:, None])[:kept]

        kept = 8
        trimmed = trim_and_boost(path, num_kept=kept, num_boosted=2, boost=0.5)
        low_rank = jnp.asarray((left[:, :kept] * values[:kept]) @ right[:kept])
        full = {"num_kept": steps, "num_boosted": steps}
        cases = {
            "closed form - algorithm": trimmed - algorithm(kept, 2, 0.5, np.ones(steps)),
            "closed form - algorithm, signs flipped": trimmed - algorithm(kept, 2, 0.5, signs),
            "nothing trimmed, nothing boosted": trim_and_boost(path, num_kept=steps, boost=0.0)
            - path[-1],
            "all boosted - extrapolation": trim_and_boost(path, **full, boost=0.5)
            - (1.5 * path[-1] - 0.5 * path[0]),
            "trimmed twice - once": trim_and_boost(low_rank, num_kept=kept, boost=0.0)
            - low_rank[-1],
        }
        name = f"walk of {steps} steps in {parameters} dimensions"
        for label, difference in cases.items():
            error = float(jnp.linalg.norm(jnp.asarray(difference))) / moved
            computed = (error, 0.0)
            rows.append(about(name, f"{label}, of the way", computed, 0.0, 1e-11, "identity"))
    return rows


def _precision(key: Key, size: Size) -> list[Row]:
    """Float32 snapshots far from the origin: by a float64 Gram matrix, and by a float32 one."""
    parameters = 4000 if size == "quick" else 20_000
    path = jnp.asarray(unit_walk(key, 200, parameters, 200.0), jnp.float32)
    wide = np.asarray(path, float)
    right = np.linalg.svd(wide, full_matrices=False)[2]
    moved = np.linalg.norm(wide[-1] - wide[0])
    name = "walk of 200 steps from a start of norm 200, float32"
    rows = []
    rounding = 200 * 2.0**-24 / float(moved)
    for kept in (2, 16, 64, 128):
        exact = (wide[-1] @ right[:kept].T) @ right[:kept]
        found = np.asarray(trim_and_boost(path, num_kept=kept, num_boosted=0, boost=0.0), float)
        error = float(np.linalg.norm(found - exact) / moved)
        text = f"error of θ' with r_t = {kept}, of the way"
        source = "rounding of float32 parameters"
        rows.append(about(name, text, (error, 0.0), 0.0, 2 * rounding, source))
    narrow = path_gram(path, precision="float32")
    low = temporal_svd(narrow, center="none", num_directions=128)
    high = temporal_svd(path, center="none", num_directions=128)
    flagged = int(low.status == Status.AT_NOISE_FLOOR)
    resolved = int(high.status == Status.OK)
    rows += [
        exactly(name, "float32 Gram matrix says it does not resolve 128", flagged, 1, "√eps"),
        exactly(name, "float64 Gram matrix resolves 128", resolved, 1, "√eps"),
    ]
    return rows


def _in_optax(key: Key, size: Size) -> list[Row]:
    """The ring buffer under jit and vmap, against a list kept in Python."""
    del size
    trim = functools.partial(trim_and_boost, num_kept=4, num_boosted=2, boost=0.5)
    trimming = pptb(num_kept=4, num_boosted=2, boost=0.5, sample_every=5, trim_every=20, window=8)
    optimizer = optax.chain(optax.sgd(0.1), trimming)

    def train(key: Key) -> tuple[jax.Array, jax.Array, jax.Array]:
        params = jax.random.normal(key, (300,))

        def step(carry: tuple, key: Key) -> tuple[tuple, tuple]:
            params, state = carry
            gradient = jax.random.normal(key, params.shape)
            updates, state = optimizer.update(gradient, state, params)
            raw = params - 0.1 * gradient
            params = optax.apply_updates(params, updates)
            return (params, state), (params, raw)

        start = (params, optimizer.init(params))
        _, (path, raw) = jax.lax.scan(step, start, jax.random.split(key, 100))
        return params, path, raw

    first, path, raw = (
        np.asarray(part) for part in jax.jit(jax.vmap(train))(jax.random.split(key, 5))
    )
    worst, untouched = 0.0, 0
    for seed in range(5):
        history = [first[seed]]
        for count in range(1, 101):
            if count % 5 == 0:
                history = [*history, raw[seed, count - 1]][-8:]
            if count % 20 == 0:
                expected = trim(jnp.asarray(np.stack(history)))
                difference = np.abs(np.asarray(expected) - path[seed, count - 1]).max()
                worst = max(worst, float(difference))
            else:
                untouched += int(
                    np.allclose(path[seed, count - 1], raw[seed, count - 1], atol=1e-6)
                )
    name = "five seeds of 100 updates, vmapped"
    return [
        about(
            name, "largest difference from a list in Python", (worst, 0.0), 0.0, 1e-5, "identity"
        ),
        exactly(name, "updates between trimmings let through", untouched, 475, "definition"),
    ]


PARTS: dict[str, Part] = {
    "laws, changes": _changes,
    "laws, spectra": _spectra,
    "laws, norm of the start": _offsets,
    "trimming, identities": _trimming,
    "trimming, precision": _precision,
    "trimming, in Optax": _in_optax,
}
