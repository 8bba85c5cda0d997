"""Interquartile means over seeds and tasks, with bootstrap intervals: what `rliable` defines.

`rliable` itself is not used: version 1.2.0, the last (2024), needs `arch < 8`, which does not
import beside pandas 3, resamples one draw at a time (20 000 draws of 20 × 7 scores take 6.9 s,
here 0.12 s on the same machine), and takes its indices from NumPy's global generator whatever
`random_state` it is given. Values are the same, and intervals up to the bootstrap's own error.
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax._types import Estimate, Key, Status
from fracjax.estimators.intervals import student_quantile
from fracjax.estimators.settings import check_at_least

__all__ = ["Interval", "Resampling", "interquartile_mean", "trimmed_mean"]

Interval = Literal["percentile", "student"]
Resampling = Literal["stratified", "rows"]
_LEVELS = (0.025, 0.975)


def trimmed_mean(values: Float[Array, " n"], share: float = 0.25) -> Float[Array, ""]:
    """Average what is left after cutting int(share · n) values off each end.

    The value of `scipy.stats.trim_mean`. With `share` = 1/4 it is the interquartile mean; of
    three values or fewer nothing is cut.

    Args:
        values: Sample.
        share: Share cut off each end, in [0, 1/2).

    Raises:
        ValueError: If `share` is out of range.
    """
    _check_share(share)
    first, last = _ends(values.size, share)
    return jnp.sort(values)[first:last].mean()


def interquartile_mean(
    scores: Float[Array, "runs ..."],
    key: Key | None = None,
    *,
    share: float = 0.25,
    interval: Interval = "percentile",
    resampling: Resampling = "stratified",
    num_resamples: int = 2000,
) -> Estimate:
    """Aggregate scores of independent runs: trimmed mean over all runs and tasks.

    The interval is a percentile bootstrap, the definition of `rliable` and of the papers that
    use it. `"stratified"` draws runs anew within every task, which is right when different
    tasks are different experiments. When the columns belong to the same runs (initial states
    of one trained policy, checkpoints of one training) they share what is particular to the
    run: use `"rows"`, which draws whole runs.

    Measured coverage of the nominal 95 % (Gaussian scores, 2000 seeds, ± 1 %):

    - One task: percentile 76 % of 3 runs, 90 % of 5, 93 % of 10, 94 % of 20, 95 % of 100;
      Student 95, 94, 94, 94 and 95 %. Three seeds are too few for a bootstrap.
    - Ten runs of 20 columns with independent scores: stratified 94 %, rows 91 %.
    - The same with half of the variance shared by a run's columns: stratified 46 %, rows
      90 %, rows with Student 94 %.
    - Three runs of seven tasks, stratified: 87 %.

    Args:
        scores: One row per independent run; further axes are tasks, or states of a run.
        key: Draws the resamples; a fixed key by default.
        share: Share cut off each end, in [0, 1/2).
        interval: `"percentile"`, or `"student"`: Student's interval of the trimmed mean from
            the winsorised variance, for few runs. Of several tasks it takes the mean over
            tasks first, so that its centre need not be the value.
        resampling: `"stratified"` or `"rows"`; nothing to choose with one task.
        num_resamples: Draws of the bootstrap. 2000 leave an end of the interval uncertain by
            a few hundredths of its width.

    Returns:
        Trimmed mean in the unit of the scores, the standard deviation of its resamples, and
        the interval. `DIVERGED` (NaN) when a score is NaN; an infinite score is kept and
        matters only if it is not cut off. `TOO_FEW_POINTS` with one run; details: `num_runs`,
        `num_scores` that are left after trimming.

    Raises:
        ValueError: If a setting is out of range or `scores` is empty.

    References:
        Agarwal et al. (2021), Deep Reinforcement Learning at the Edge of the Statistical
        Precipice, https://arxiv.org/abs/2108.13264;
        Yuen (1974), https://doi.org/10.1093/biomet/61.1.165, for Student's interval.
    """
    _check(scores, interval, resampling, num_resamples)
    runs = scores.shape[0]
    table = scores.reshape(runs, -1)
    key = jax.random.key(0) if key is None else key
    value = trimmed_mean(table.ravel(), share)
    columns = table.shape[1] if resampling == "stratified" else 1
    chosen = jax.random.randint(key, (num_resamples, runs, columns), 0, runs)
    order = jnp.argsort(table.ravel())
    ordered, ends = table.ravel()[order], _ends(table.size, share)

    def draw(rows: Array) -> Array:
        """Average the kept part of a resample without sorting it: by how often each occurs."""
        times = jnp.sum(rows == jnp.arange(runs)[:, None, None], axis=1)
        times = jnp.broadcast_to(times, table.shape).ravel()[order]
        upto = jnp.cumsum(times)
        kept = jnp.clip(upto, *ends) - jnp.clip(upto - times, *ends)
        # An infinite score that is not kept must not make 0 · ∞.
        return jnp.sum(jnp.where(kept > 0, kept * ordered, 0)) / (ends[1] - ends[0])

    drawn = jax.lax.map(draw, chosen, batch_size=min(num_resamples, 256))
    stderr = jnp.std(drawn, ddof=1)
    if interval == "percentile":
        low, high = jnp.quantile(drawn, jnp.asarray(_LEVELS, table.dtype))
    else:
        low, high, stderr = _student(table.mean(axis=1), share)
    bad = jnp.isnan(table).any()
    status = jnp.where(bad, Status.DIVERGED, Status.OK if runs > 1 else Status.TOO_FEW_POINTS)
    unknown = bad | (runs < 2)
    return Estimate(
        value=jnp.where(bad, jnp.nan, value),
        stderr=jnp.where(unknown, jnp.nan, stderr),
        low=jnp.where(unknown, jnp.nan, low),
        high=jnp.where(unknown, jnp.nan, high),
        status=status,
        details={
            "num_runs": jnp.asarray(runs),
            "num_scores": jnp.asarray(ends[1] - ends[0]),
        },
    )


def _ends(number: int, share: float) -> tuple[int, int]:
    """Range of the ordered sample that is kept."""
    return int(share * number), number - int(share * number)


def _student(values: Float[Array, " n"], share: float) -> tuple[Array, Array, Array]:
    """Yuen's interval of a trimmed mean."""
    number, (first, last) = values.size, _ends(values.size, share)
    ordered = jnp.sort(values)
    kept = last - first
    winsorised = jnp.clip(values, ordered[first], ordered[last - 1])
    squares = jnp.sum((winsorised - winsorised.mean()) ** 2)
    stderr = jnp.sqrt(squares / (kept * max(kept - 1, 1)))
    margin = student_quantile(kept - 1, number).astype(values.dtype) * stderr
    centre = ordered[first:last].mean()
    return centre - margin, centre + margin, stderr


def _check_share(share: float) -> None:
    if not 0 <= share < 0.5:
        msg = f"Argument `share` must lie in [0, 0.5), but is {share}."
        raise ValueError(msg)


def _check(
    scores: Float[Array, "runs ..."], interval: str, resampling: str, num_resamples: int
) -> None:
    check_at_least(num_resamples=(num_resamples, 2))
    for name, value, choices in (
        ("interval", interval, get_args(Interval)),
        ("resampling", resampling, get_args(Resampling)),
    ):
        if value not in choices:
            msg = f"Argument `{name}` must be one of {choices}, but is {value!r}."
            raise ValueError(msg)
    if scores.size == 0:
        msg = f"Argument `scores` must not be empty, but has shape {scores.shape}."
        raise ValueError(msg)
