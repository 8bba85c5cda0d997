"""Known answers: exact where there is a formula, else certified or published with an error.

One table behind the tests and `fracjax reproduce references`. `source` says where a value
comes from. "certified" values are long float64 runs of this package with the settings given,
their uncertainty the standard error between independent orbits; "computed" values come from
another long run. Exponents are in nats per step (maps) or per unit of time (flows).
"""

import math
from typing import NamedTuple

from scipy.special import digamma

__all__ = ["REFERENCES", "Reference", "ginibre_exponents", "value"]


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


def _skew_baker(cut: float) -> float:
    return -cut * math.log(cut) - (1 - cut) * math.log(1 - cut)


_CAT = math.log((3 + math.sqrt(5)) / 2)

REFERENCES: dict[tuple[str, str], Reference] = {
    ("logistic r=4", "exponent"): Reference(math.log(2), 0.0, "exact: ln 2"),
    ("logistic r=3.8", "exponent"): Reference(0.4323, 5e-4, "computed, 2e5 steps"),
    ("tent 1.9", "exponent"): Reference(math.log(1.9), 0.0, "exact: ln slope"),
    ("cat", "exponents"): Reference((_CAT, -_CAT), 0.0, "exact: ±ln((3+√5)/2)"),
    ("baker 1/2", "exponents"): Reference((math.log(2), -math.log(2)), 0.0, "exact: ±ln 2"),
    ("baker 1/3", "exponents"): Reference(
        (_skew_baker(1 / 3), -_skew_baker(1 / 3)), 0.0, "exact: entropy of the cut"
    ),
    ("ginibre 8", "exponents"): Reference(ginibre_exponents(8), 0.0, "exact: Newman 1986"),
    ("ginibre 2", "exponents"): Reference(ginibre_exponents(2), 0.0, "exact: Newman 1986"),
    ("henon", "exponents"): Reference((0.419239, -1.623212), 4e-5, "computed, 1e8 steps"),
    ("henon", "sum"): Reference(math.log(0.3), 0.0, "exact: ln b"),
    ("ikeda 0.9", "exponents"): Reference((0.50759, -0.71832), 1e-4, "computed"),
    ("ikeda 0.9", "sum"): Reference(2 * math.log(0.9), 0.0, "exact: 2 ln u"),
    ("standard K=10", "exponents"): Reference((1.61968, -1.61968), 2e-4, "computed, 2e7 steps"),
    ("lorenz63", "exponents"): Reference((0.90569, 0.0, -14.5723), 5e-4, "computed, T=1e5"),
    ("lorenz63", "sum"): Reference(-41 / 3, 0.0, "exact: -(sigma+1+beta)"),
    ("rossler", "exponents"): Reference((0.0714, 0.0, -5.3943), 3e-4, "published, Sprott"),
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
        (f"weierstrass b={b:g}, H={h}", "hölder"): Reference(h, 0.0, "exact: uniform exponent")
        for b in (2.0, 2.7)
        for h in (0.3, 0.5, 0.8)
    },
}


def value(system: str, quantity: str) -> float | tuple[float, ...]:
    """Look a value up; all exponents or one number."""
    return REFERENCES[system, quantity].value
