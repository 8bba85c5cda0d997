"""fracjax: is there a gradient here to estimate at all?"""

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fracjax._types import Estimate as Estimate
    from fracjax._types import Status as Status

__version__ = importlib.metadata.version("fracjax")

_SUBPACKAGES = (
    "curvature",
    "diagnosis",
    "estimators",
    "landscapes",
    "learning",
    "plotting",
    "reports",
    "reproduce",
    "rl",
    "systems",
)
__all__ = ["Estimate", "Status", "__version__", *_SUBPACKAGES]


def __getattr__(name: str) -> Any:
    """Load on first use: Brax and Matplotlib take seconds to import, JAX half a second."""
    if name in _SUBPACKAGES:
        return importlib.import_module(f"fracjax.{name}")
    if name in ("Estimate", "Status"):
        return getattr(importlib.import_module("fracjax._types"), name)
    msg = f"module 'fracjax' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(__all__)
