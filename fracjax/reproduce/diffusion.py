"""Anomalous diffusion: exact laws, the simple model, and networks that learn digits."""

from fracjax.reproduce import diffusion_digits, diffusion_laws, diffusion_model
from fracjax.reproduce.experiments import Part

__all__ = ["PARTS"]

PARTS: dict[str, Part] = {
    **diffusion_laws.PARTS,
    **diffusion_model.PARTS,
    **diffusion_digits.PARTS,
}
