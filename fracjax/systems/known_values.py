"""Known answers: exact where there is a formula, else certified or published with an error.

One table behind the tests and `fracjax reproduce references`. `source` says where a value
comes from. "certified" values are long float64 runs of this package with the settings given,
their uncertainty the standard error between independent orbits; "computed" values come from
another long run. Exponents are in nats per step (maps) or per unit of time (flows).
"""

import math
from typing import NamedTuple

from scipy.special import digamma

from fracjax.systems import fractals
from fracjax.systems.certified_values import CERTIFIED
from fracjax.systems.lattices import coupled_ring_exponents

__all__ = [
    "CAT_EXPONENT",
    "REFERENCES",
    "SELF_SIMILAR",
    "Reference",
    "baker_exponent",
    "ginibre_exponents",
    "value",
]


class Reference(NamedTuple):
    """A known value, or several, with one standard error."""

    value: float | tuple[float, ...]
    uncertainty: float | tuple[float, ...]
    source: str


def ginibre_exponents(size: int, scale: float = 1.0) -> tuple[float, ...]:
    """Newman's exponents of products of Gaussian matrices, largest first."""
    return tuple(
        (math.log(2) + float(digamma((size - i) / 2))) / 2 + math.log(scale) for i in range(size)
    )


def baker_exponent(cut: float) -> float:
    """Larger exponent of the skew baker map, the entropy of its cut."""
    return -cut * math.log(cut) - (1 - cut) * math.log(1 - cut)


# Larger exponent of the cat map.
CAT_EXPONENT = math.log((3 + math.sqrt(5)) / 2)
_RING = tuple(float(exponent) for exponent in coupled_ring_exponents(math.log(3.0), 0.3, 16))
# Measures whose generalised dimensions are known.
SELF_SIMILAR = {
    "middle-third Cantor": fractals.cantor(),
    "Cantor 1/4, 1/2": fractals.cantor((0.25, 0.5), (0.3, 0.7)),
    "Sierpinski triangle": fractals.sierpinski_triangle(),
}
# Documented bias of the estimators of D0, D1, D2 at some thousand points.
_DIMENSION_BIAS = {
    "middle-third Cantor": (0.002, 0.001, 0.001),
    "Cantor 1/4, 1/2": (0.002, 0.006, 0.001),
    "Sierpinski triangle": (0.019, 0.016, 0.001),
}

# Known values by system and quantity: exact, certified here, or published.
REFERENCES: dict[tuple[str, str], Reference] = {
    **{name: Reference(*entry) for name, entry in CERTIFIED.items()},
    ("logistic r=4", "exponent"): Reference(math.log(2), 0.0, "exact: ln 2"),
    ("tent 1.9", "exponent"): Reference(math.log(1.9), 0.0, "exact: ln slope"),
    ("cat", "exponents"): Reference((CAT_EXPONENT, -CAT_EXPONENT), 0.0, "exact: ±ln((3+√5)/2)"),
    ("baker 1/2", "exponents"): Reference((math.log(2), -math.log(2)), 0.0, "exact: ±ln 2"),
    ("baker 1/3", "exponents"): Reference(
        (baker_exponent(1 / 3), -baker_exponent(1 / 3)), 0.0, "exact: entropy of the cut"
    ),
    ("ginibre 8", "exponents"): Reference(ginibre_exponents(8), 0.0, "exact: Newman 1986"),
    ("ginibre 2", "exponents"): Reference(ginibre_exponents(2), 0.0, "exact: Newman 1986"),
    ("henon", "sum"): Reference(math.log(0.3), 0.0, "exact: ln b"),
    ("ikeda 0.9", "sum"): Reference(2 * math.log(0.9), 0.0, "exact: 2 ln u"),
    ("lorenz63", "sum"): Reference(-41 / 3, 0.0, "exact: -(sigma+1+beta)"),
    ("lorenz63 16, 45.92, 4", "sum"): Reference(-21.0, 0.0, "exact: -(sigma+1+beta)"),
    ("chen", "sum"): Reference(-10.0, 0.0, "exact: c - a - b"),
    ("duffing", "sum"): Reference(-0.05, 0.0, "exact: -damping"),
    **{
        (f"lorenz96 {size}", "sum"): Reference(-number, 0.0, "exact: -N")
        for size, number in (("N=4, F=20", 4.0), ("N=36", 36.0), ("N=40", 40.0))
    },
    ("bernoulli ring 3, N=16", "exponents"): Reference(
        _RING, 0.0, "exact: cosine spectrum of a ring"
    ),
    ("orthogonal 0.9, N=16", "exponents"): Reference((math.log(0.9),) * 16, 0.0, "exact: ln scale"),
    ("stuart-landau", "exponents"): Reference((0.0, -2.0), 0.0, "exact: 0, -2 mu"),
    ("damped 0.9", "exponent"): Reference(-0.9, 0.0, "exact"),
    ("clipped 2, discount 0.9", "hölder"): Reference(0.1520, 5e-5, "exact: -ln(discount)/ln 2"),
    **{
        (f"tent 1.9, discount {g}", "hölder"): Reference(
            -math.log(g) / math.log(1.9),
            0.005 + 0.0075 * -math.log(g) / math.log(1.9),
            "law: -ln(discount)/λ, to .02 + 3 %",
        )
        for g in (0.5, 0.7, 0.8, 0.9)
    },
    **{
        (f"fractional Brownian motion H={h}", "hölder"): Reference(h, 0.0, "exact")
        for h in (0.1, 0.3, 0.5, 0.7, 0.9)
    },
    **{
        (name, f"dimension D{order}"): Reference(
            measure.dimension(float(order)), bias, f"exact: Σ w^q r^((1-q) D) = 1, to {bias:g}"
        )
        for name, measure in SELF_SIMILAR.items()
        for order, bias in enumerate(_DIMENSION_BIAS[name])
    },
    ("circle", "dimension D2"): Reference(1.0, 0.001, "exact, to .001"),
    ("square", "dimension D2"): Reference(2.0, 0.002, "exact, to .002"),
    ("henon orbit", "dimension D2"): Reference(
        1.213, 0.02, "certified: 1e6 points, 8 orbits, slope 2^-19 to 2^-4; oscillates by .02"
    ),
    **{
        (f"fractional Brownian surface H={h}", "hölder"): Reference(h, 0.0, "exact")
        for h in (0.3, 0.7)
    },
    **{
        (f"fractional Gaussian noise H={h}", "fluctuation"): Reference(h, 0.001, "exact, to .001")
        for h in (0.3, 0.8)
    },
    **{
        (f"fractional Gaussian noise H={h}", "generalised hurst"): Reference(
            (h, h, h), 0.002, "exact: one exponent, to .002"
        )
        for h in (0.3, 0.8)
    },
    ("multifractal random walk 0.3", "log-cumulants"): Reference(
        (0.59, -0.09), 0.006, "law: ½ + λ² and -λ², to .006"
    ),
    **{
        (f"weierstrass b={b:g}, H={h}", "hölder"): Reference(h, 0.0, "exact: uniform exponent")
        for b in (2.0, 2.7)
        for h in (0.3, 0.5, 0.8)
    },
}


def value(system: str, quantity: str) -> float | tuple[float, ...]:
    """Look a value up; all exponents or one number."""
    return REFERENCES[system, quantity].value
