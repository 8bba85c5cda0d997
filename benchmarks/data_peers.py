"""Largest Lyapunov exponent from a recorded series alone, by nolds and NeuroKit2.

These see numbers and no equations, a far harder task than `lyapunov_spectrum` has. Every
estimator comes with its defaults and "tuned", with settings chosen on the known answer from
some thirty combinations, which no user with unknown data can do.
"""

import warnings
from collections.abc import Callable
from types import ModuleType

import numpy as np

__all__ = ["EVERY", "data_estimators"]

EVERY = {"henon": 1, "lorenz63": 5}  # steps between samples
_NOLDS = {
    "henon": {"emb_dim": 2, "lag": 1, "min_tsep": 2, "trajectory_len": 8, "fit": "poly"},
    "lorenz63": {
        "emb_dim": 3,
        "lag": 2,
        "min_tsep": 20,
        "trajectory_len": 40,
        "fit": "poly",
        "fit_offset": 10,
    },
}
_ECKMANN = {
    "henon": {"emb_dim": 2, "matrix_dim": 2, "min_nb": 10},
    "lorenz63": {"emb_dim": 7, "matrix_dim": 3, "min_tsep": 20, "min_nb": 10},
}
_ROSENSTEIN = {
    "henon": {"dimension": 2, "len_trajectory": 8, "separation": 2},
    "lorenz63": {"dimension": 5, "delay": 2, "len_trajectory": 40, "separation": 20},
}
_MAKOWSKI = {"henon": {}, "lorenz63": {"dimension": 5, "delay": 4}}


def data_estimators(
    system: str, modules: dict[str, ModuleType]
) -> dict[str, Callable[[np.ndarray], float]]:
    """Map names to functions from a series to nats per sample, for the packages at hand."""
    found: dict[str, Callable[[np.ndarray], float]] = {}
    if "nolds" in modules:
        nolds = modules["nolds"]
        found |= {
            "nolds lyap_r": lambda x: nolds.lyap_r(x),
            "nolds lyap_r, tuned": lambda x: nolds.lyap_r(x, **_NOLDS[system]),
            "nolds lyap_e": lambda x: max(nolds.lyap_e(x)),
            "nolds lyap_e, tuned": lambda x: max(nolds.lyap_e(x, **_ECKMANN[system])),
        }
    if "neurokit2" in modules:
        neurokit = modules["neurokit2"].complexity_lyapunov
        found |= {
            "neurokit2 rosenstein": lambda x: neurokit(x)[0],
            "neurokit2 rosenstein, tuned": lambda x: neurokit(x, **_ROSENSTEIN[system])[0],
            "neurokit2 makowski, tuned": lambda x: neurokit(
                x, method="makowski", **_MAKOWSKI[system]
            )[0],
            "neurokit2 eckmann": lambda x: max(neurokit(x, method="eckmann", dimension=10)[0]),
        }
    return {name: _quiet(estimator) for name, estimator in found.items()}


def _quiet(estimator: Callable[[np.ndarray], float]) -> Callable[[np.ndarray], float]:
    """Silence warnings, and read a failure as NaN."""

    def estimate(series: np.ndarray) -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return float(estimator(series))
            except (ValueError, IndexError, np.linalg.LinAlgError):
                return float("nan")

    return estimate
