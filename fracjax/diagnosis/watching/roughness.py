"""What the returns on lines around one point of a run say: noise, exponents, jumps."""

import dataclasses

import jax
import numpy as np
from jaxtyping import Array, Float

from fracjax._types import Estimate, PyTree
from fracjax.diagnosis.outputs import exponents_without_jumps, one_output
from fracjax.diagnosis.watching.line_returns import LineReturns, Surroundings
from fracjax.estimators.roughness.jumps import Jumps, find_jumps
from fracjax.estimators.roughness.orders import exponents_of_outputs

__all__ = ["POINTS_PER_LINE", "Roughness", "padded_exponents"]

POINTS_PER_LINE = 34
_NOISE_POINTS = 32


class Roughness:
    """Hölder exponents around one point, with the noise and the jumps that they stand beside.

    Attributes:
        centre: Returns at the point, one per discount.
        noise: Variance of a return by rounding, per discount.
        jumps: Jumps found along the lines, per discount.
        holder: Exponent per discount.
        without_jumps: The same without the lines that hold jumps; None where none does.
    """

    def __init__(
        self,
        returns: LineReturns,
        around: Surroundings,
        spacings: Float[np.ndarray, " levels"],
        num_lines: int,
    ):
        """Evaluate everything.

        Args:
            returns: Evaluates returns on lines.
            around: The point and its lines.
            spacings: Distance between neighbours on a line, per level, largest first.
            num_lines: How many of the lines to use.
        """
        self._returns = returns
        self._around = around
        self._spacings = spacings
        offsets = np.arange(POINTS_PER_LINE) - (POINTS_PER_LINE - 1) / 2
        shape = (num_lines, len(spacings), POINTS_PER_LINE)
        line = np.broadcast_to(np.arange(num_lines)[:, None, None], shape).ravel()
        offset = np.broadcast_to(spacings[:, None] * offsets, shape).ravel()
        # The point itself comes last: on a line of length 0 around no other centre.
        all_lines, all_offsets = np.append(line, 0), np.append(offset, 0.0)
        inner = np.append(np.ones(len(line)), 0.0)
        values = returns(around, all_lines, all_offsets, inner)
        self.centre, flat = values[-1], values[:-1]
        self._values = flat.reshape((*shape, -1))
        again = np.linspace(0, len(line) - 1, _NOISE_POINTS).astype(int)
        self.noise = self._measure_noise(flat[again], line[again], offset[again])
        outputs = range(self._values.shape[-1])
        estimates = self._exponents(self._values)
        self.holder = [one_output(estimates, index) for index in outputs]
        self.jumps = [self._find_jumps(index) for index in outputs]
        self.without_jumps = exponents_without_jumps(self._values, self.jumps, self._exponents)

    def _measure_noise(
        self, values: np.ndarray, lines: np.ndarray, offsets: np.ndarray
    ) -> np.ndarray:
        """Variance by rounding: of the parameters, of the value, and against the reference."""
        around = self._around
        moved = dataclasses.replace(around, part=_last_place(around.part))
        shaken = self._returns(moved, lines, offsets)
        noise = _noise_variance(values, shaken)
        if not self._returns.has_reference:
            return noise
        exact = self._returns.exactly(around, lines, offsets)
        return np.maximum(noise, _mean_square(values - exact))

    def _exponents(self, values: np.ndarray) -> Estimate:
        return padded_exponents(values, self._spacings, self.noise, self._returns.num_lines)

    def _find_jumps(self, index: int) -> Jumps:
        return find_jumps(
            self._values[..., index],
            self._spacings,
            lambda lines, offsets: self._returns(self._around, lines, offsets)[:, index],
            noise_variance=float(self.noise[index]),
        )


def padded_exponents(
    values: Float[np.ndarray, "lines levels points outputs"],
    spacings: Float[np.ndarray, " levels"],
    noise: Float[np.ndarray, " outputs"],
    most_lines: int,
) -> Estimate:
    """Hölder exponents by one program for all sizes: lines not sampled are dropped as NaN."""
    missing = most_lines - len(values)
    padded = np.pad(values, ((0, missing), *((0, 0),) * 3), constant_values=np.nan)
    found = exponents_of_outputs(padded, spacings, noise_variance=noise)
    return jax.tree.map(np.asarray, found)


def _last_place(part: PyTree) -> PyTree:
    """Move every parameter by a unit in its last place, up and down in turn."""

    def move(given: Array) -> np.ndarray:
        leaf = np.asarray(given)
        up = np.arange(leaf.size).reshape(leaf.shape) % 2 == 0
        return np.asarray(np.nextafter(leaf, np.where(up, np.inf, -np.inf).astype(leaf.dtype)))

    return jax.tree.map(move, part)


def _noise_variance(values: np.ndarray, shaken: np.ndarray) -> np.ndarray:
    """Variance of one return by rounding: of the parameters, or at least of itself."""
    place = np.spacing(np.where(np.isfinite(values), np.abs(values), 0.0)).astype(float)
    return np.maximum(_mean_square(values.astype(float) - shaken) / 2, _mean_square(place) / 12)


def _mean_square(errors: np.ndarray) -> np.ndarray:
    """Mean square over points, those that are not finite left out."""
    kept = np.isfinite(errors)
    squared = np.where(kept, errors.astype(float), 0.0) ** 2
    return squared.sum(axis=0) / np.maximum(kept.sum(axis=0), 1)
