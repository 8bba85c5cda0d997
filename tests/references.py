"""The table of known answers, as tests read it: (system, quantity) -> value, error, source.

It lies in the package, because `fracjax reproduce references` recomputes it.
"""

from fracjax.systems.known_values import REFERENCES, Reference, ginibre_exponents, value

__all__ = ["REFERENCES", "Reference", "ginibre_exponents", "value"]
