"""Metrics of the policy that Brax trains, from the parameters that its callback hands out."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from fracjax._types import PyTree
from fracjax.learning.network_metrics.metrics import NetworkMetrics, measure_network
from fracjax.rl.activations import policy_activations
from fracjax.rl.networks import Normalizer, PolicyNetwork

__all__ = ["measure_brax"]


def measure_brax(
    network: PolicyNetwork,
    observations: Float[Array | np.ndarray, "samples observation"],
    **settings: Any,
) -> Callable[[Any, PyTree | None, PyTree | None], NetworkMetrics]:
    """Make the `measure` of `open_monitor` for PPO or SAC of Brax.

        monitor = open_monitor("run/metrics.zarr", measure_brax(network, observations))
        train(environment, on_params=monitor.policy_params_fn())

    Hidden layers of the policy are `policy/hidden_0`, …; norms are of the policy network. Brax's
    swish has no dead units to speak of: read the τ-dormant ones and the ranks. Brax hands out no
    gradients, so there are no norms of them.

    Args:
        network: Of the trained policy: its widths and activation function.
        observations: A fixed batch, as the environment gives them: the normaliser's statistics of
            the moment are applied to them, so that a curve moves with the normaliser too.
        **settings: Of `measure_network`.
    """

    def measure(
        params: Any, grads: PyTree | None = None, updates: PyTree | None = None
    ) -> NetworkMetrics:
        statistics, policy = params[0], params[1]
        normalizer = Normalizer(statistics.mean, statistics.std)
        hidden = policy_activations(network, policy, normalizer, observations)
        named = {f"policy/{name}": value for name, value in hidden.items()}
        return measure_network(named, policy, grads, updates, **settings)

    return measure
