"""The companion of a single discount."""

import pytest

from fracjax.cli.discounts import with_companion


@pytest.mark.parametrize(
    ("gamma", "expected"), [(0.99, 0.9), (0.999, 0.99), (0.9, 0.45), (0.91, 0.1), (0.5, 0.25)]
)
def test_a_tenth_of_the_memory_or_half_the_discount(gamma, expected):
    assert with_companion(gamma) == (gamma, expected)


@pytest.mark.parametrize("gamma", [0.0, 1.0, -0.5])
def test_what_is_no_discount_is_named(gamma):
    with pytest.raises(ValueError, match="--discount"):
        with_companion(gamma)
