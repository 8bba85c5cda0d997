"""The metrics of a network written down while it learns."""

from fracjax.learning.plasticity_monitoring.brax_policies import measure_brax
from fracjax.learning.plasticity_monitoring.monitor import Monitor, monitored, open_monitor

__all__ = ["Monitor", "measure_brax", "monitored", "open_monitor"]
