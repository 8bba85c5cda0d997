"""Systems, signals and decision processes whose answers are known."""

from fracjax.systems import flows as flows
from fracjax.systems import maps as maps
from fracjax.systems import mdps as mdps
from fracjax.systems import signals as signals

__all__ = ["flows", "maps", "mdps", "signals"]
