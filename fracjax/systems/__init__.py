"""Systems, signals and decision processes whose answers are known."""

from fracjax.systems import catalogue as catalogue
from fracjax.systems import flows as flows
from fracjax.systems import fractals as fractals
from fracjax.systems import integrators as integrators
from fracjax.systems import known_values as known_values
from fracjax.systems import lattices as lattices
from fracjax.systems import maps as maps
from fracjax.systems import mdps as mdps
from fracjax.systems import mollified as mollified
from fracjax.systems import random_fields as random_fields
from fracjax.systems import recurrent as recurrent
from fracjax.systems import roughness_laws as roughness_laws
from fracjax.systems import signals as signals
from fracjax.systems import spatial as spatial
from fracjax.systems import training_maps as training_maps

__all__ = [
    "catalogue",
    "flows",
    "fractals",
    "integrators",
    "known_values",
    "lattices",
    "maps",
    "mdps",
    "mollified",
    "random_fields",
    "recurrent",
    "roughness_laws",
    "signals",
    "spatial",
    "training_maps",
]
