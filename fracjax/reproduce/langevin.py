"""Langevin samplers: exact laws, posteriors with known moments, and networks on digits."""

from fracjax.reproduce import langevin_exact, langevin_posteriors
from fracjax.reproduce.experiments import Part
from fracjax.reproduce.langevin_digits import digits

__all__ = ["PARTS"]

PARTS: dict[str, Part] = langevin_exact.PARTS | langevin_posteriors.PARTS | {"digits": digits}
