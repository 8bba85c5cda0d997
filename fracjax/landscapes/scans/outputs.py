"""What an objective gives at one point, by name."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fracjax._types import Estimate, Key, Objective, PyTree

__all__ = ["named_outputs", "output_shapes"]

_FIELDS = ("value", "stderr", "low", "high", "status")


@functools.lru_cache(maxsize=64)
def named_outputs(
    objective: Objective, num_replicates: int = 1
) -> Callable[[PyTree, Key], dict[str, Array]]:
    """Make an objective give a dict of arrays; one function object per objective.

    An array is called `value`. An `Estimate` gives value, stderr, low, high and status, and
    inside a dict name, name_stderr and so on; its details are left out.

    Args:
        objective: `objective(params, key)` returning an array, an `Estimate`, or a dict of
            these.
        num_replicates: Evaluations with independent keys. With several, an array is their
            mean, and name_stderr (`stderr` of `value`) the standard error of the mean.
    """

    def evaluate(params: PyTree, key: Key) -> dict[str, Array]:
        if num_replicates == 1:
            return _flat(objective(params, key))

        def replicate(index: Array) -> dict[str, Array]:
            return _flat(objective(params, jax.random.fold_in(key, index)))

        every = jax.lax.map(replicate, jnp.arange(num_replicates))
        found: dict[str, Array] = {}
        for name, values in every.items():
            if not jnp.issubdtype(values.dtype, jnp.floating):
                msg = (
                    "Argument `num_replicates` must be 1 for an objective with outputs that are"
                    f" not real numbers, such as {name!r}."
                )
                raise ValueError(msg)
            found[name] = values.mean(axis=0)
            error = values.std(axis=0, ddof=1) / num_replicates**0.5
            found["stderr" if name == "value" else f"{name}_stderr"] = error
        return found

    return evaluate


def output_shapes(
    objective: Callable[[PyTree, Key], dict[str, Array]], params: PyTree, key: Key
) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and dtypes of the outputs at one point."""
    return dict(jax.eval_shape(objective, params, key))


def _flat(result: Any) -> dict[str, Array]:
    if isinstance(result, Estimate):
        return {name: jnp.asarray(getattr(result, name)) for name in _FIELDS}
    if not isinstance(result, Mapping):
        return {"value": jnp.asarray(result)}
    found: dict[str, Array] = {}
    for name, part in result.items():
        for field, leaf in _flat(part).items():
            found[name if field == "value" else f"{name}_{field}"] = leaf
    return found
