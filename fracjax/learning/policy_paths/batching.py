"""Two things that `vmap` does not do by itself: float64 inside float32, and one shared branch."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool

__all__ = ["any_member", "in_float64"]


def in_float64(function: Callable) -> Callable:
    """Let a function of arrays compute in float64 whatever `jax_enable_x64` says.

    What it returns should be float32 where the caller's program is, as JAX may cut a float64
    array that passes through other code. It works under `jit` and `vmap`, nested or not; it is
    not for derivatives.

    Args:
        function: Takes arrays, makes float64 ones itself (`astype`), returns arrays.
    """

    @custom_vmap
    def call(*arguments: Any) -> Any:
        with jax.enable_x64(True):
            return function(*arguments)

    # Without a rule of its own the batched program would be traced outside of the context,
    # where products of float64 arrays are cut to float32.
    @call.def_vmap
    def _(size: int, batched: list, *arguments: Any) -> tuple[Any, Any]:
        axes = tuple(jax.tree.map(lambda one: 0 if one else None, part) for part in batched)
        mapped = in_float64(jax.vmap(function, in_axes=axes, axis_size=size))
        found = mapped(*arguments)
        return found, jax.tree.map(lambda _: True, found)

    return call


@custom_vmap
def any_member(condition: Bool[Array, ""]) -> Bool[Array, ""]:
    """Whether a condition holds, or under `vmap` whether it holds for any member of the batch.

    `lax.cond` computes both branches for every member once its condition differs between
    members, or could. With this it has one condition for all, so that the branch costs nothing
    while no member needs it.
    """
    return condition


@any_member.def_vmap
def _(size: int, batched: list[bool], condition: Array) -> tuple[Array, bool]:
    del size
    return any_member(jnp.any(condition, axis=0) if batched[0] else condition), False
