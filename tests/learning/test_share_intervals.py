"""Wilson's interval against SciPy's."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from fracjax.learning.share_intervals import wilson_interval


@pytest.mark.parametrize("cases", [1, 8, 200])
def test_ends_are_those_of_scipy_for_every_count(x64, cases):
    successes = np.arange(cases + 1)
    low, high = wilson_interval(jnp.asarray(successes / cases), cases)
    exact = [stats.binomtest(int(k), cases).proportion_ci(method="wilson") for k in successes]
    np.testing.assert_allclose(low, [ends.low for ends in exact], atol=1e-7)
    np.testing.assert_allclose(high, [ends.high for ends in exact], atol=1e-7)
