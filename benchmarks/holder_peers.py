"""Hölder (Hurst) exponents of series by nolds, NeuroKit2, AntroPy, MFDFA and pymultifracs.

What is estimated differs: fluctuation analyses take the increments of the series (fractional
Gaussian noise), whose exponent is then H; fractal dimensions D of the graph give 2 - D; wavelet
leaders give c1. Settings are the packages' defaults, except where there are none.
"""

import warnings
from collections.abc import Callable
from types import ModuleType

import numpy as np

__all__ = ["PEERS", "series_estimators", "variogram_slope"]

PEERS = ("nolds", "neurokit2", "antropy", "MFDFA", "pymultifracs")
Estimator = Callable[[np.ndarray], np.ndarray]


def variogram_slope(series: np.ndarray) -> float:
    """Least squares through the logarithms of a first-difference variogram, lags 1 to 8."""
    lags = np.arange(1, 9)
    means = [np.mean((series[lag:] - series[:-lag]) ** 2) for lag in lags]
    return np.polyfit(2 * np.log(lags), np.log(means), 1)[0]


def series_estimators(modules: dict[str, ModuleType]) -> dict[str, Estimator]:
    """Map names to functions from series (n, length) to n exponents."""
    found: dict[str, Estimator] = {"NumPy variogram, least squares": _each(variogram_slope)}
    if "nolds" in modules:
        nolds = modules["nolds"]
        found |= {
            "nolds dfa": _each(lambda x: nolds.dfa(np.diff(x))),
            "nolds hurst_rs": _each(lambda x: nolds.hurst_rs(np.diff(x))),
        }
    if "neurokit2" in modules:
        neurokit = modules["neurokit2"]
        found |= {
            "neurokit2 fractal_dfa": _each(lambda x: neurokit.fractal_dfa(np.diff(x))[0]),
            "neurokit2 fractal_higuchi, k_max 8": _each(
                lambda x: 2 - neurokit.fractal_higuchi(x, k_max=8)[0]
            ),
            "neurokit2 fractal_katz": _each(lambda x: 2 - neurokit.fractal_katz(x)[0]),
            "neurokit2 fractal_hurst": _each(lambda x: neurokit.fractal_hurst(np.diff(x))[0]),
        }
    if "antropy" in modules:
        antropy = modules["antropy"]
        found |= {
            "antropy detrended_fluctuation": _each(
                lambda x: antropy.detrended_fluctuation(np.diff(x))
            ),
            "antropy higuchi_fd": _each(lambda x: 2 - antropy.higuchi_fd(x)),
            "antropy katz_fd": _each(lambda x: 2 - antropy.katz_fd(x)),
        }
    if "MFDFA" in modules:
        found["MFDFA, q = 2"] = _each(lambda x: _fluctuation(modules["MFDFA"], np.diff(x)))
    if "pymultifracs" in modules:
        package = modules["pymultifracs"]
        found |= {
            "pymultifracs leaders, c1": lambda series: _wavelets(package, series, leaders=True),
            "pymultifracs coefficients, H": lambda series: _wavelets(
                package, series, leaders=False
            ),
        }
    return {name: _quiet(estimator) for name, estimator in found.items()}


def _fluctuation(package: ModuleType, noise: np.ndarray) -> float:
    sizes = np.unique(np.geomspace(4, len(noise) // 4, 20).astype(int))
    sizes, fluctuation = package.MFDFA(noise, lag=sizes, order=1, q=2.0)
    return np.polyfit(np.log(sizes), np.log(fluctuation[:, 0]), 1)[0]


def _wavelets(package: ModuleType, series: np.ndarray, *, leaders: bool) -> np.ndarray:
    """Weighted fit over all scales from the third on; the second where leaders leave too few."""
    decomposed = package.wavelet_analysis(series.T)
    quantity = decomposed.get_leaders(np.inf) if leaders else decomposed
    largest = max(decomposed.values)
    smallest = 3 if largest > 5 or not leaders else 2
    analysis = package.mfa(
        quantity,
        [(smallest, largest)],
        weighted="Nj",
        n_cumul=1,
        q=[2],
        estimates="sc",
        check_regularity=False,
    )
    return np.ravel(analysis.cumulants.c1 if leaders else analysis.structure.H)


def _each(estimate: Callable[[np.ndarray], float]) -> Estimator:
    return lambda series: np.array([float(estimate(one)) for one in series])


def _quiet(estimator: Estimator) -> Estimator:
    def run(series: np.ndarray) -> np.ndarray:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return estimator(series)

    return run
