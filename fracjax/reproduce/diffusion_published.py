"""Exponents that Chen, Qu and Gong published, of their networks; to be seen beside ours.

The values stand in the scripts that plot their Supplementary figures 3 and 4. They are of residual
networks on CIFAR-10, fitted by hand in windows of lags that are not published.
"""

from typing import NamedTuple

__all__ = ["BATCH_SIZES", "LEARNING_RATES", "SOURCE", "PublishedExponents", "ranges"]

SOURCE = "Chen, Qu and Gong (2022), residual networks on CIFAR-10"


class PublishedExponents(NamedTuple):
    """One network's row.

    Attributes:
        depth: Layers of the residual network.
        batch_size: Images of a batch.
        shortcut: Whether the network has its shortcuts.
        short: Exponent 1.
        long: Exponent 2.
        crossover: Lag τ_0, steps.
    """

    depth: int
    batch_size: int
    shortcut: bool
    short: float
    long: float
    crossover: float


# Supplementary figure 3: learning rate .1.
BATCH_SIZES = tuple(
    PublishedExponents(*row)
    for row in (
        (14, 128, False, 1.359, 0.700, 80),
        (14, 512, False, 1.222, 0.690, 50),
        (14, 1024, False, 1.388, 0.690, 65),
        (20, 128, False, 1.231, 0.650, 140),
        (20, 512, False, 1.298, 0.683, 60),
        (20, 1024, False, 1.314, 0.693, 100),
        (56, 128, False, 1.111, 0.767, 200),
        (56, 512, False, 1.100, 0.717, 125),
        (56, 1024, False, 1.033, 0.700, 133),
        (110, 128, False, 1.012, 0.700, 300),
        (110, 256, False, 1.172, 0.746, 400),
        (110, 512, False, 1.350, 0.733, 300),
        (14, 128, True, 1.315, 0.727, 180),
        (14, 512, True, 1.405, 0.700, 100),
        (14, 1024, True, 1.215, 0.783, 70),
        (20, 128, True, 1.227, 0.733, 150),
        (20, 512, True, 1.360, 0.703, 100),
        (20, 1024, True, 1.360, 0.600, 45),
        (56, 128, True, 1.158, 0.684, 70),
        (56, 512, True, 1.172, 0.750, 70),
        (56, 1024, True, 1.259, 0.733, 70),
        (110, 128, True, 1.216, 0.800, 220),
        (110, 256, True, 1.182, 0.884, 110),
        (110, 512, True, 1.417, 0.674, 100),
    )
)

# Supplementary figure 4: exponents 1 and 2 of a network of 14 layers, by learning rate.
LEARNING_RATES = {
    0.001: (2.0, 2.0),
    0.01: (1.833, 1.7),
    0.05: (1.7, 0.677),
    0.1: (1.388, 0.69),
    0.5: (1.4, 0.727),
}


def ranges() -> dict[str, tuple[float, float]]:
    """Lowest and highest published exponent 1, exponent 2 and crossover of Figure 3."""
    return {
        name: (min(values), max(values))
        for name in ("short", "long", "crossover")
        for values in [[getattr(row, name) for row in BATCH_SIZES]]
    }
