"""A store holds the same bytes whatever the order of its blocks and wherever it was cut off."""

import jax
import numpy as np
from hardening.commands import contents
from hardening.damage import fuzz
from hypothesis import given
from hypothesis import strategies as st

from fracjax.landscapes.scans.store import open_scan, open_store

VALUES = st.sampled_from((0.0, -0.0, 1.5, -1e300, np.nan, np.inf, -np.inf, 5e-324))
OUTPUTS = {
    "value": jax.ShapeDtypeStruct((2,), np.float64),
    "count": jax.ShapeDtypeStruct((), np.int32),
    "flag": jax.ShapeDtypeStruct((), np.bool_),
}
MANIFEST = {"kind": "made up"}


@st.composite
def scans(draw):
    """A grid, its values, the shape of a block, and an order of blocks with repetitions."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    block = tuple(draw(st.integers(1, size)) for size in shape)
    some = draw(st.lists(VALUES, min_size=1, max_size=8))
    size = int(np.prod(shape))
    values = {
        "value": np.resize(np.array(some), (*shape, 2)),
        "count": (np.arange(size, dtype=np.int32) - size // 2).reshape(shape),
        "flag": np.arange(size).reshape(shape) % 2 == 0,
    }
    number = int(np.prod([-(-n // b) for n, b in zip(shape, block, strict=True)]))
    order = draw(st.permutations(range(number)))
    twice = draw(st.lists(st.integers(0, number - 1), max_size=2))
    return shape, block, values, [*order, *twice], draw(st.integers(0, number))


def opened(folder, shape, block):
    axes = {name: np.linspace(-1, 1, n) for name, n in zip("abc", shape, strict=False)}
    return open_store(folder, MANIFEST, axes=axes, outputs=OUTPUTS, block_shape=block)


def write(kept, blocks, values):
    for block in blocks:
        where = kept.bounds(block)
        kept.write(block, {name: array[where] for name, array in values.items()})


def check_any_order(folders, scan):
    shape, block, values, order, cut = scan
    base = folders.mktemp("stores")
    kept = opened(base / "straight", shape, block)
    assert sum(map(kept.size, range(kept.num_blocks))) == np.prod(shape)
    write(kept, range(kept.num_blocks), values)
    other = opened(base / "other", shape, block)
    assert not any(map(other.is_done, range(other.num_blocks)))
    write(other, order[:cut], values)
    # Cut off here: what is done is known, and nothing else counts.
    done = np.zeros(shape, bool)
    for part in order[:cut]:
        done[other.bounds(part)] = True
    again = opened(base / "other", shape, tuple(reversed(block)))  # a store keeps its own
    assert again.block_shape == block
    half = open_scan(base / "other")
    np.testing.assert_array_equal(half["done"].values, done)
    assert np.isnan(half["value"].values[~done]).all()
    for number in range(again.num_blocks):
        assert again.is_done(number) == (number in order[:cut])
    write(again, order[cut:], values)
    whole = open_scan(base / "other")
    for name, array in values.items():
        assert whole[name].values.tobytes() == np.ascontiguousarray(array).tobytes()
    assert whole["done"].values.all()
    assert contents(base / "other") == contents(base / "straight")


def test_any_order_and_any_cut(tmp_path_factory):
    fuzz(10)(given(scans())(lambda scan: check_any_order(tmp_path_factory, scan)))()
