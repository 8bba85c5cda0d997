"""Run a diagnosis: chaos, roughness, jumps, pictures."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fracjax._types import Estimate, Key, PyTree
from fracjax.diagnosis.findings import (
    Chaos,
    Diagnosis,
    DiscountDiagnosis,
    Problem,
    Settings,
    Slices,
)
from fracjax.diagnosis.outputs import exponents_without_jumps, one_output
from fracjax.diagnosis.scales import Reach, above_horizon
from fracjax.diagnosis.verdict import agrees, judge, predictions
from fracjax.estimators.chaos.ensembles import ensemble_exponent, reward_exponent
from fracjax.estimators.chaos.finite_time import TangentGrowth, finite_time_growth
from fracjax.estimators.roughness.jumps import Jumps, find_jumps
from fracjax.estimators.roughness.lines import LineSampler, default_scales
from fracjax.estimators.roughness.orders import exponents_of_outputs
from fracjax.estimators.roughness.perturbation import perturbation_exponent
from fracjax.evaluation import cache_chunk_size, map_points
from fracjax.landscapes import line, plane, scan, zoom

__all__ = ["Progress", "diagnose"]

Progress = Callable[[str, int, int], None]


def _silent(stage: str, done: int, total: int) -> None:
    """Report nothing."""


def measure_chaos(problem: Problem, num_exponents: int, key: Key) -> Chaos:
    """Push tangents along the closed loop from every initial state."""
    steps = problem.horizon

    def record(row: tuple[PyTree, Array]) -> TangentGrowth:
        state, index = row
        return finite_time_growth(
            problem.step,
            state,
            num_steps=steps,
            num_exponents=num_exponents,
            key=jax.random.fold_in(key, index),
            coordinates=problem.coordinates,
            lift=problem.lift,
            alive=problem.alive,
            observable=problem.observable,
        )

    count = len(jax.tree.leaves(problem.states)[0])
    chunk = min(16, -(-count // jax.local_device_count()))
    result = map_points(record, (problem.states, np.arange(count)), chunk_size=chunk)
    growth, alive = np.asarray(result.growth, float), np.asarray(result.alive)

    def exponent(column: Array) -> Estimate:
        return ensemble_exponent(column, dt=problem.dt, alive=jnp.asarray(alive))

    spectrum = jax.jit(jax.vmap(exponent))(jnp.asarray(np.moveaxis(growth, 2, 0)))
    reward = None
    if result.log_projection is not None:
        projection = jnp.asarray(result.log_projection)
        reward = jax.jit(
            lambda g, p: reward_exponent(g, p, dt=problem.dt, alive=jnp.asarray(alive))
        )(jnp.asarray(growth[:, :, 0]), projection)
    finite = np.isfinite(np.where(alive, growth[:, :, 0], 0.0)).all(axis=1)
    return Chaos(
        spectrum=spectrum,
        growth=growth[:, :, 0],
        alive=alive,
        reward=reward,
        steps=float(alive.sum(axis=1).mean()),
        failed_states=int((~finite).sum()),
    )


def _scales(problem: Problem, settings: Settings, chaos: Chaos) -> tuple[float, Reach]:
    """Choose the largest scale, and how far down to go."""
    largest, smallest = default_scales(problem.params)
    largest = settings.largest_scale or largest
    smallest = min(settings.smallest_scale or smallest, largest / 256)
    reach = above_horizon(
        largest,
        smallest,
        rate=float(chaos.spectrum.value[0]) * problem.dt,
        steps=min(problem.horizon, chaos.steps),
    )
    if settings.smallest_scale is not None:  # taken at its word
        reach = reach._replace(smallest=smallest, too_short=False)
    return largest, reach


def diagnose(
    problem: Problem,
    key: Key,
    settings: Settings | None = None,
    *,
    on_progress: Progress = _silent,
) -> Diagnosis:
    """Measure chaos and roughness around one policy, and say what the landscape is.

    Args:
        problem: Closed loop and objective.
        key: Seeds directions, perturbations and frames.
        settings: How much to compute.
        on_progress: Called with the stage, points done and points in all.

    Raises:
        ValueError: If a discount is outside (0, 1), or a scale out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from fracjax import diagnosis, systems
        >>> tent, discounts = systems.maps.tent(1.9), (0.95, 0.6)
        >>> params = jnp.array(0.5)
        >>> problem = diagnosis.Problem(
        ...     step=systems.mdps.chaotic_step(tent, params, feedback="constant"),
        ...     states=jnp.linspace(0.1, 0.9, 8),
        ...     objective=systems.mdps.chaotic_returns(
        ...         tent, discounts, num_steps=200, feedback="constant"
        ...     ),
        ...     params=params,
        ...     discounts=discounts,
        ...     dt=1.0,
        ...     horizon=200,
        ... )
        >>> settings = diagnosis.Settings(num_exponents=1, line_points=33, plane_points=5)
        >>> result = diagnosis.diagnose(problem, jax.random.key(0), settings)
        >>> for found in result.by_discount:
        ...     print(found.discount, found.verdict.value, f"{found.holder.value:.1f}")
        0.95 fractal 0.1
        0.6 fractal 0.8
    """
    settings = settings or Settings()
    if not problem.discounts or not all(0 < discount < 1 for discount in problem.discounts):
        msg = f"Argument `discounts` must lie inside (0, 1), but is {problem.discounts}."
        raise ValueError(msg)
    chunk = settings.chunk_size or cache_chunk_size(problem.params)
    counted = _Counter()

    def stage(name: str, total: int) -> Callable[[int], None]:
        on_progress(name, 0, total)
        return lambda done: on_progress(name, done, total)

    stage("Lyapunov exponents", 0)
    chaos = measure_chaos(problem, settings.num_exponents, jax.random.fold_in(key, 0))

    largest, reach = _scales(problem, settings, chaos)
    smallest = reach.smallest
    sampler = LineSampler(
        problem.objective,
        problem.params,
        jax.random.fold_in(key, 1),
        num_directions=settings.num_directions,
        radius=largest,
        chunk_size=chunk,
    )
    num_levels = sampler.num_levels(largest, smallest)
    total = settings.num_directions * num_levels * settings.points_per_line
    lines = sampler.ladder(
        largest,
        smallest,
        points_per_line=settings.points_per_line,
        on_progress=stage("Hölder exponent", total),
    )
    values = counted(lines.values)
    stage("rounding noise", 0)
    noise = sampler.noise_variance(lines.spacings, reference=problem.reference)

    def exponents(values: np.ndarray) -> Estimate:
        return exponents_of_outputs(values, lines.spacings, noise_variance=noise)

    holder = exponents(values)

    total = settings.num_scales * settings.num_samples
    paper = perturbation_exponent(
        problem.objective,
        problem.params,
        jax.random.fold_in(key, 1),
        scales=np.geomspace(largest, max(smallest, 1e-3 * largest), settings.num_scales),
        num_samples=settings.num_samples,
        batch_size=2 * settings.num_directions,
        chunk_size=chunk,
        on_progress=stage("perturbations", total),
    )
    stage("jumps and verdict", 0)
    jumps = [
        find_jumps(
            values[..., index],
            lines.spacings,
            _output(sampler, index, counted),
            noise_variance=float(noise[index]),
        )
        for index in range(len(problem.discounts))
    ]
    rests = exponents_without_jumps(values, jumps, exponents)
    by_discount = tuple(
        _conclude(
            discount,
            one_output(holder, index),
            one_output(paper, index),
            jumps[index],
            rests[index],
            chaos,
            dt=problem.dt,
            horizon_too_short=reach.too_short,
        )
        for index, discount in enumerate(problem.discounts)
    )
    slices = _slices(problem, settings, jax.random.fold_in(key, 2), chunk, stage)
    for dataset in (*slices.lines, *slices.planes):
        counted(dataset["value"].values.reshape(-1, len(problem.discounts)))
    centre = slices.lines[0]["value"].sel(a=0.0, method="nearest").values
    return Diagnosis(
        chaos=chaos,
        by_discount=by_discount,
        lines=lines,
        noise_variance=np.asarray(noise),
        slices=slices,
        value=np.asarray(centre),
        smooth_below=reach.smooth_below,
        num_points=counted.points,
        nonfinite_points=counted.nonfinite,
    )


def _conclude(
    discount: float,
    holder: Estimate,
    paper: Estimate,
    jumps: Jumps,
    without_jumps: Estimate | None,
    chaos: Chaos,
    *,
    dt: float,
    horizon_too_short: bool,
) -> DiscountDiagnosis:
    """Set measurement beside prediction at one discount, and judge."""
    predicted = predictions(chaos, discount, dt)
    verdict, reason = judge(
        holder,
        jumps,
        without_jumps,
        predicted["mean"],
        horizon_too_short=horizon_too_short,
        terminates=not chaos.alive.all(),
    )
    return DiscountDiagnosis(
        discount=discount,
        holder=holder,
        paper=paper,
        without_jumps=without_jumps,
        jumps=jumps,
        predictions=predicted,
        agrees=tuple(name for name, value in predicted.items() if agrees(value, holder)),
        verdict=verdict,
        reason=reason,
    )


class _Counter:
    """Count points and those without a finite return."""

    def __init__(self) -> None:
        self.points = self.nonfinite = 0

    def __call__(self, values: np.ndarray) -> np.ndarray:
        finite = np.isfinite(values).all(axis=-1)
        self.points += finite.size
        self.nonfinite += int((~finite).sum())
        return values


def _output(
    sampler: LineSampler, index: int, counted: _Counter
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Evaluate one of the objective's outputs along the sampler's lines."""
    return lambda lines, offsets: counted(sampler.evaluate(lines, offsets))[:, index]


