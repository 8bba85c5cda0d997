"""What practitioners measure on a network to see whether it can still learn, by exact names."""

from fracjax.learning.network_metrics.aliases import find_aliases
from fracjax.learning.network_metrics.metrics import (
    NetworkMetrics,
    average_metrics,
    measure_network,
)
from fracjax.learning.network_metrics.ranks import effective_rank, feature_rank, srank, stable_rank
from fracjax.learning.network_metrics.units import dead_units, dormant_units

__all__ = [
    "NetworkMetrics",
    "average_metrics",
    "dead_units",
    "dormant_units",
    "effective_rank",
    "feature_rank",
    "find_aliases",
    "measure_network",
    "srank",
    "stable_rank",
]
