"""Estimates of several outputs are taken apart, and made again without the lines that jump."""

import numpy as np

from fracjax import Estimate
from fracjax.diagnosis.outputs import exponents_without_jumps, one_output
from fracjax.estimators.roughness.jumps import Jumps


def jumps_on(lines):
    count = int(np.sum(lines))
    return Jumps(count, count, np.asarray(lines, bool), 1.0, 1e-6)


def mean_of_lines(values):
    """An 'exponent' that tells which lines it saw."""
    mean = np.nanmean(values, axis=(0, 1, 2))
    return Estimate(mean, 0 * mean, mean, mean, np.zeros(mean.shape, int), {"twice": 2 * mean})


def test_one_output_keeps_its_own_details():
    batch = mean_of_lines(np.arange(8.0).reshape(2, 1, 2, 2))
    one = one_output(batch, 1)
    assert (one.value, one.status, one.details["twice"]) == (4.0, 0, 8.0)


def test_lines_with_jumps_are_left_out_of_their_own_output_only():
    values = np.zeros((3, 2, 4, 2))
    values[0], values[1], values[2] = 1.0, 2.0, 30.0
    found = exponents_without_jumps(
        values, [jumps_on([0, 0, 1]), jumps_on([0, 0, 0])], mean_of_lines
    )
    assert found[0].value == 1.5
    assert found[1] is None


def test_without_jumps_nothing_is_estimated_again():
    def never(values):
        raise AssertionError

    none = [jumps_on([0, 0]), jumps_on([0, 0])]
    assert exponents_without_jumps(np.zeros((2, 1, 3, 2)), none, never) == [None, None]
