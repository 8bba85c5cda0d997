"""Brax's two callbacks, joined into a recorded path; Brax itself is not imported."""

from collections.abc import Callable, Mapping
from typing import Any

from fracjax._types import PyTree
from fracjax.learning.paths.recorders import Recorder

__all__ = ["brax_callbacks"]


def brax_callbacks(
    recorder: Recorder,
    *,
    select: Callable[[Any], PyTree] | None = None,
    metric: str | None = None,
    key: str = "eval/episode_reward",
) -> tuple[Callable[[int, Any, Any], None], Callable[[int, Mapping[str, Any]], None]]:
    """Make Brax's `policy_params_fn` and `progress_fn`, which together record a path.

    Brax hands out parameters and their return one after the other, in either order. With
    `metric` a snapshot is written once both are there; without, as soon as the parameters are.

    Args:
        recorder: Of a path of what `select` takes.
        select: See `Recorder.policy_params_fn`.
        metric: Name in the path of the return.
        key: Name of the return in Brax's metrics.
    """
    take = _policy if select is None else select
    params_of: dict[int, PyTree] = {}
    return_of: dict[int, float] = {}

    def settle(step: int) -> None:
        if step in params_of and (metric is None or step in return_of):
            numbers = {} if metric is None else {metric: return_of.pop(step)}
            recorder.record(step, params_of.pop(step), **numbers)

    def policy_params_fn(step: int, make_policy: Any, params: Any) -> None:
        del make_policy
        params_of.clear()  # of an evaluation that never came
        params_of[step] = take(params)
        settle(step)

    def progress_fn(step: int, metrics: Mapping[str, Any]) -> None:
        if metric is not None:
            return_of.clear()
            return_of[step] = float(metrics[key])
            settle(step)

    return policy_params_fn, progress_fn


def _policy(params: Any) -> PyTree:
    return params[1]
