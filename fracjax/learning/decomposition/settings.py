"""Settings of a decomposition."""

import dataclasses
import math
from typing import Literal, TypeAlias, get_args

from fracjax._types import PyTree
from fracjax.estimators.settings import check_at_least
from fracjax.learning.decomposition.divergences import Divergence, squared_error
from fracjax.learning.decomposition.sample_gradients import Reference
from fracjax.learning.decomposition.tucker import TuckerLayout, tucker_layout

__all__ = ["Contraction", "FitSettings", "Norm", "Ratio"]

Norm: TypeAlias = Literal["euclidean", "published"]
Ratio: TypeAlias = Literal["squared", "norm"]
Contraction: TypeAlias = Literal["auto", "dense", "factored"]


@dataclasses.dataclass(frozen=True)
class FitSettings:
    """How directions are fitted to gradients; the defaults are those of the published toy models.

    Attributes:
        num_subnetworks: How many directions. What decides the error is how many a sample may use
            on average, `fraction * num_subnetworks`: below one, some samples stay unexplained.
        ranks: Rank of every mode of every tensor, see `tucker_layout`.
        divergence: What is differentiated, see `divergences`.
        reference: Against which output, see `reference_outputs`.
        fraction: Share of the entries (samples × subnetworks) of a batch that are kept.
        warm_epochs: First epochs, in which `warm_fraction` is kept instead. The published code
            has at least one; it takes 11 for x → x², transformers and convolutions.
        warm_fraction: The share kept there.
        batch_size: Samples per update. What does not fill a batch is left out of an epoch, other
            samples each time.
        num_epochs: Of `decompose`.
        learning_rate: Of Adam.
        decay: Factor of the learning rate ...
        decay_every: ... after so many epochs each.
        norm: `"euclidean"`: decoder directions have ‖v‖₂ = 1 after every update, as the paper
            states. `"published"`: they are divided by (Σ ‖v_t‖₂)^½ over their tensors t, as the
            code does. That is no norm (it scales with the square root), so that a direction gets
            there only in the limit of many updates; it keeps more than one tensor alive.
        ratio: `"squared"`: Σ‖g - ĝ‖²/Σ‖g‖² over the batch, the share of squared norm that is left
            unexplained, as the code has it and as published errors are. `"norm"`: the square root
            of the same, as the text has it; the larger number.
        contraction: `"dense"` multiplies directions out (subnetworks × parameters numbers);
            `"factored"` contracts gradients with their factors, mode by mode; `"auto"` chooses by
            size, see `chosen_contraction`.
        chunk: Samples per backward pass; bounds memory.
    """

    num_subnetworks: int
    ranks: int | PyTree = 1
    divergence: Divergence = squared_error
    reference: Reference = "other"
    fraction: float = 0.1
    warm_epochs: int = 1
    warm_fraction: float = 0.999
    batch_size: int = 32
    num_epochs: int = 1000
    learning_rate: float = 1e-2
    decay: float = 0.8
    decay_every: int = 100
    norm: Norm = "euclidean"
    ratio: Ratio = "squared"
    contraction: Contraction = "auto"
    chunk: int | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without data."""
        check_at_least(
            num_subnetworks=(self.num_subnetworks, 1),
            warm_epochs=(self.warm_epochs, 0),
            batch_size=(self.batch_size, 2),
            num_epochs=(self.num_epochs, 1),
            decay_every=(self.decay_every, 1),
            chunk=(self.chunk, 1),
        )
        for name, choices in (
            ("reference", Reference),
            ("norm", Norm),
            ("ratio", Ratio),
            ("contraction", Contraction),
        ):
            value = getattr(self, name)
            if value not in get_args(choices):
                msg = f"Argument `{name}` must be one of {get_args(choices)}, but is {value!r}."
                raise ValueError(msg)
        for name in ("fraction", "warm_fraction", "decay"):
            value = getattr(self, name)
            if not 0 < value <= 1:
                msg = f"Argument `{name}` must lie in (0, 1], but is {value}."
                raise ValueError(msg)
        if not 0 < self.learning_rate < math.inf:
            msg = (
                f"Argument `learning_rate` must be positive and finite, but is"
                f" {self.learning_rate}."
            )
            raise ValueError(msg)

    def layout(self, params: PyTree) -> TuckerLayout:
        """The layout of the factors for these parameters."""
        return tucker_layout(params, self.ranks)