def _shifted(report: Callable[[int], None], before: int) -> Callable[[int], None]:
    return lambda done: report(before + done)


def _slices(
    problem: Problem,
    settings: Settings,
    key: Key,
    chunk: int,
    stage: Callable[[str, int], Callable[[int], None]],
) -> Slices:
    """Draw a line and a plane along random filter-normalised directions, wide and zoomed."""
    wide_line = line(
        problem.params,
        jax.random.fold_in(key, 0),
        span=settings.span,
        num_points=settings.line_points | 1,
    )
    wide_plane = plane(
        problem.params,
        jax.random.fold_in(key, 1),
        span=settings.span,
        num_points=settings.plane_points | 1,
    )
    grids = [wide_line, zoom(wide_line, settings.zoom), wide_plane, zoom(wide_plane, settings.zoom)]
    total, before, datasets = sum(grid.size for grid in grids), 0, []
    report = stage("slices", total)
    for grid in grids:
        datasets.append(
            scan(
                problem.objective,
                problem.params,
                grid,
                jax.random.fold_in(key, 2),
                chunk_size=chunk,
                num_directions=2 * settings.num_directions,
                on_progress=_shifted(report, before),
            )
        )
        before += grid.size
    return Slices((datasets[0], datasets[1]), (datasets[2], datasets[3]))
