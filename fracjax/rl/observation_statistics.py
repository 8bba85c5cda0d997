"""Statistics by which foreign policies normalise observations, kept outside their files.

Stable-Baselines3's `VecNormalize` and gymnasium's `NormalizeObservation`, which CleanRL uses,
are wrappers of the environment: their running mean and variance are not in the policy's file.
Without them such a policy acts on observations that it never saw, and no reader can notice.

    x = clip((observation - mean) / sqrt(variance + epsilon), -clip, clip)
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fracjax import safe_files
from fracjax.rl import archives, restricted_pickle
from fracjax.rl.policies import PolicyFileError

__all__ = ["ObservationStatistics", "read_statistics"]


class ObservationStatistics(NamedTuple):
    """Running statistics of observations, frozen after training.

    Attributes:
        mean: (observation,)
        variance: (observation,)
        clip: Bound of normalised observations; 10 in Stable-Baselines3's default and in
            CleanRL's scripts, `None` for none.
        epsilon: Added to the variance; 1e-8 in both libraries.
    """

    mean: np.ndarray
    variance: np.ndarray
    clip: float | None = 10.0
    epsilon: float = 1e-8


def read_statistics(path: Path, *, trust: bool) -> ObservationStatistics:
    """Read statistics from an `.npz` or from what `VecNormalize.save` wrote.

    An `.npz` holds `mean` and `variance` (or `var`), and may hold `clip` and `epsilon`; without
    `clip` the libraries' 10 is taken. `VecNormalize` writes a pickle, which is read only with
    `trust`, and runs no code then either.

    Args:
        path: The file.
        trust: Whether to accept a pickle.

    Raises:
        PolicyFileError: If the file is missing, damaged or of another kind.
    """
    try:
        return _checked(_read(path, trust))
    except PolicyFileError as error:
        msg = f"File of observation statistics `{path}` {error}."
        raise PolicyFileError(msg) from error
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        msg = f"File of observation statistics `{path}` is damaged or of another kind ({reason})."
        raise PolicyFileError(msg) from error


def _read(path: Path, trust: bool) -> ObservationStatistics:
    if not path.exists():
        msg = "does not exist"
        raise PolicyFileError(msg)
    content = safe_files.read_bytes(path)
    return _from_npz(content) if archives.is_archive(content) else _from_pickle(content, trust)


def _from_npz(content: bytes) -> ObservationStatistics:
    archives.read_entries(content)  # which says better what is wrong with an archive
    arrays = safe_files.read_npz(content)
    variance = arrays.get("variance", arrays.get("var"))
    if "mean" not in arrays or variance is None:
        msg = f"must hold `mean` and `variance`, but holds {', '.join(map(repr, sorted(arrays)))}"
        raise PolicyFileError(msg)
    defaults = ObservationStatistics._field_defaults
    held: dict[str, Any] = {**defaults, **arrays}
    clip, epsilon = float(held["clip"]), float(held["epsilon"])
    return ObservationStatistics(arrays["mean"], variance, clip, epsilon)


def _from_pickle(content: bytes, trust: bool) -> ObservationStatistics:
    if not trust:
        msg = (
            "is a pickle, and loading a pickle can run any code: save `mean` and `variance` of"
            " `obs_rms` with `numpy.savez`, or allow this one with `--trust` (`trust=True`)"
        )
        raise PolicyFileError(msg)
    stored = restricted_pickle.read(content, _admit)
    if not isinstance(stored, restricted_pickle.Container):
        msg = "is a pickle, but not of a `VecNormalize`"
        raise PolicyFileError(msg)
    held = vars(stored)
    if not held.get("norm_obs", True):
        msg = "comes from a `VecNormalize` that does not normalise observations (`norm_obs=False`)"
        raise PolicyFileError(msg)
    if not isinstance(held.get("obs_rms"), restricted_pickle.Container):
        msg = "holds no `obs_rms` of vector observations"
        raise PolicyFileError(msg)
    running: Mapping[str, Any] = vars(held["obs_rms"])
    mean, variance = (np.asarray(running[name], float) for name in ("mean", "var"))
    clip, epsilon = (float(np.asarray(held[name])) for name in ("clip_obs", "epsilon"))
    return ObservationStatistics(mean, variance, clip, epsilon)


def _admit(module: str, name: str) -> Any:
    if (module, name) in restricted_pickle.NUMPY:
        return restricted_pickle.NUMPY[module, name]
    if name in ("VecNormalize", "RunningMeanStd") and module.startswith("stable_baselines3."):
        return restricted_pickle.Container
    if module.startswith(_UNREAD):  # spaces and their random generators
        return restricted_pickle.Inert
    return None


_UNREAD = ("gymnasium.spaces", "gym.spaces", "numpy.random", "stable_baselines3.common.")


def _checked(found: ObservationStatistics) -> ObservationStatistics:
    if found.mean.ndim != 1 or found.mean.shape != found.variance.shape:
        msg = f"has shapes {found.mean.shape} and {found.variance.shape}, but must hold two vectors"
        raise PolicyFileError(msg)
    numbers = np.concatenate([found.mean, found.variance])
    if not np.isfinite(numbers).all() or (found.variance + found.epsilon <= 0).any():
        msg = "holds values that are not finite, or no positive variance"
        raise PolicyFileError(msg)
    return found
