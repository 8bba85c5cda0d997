"""Jumps are told from steep and from rough stretches."""

import numpy as np

from fracjax.estimators.roughness.jumps import find_jumps

SPACINGS = 0.01 * 4.0 ** -np.arange(4)
OFFSETS = SPACINGS[:, None] * (np.arange(40) - 19.5)


def sample(function, centres):
    values = function(centres[:, None, None] + OFFSETS[None])

    def evaluate(line, offset):
        return function(centres[line] + offset)

    return find_jumps(values, SPACINGS, evaluate)


def test_a_step_is_confirmed_with_its_height():
    centres = np.linspace(-0.1, 0.1, 16)
    jumps = sample(lambda x: np.where(x > 0.0123, 3.0, 0.0) + np.sin(x), centres)
    crossed = (np.abs(centres - 0.0123) < 19.5 * SPACINGS[0]) & (
        centres - 19.5 * SPACINGS[0] < 0.0123
    )
    assert jumps.confirmed >= 1
    np.testing.assert_array_equal(jumps.lines, crossed)
    assert abs(jumps.largest - 3.0) < 1e-3


def test_a_steep_but_continuous_slope_is_suspected_and_acquitted():
    jumps = sample(lambda x: np.tanh((x - 0.0123) / 1e-5), np.linspace(-0.1, 0.1, 16))
    assert jumps.suspects > 0
    assert jumps.confirmed == 0
    assert not jumps.lines.any()
    assert 3e-6 < jumps.narrowest < 3e-5


def test_smooth_and_rough_functions_hold_no_jumps():
    centres = np.linspace(0.1, 0.9, 16)
    assert sample(lambda x: np.sin(5 * x) + 2 * x, centres).suspects == 0
    assert sample(lambda x: np.full_like(x, 2.0), centres).suspects == 0
    rough = sample(
        lambda x: sum(2.0 ** (-0.2 * k) * np.cos(2**k * 6.283 * x + k * k) for k in range(40)),
        centres,
    )
    assert rough.confirmed == 0


def test_noise_and_nonfinite_lines_are_passed_over():
    values = np.zeros((2, 4, 40))
    values[0, 0, 20:] = 1e-9
    values[1, 0, 20:] = np.inf
    quiet = find_jumps(values, SPACINGS, lambda line, offset: offset * 0, noise_variance=1e-12)
    assert quiet.suspects == 0
