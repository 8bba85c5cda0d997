"""Some tensors are differentiated and moved, the others stay what they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fracjax.learning.decomposition.sample_gradients import sample_gradients
from fracjax.learning.decomposition_models.selected_tensors import (
    choose_tensors,
    replace_tensors,
    restrict,
    tensor_names,
)
from fracjax.liveness import peak_bytes

PARAMS = {
    "layers": (
        {"kernel": jnp.ones((3, 4), jnp.float32), "bias": jnp.zeros(4, jnp.float32)},
        {"kernel": jnp.ones((4, 2), jnp.float32)},
    ),
    "scale": jnp.float32(2.0),
}


def apply(params, x):
    first, second = params["layers"]
    return params["scale"] * jnp.tanh(x @ first["kernel"] + first["bias"]) @ second["kernel"]


def test_tensors_are_named_by_their_paths():
    assert tensor_names(PARAMS) == ["layers/0/bias", "layers/0/kernel", "layers/1/kernel", "scale"]
    assert set(choose_tensors(PARAMS, "layers/0/*", "sc*")) == {
        "layers/0/bias",
        "layers/0/kernel",
        "scale",
    }


def test_only_chosen_tensors_change():
    chosen, apply_chosen = restrict(apply, PARAMS, "*/kernel")
    moved = replace_tensors(PARAMS, {name: leaf + 1 for name, leaf in chosen.items()})
    for name, before, after in zip(
        tensor_names(PARAMS), jax.tree.leaves(PARAMS), jax.tree.leaves(moved), strict=True
    ):
        if name in chosen:
            np.testing.assert_array_equal(after, before + 1)
        else:
            assert after is before
    x = jnp.arange(3.0)
    np.testing.assert_array_equal(apply_chosen(chosen, x), apply(PARAMS, x))
    np.testing.assert_array_equal(
        apply_chosen({name: leaf + 1 for name, leaf in chosen.items()}, x), apply(moved, x)
    )


@pytest.mark.usefixtures("single_precision")
def test_gradients_are_those_of_all_tensors_and_take_the_memory_of_the_chosen():
    inputs = jax.random.normal(jax.random.key(0), (6, 3))
    references = jnp.zeros((6, 2))
    chosen, apply_chosen = restrict(apply, PARAMS, "layers/0/bias")
    all_of_them = sample_gradients(apply, PARAMS, inputs, references)
    found = sample_gradients(apply_chosen, chosen, inputs, references)
    assert set(found) == {"layers/0/bias"}
    np.testing.assert_allclose(found["layers/0/bias"], all_of_them["layers"][0]["bias"], rtol=1e-6)

    wide = {"first": jnp.zeros((8, 1000)), "last": jnp.zeros((1000, 2))}

    def large(params, x):
        return x @ params["first"] @ params["last"]

    few, few_apply = restrict(large, wide, "last")
    rows = jnp.zeros((64, 8))
    taken = [
        peak_bytes(
            lambda p, x, y, apply=apply, chunk=chunk: sample_gradients(apply, p, x, y, chunk=chunk),
            params,
            rows,
            jnp.zeros((64, 2)),
        )
        for apply, params, chunk in ((large, wide, 8), (few_apply, few, None), (few_apply, few, 8))
    ]
    # 64 samples of 10 000 numbers of 4 bytes, and of 2000.
    assert taken[0] > 2.5e6
    assert taken[2] <= taken[1] < 2e6


@pytest.mark.parametrize("patterns", [(), ("layers/*", "nothing")])
def test_a_pattern_that_matches_nothing_is_named(patterns):
    with pytest.raises(ValueError, match=r"Argument `patterns` must match tensors of layers/0"):
        choose_tensors(PARAMS, *patterns)
    with pytest.raises(ValueError, match="Argument `chosen` must hold tensors"):
        replace_tensors(PARAMS, {"nothing": jnp.zeros(1)})
