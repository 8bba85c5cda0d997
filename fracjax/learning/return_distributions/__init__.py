"""Where one update lands: the distribution of returns after an update, and its spread's law."""

from fracjax.learning.return_distributions.distribution import (
    ReturnDistribution,
    return_distribution,
)
from fracjax.learning.return_distributions.sampling import post_update_returns
from fracjax.learning.return_distributions.spread_laws import spread_exponent

__all__ = ["ReturnDistribution", "post_update_returns", "return_distribution", "spread_exponent"]
