"""Spectral densities with error bars, from quadratures."""

import dataclasses
import functools
import math
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax._types import Estimate, Key, Leaf, Status
from fracjax.curvature.draws import Probe, check_count, mean_of_draws
from fracjax.curvature.operators import CurvatureOperator
from fracjax.curvature.quadrature import Quadrature, lanczos_quadrature

__all__ = ["Axis", "Kernel", "SpectralDensity", "smooth_quadrature", "spectral_density"]

# How wide a node is drawn; see `smooth_quadrature`.
Kernel = Literal["ghorbani", "papyan", "range/m"]
Axis = Literal["linear", "log"]
_REACH = 6.0  # standard deviations of the kernel beyond the outermost node
_KAPPA = 3.0
_MARGIN = 0.05
_FLOOR = 1e-5  # of the largest magnitude, under the logarithm


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SpectralDensity:
    """Where the eigenvalues of an operator lie.

    Attributes:
        grid: Centres of the cells, (cells,): eigenvalues, or ln(|eigenvalue| + floor).
        width: Width of a cell.
        density: Share of eigenvalues per unit of the grid, averaged over each cell; an estimate
            with one entry per cell. The values times the width sum to 1.
        sigma: Standard deviation of the kernel, in units of the grid.
        floor: What stands beside the magnitude under the logarithm; zero on a linear axis.
        quadrature: Nodes and weights that it was made from.
        axis: `"linear"` or `"log"`.
    """

    grid: Leaf
    width: Leaf
    density: Estimate
    sigma: Leaf
    floor: Leaf
    quadrature: Quadrature
    axis: Axis = dataclasses.field(metadata={"static": True})


def spectral_density(
    operator: CurvatureOperator,
    key: Key,
    *,
    num_draws: int = 10,
    num_iterations: int | None = None,
    kernel: Kernel | float = "ghorbani",
    axis: Axis = "linear",
    num_cells: int = 1024,
    probe: Probe = "normal",
    keep_basis: bool = True,
    chunk_size: int | None = None,
) -> SpectralDensity:
    """Estimate the density of eigenvalues by stochastic Lanczos quadrature.

    See `lanczos_quadrature` for the nodes and `smooth_quadrature` for the kernels; the latter
    draws the same quadrature again with another kernel or axis for nothing.

    Error bars are the scatter between draws. They hold for the density smoothed by the kernel,
    seen through the nodes of m iterations: not for detail that either of them has smoothed away.
    At the edges of a gap intervals of few draws can be too narrow, as a cell that no draw has
    reached has none.

    Args:
        operator: See `hessian` and its neighbours.
        key: Draws the starts.
        num_draws: See `lanczos_quadrature`.
        num_iterations: m, see there.
        kernel: See `smooth_quadrature`.
        axis: See there.
        num_cells: See there.
        probe: See `lanczos_quadrature`.
        keep_basis: See there.
        chunk_size: See there.

    Raises:
        ValueError: If a setting is out of range.

    References:
        Ghorbani, Krishnan and Xiao (2019), arXiv 1901.10159. Papyan (2020), JMLR 21, 252.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from fracjax import curvature
        >>> def loss(params, weights):
        ...     return 0.5 * (weights * params**2).sum()
        >>> weights = jnp.linspace(0.0, 1.0, 50)
        >>> operator = curvature.hessian(loss, jnp.zeros(50), weights)
        >>> found = curvature.spectral_density(operator, jax.random.key(0), kernel=0.05)
        >>> mass = found.density.value.sum() * found.width
        >>> f"{mass:.2f}"
        '1.00'
    """
    _check(kernel, axis, num_cells)
    quadrature = lanczos_quadrature(
        operator,
        key,
        num_draws=num_draws,
        num_iterations=num_iterations,
        probe=probe,
        keep_basis=keep_basis,
        chunk_size=chunk_size,
    )
    return smooth_quadrature(quadrature, kernel=kernel, axis=axis, num_cells=num_cells)


def smooth_quadrature(
    quadrature: Quadrature,
    *,
    kernel: Kernel | float = "ghorbani",
    axis: Axis = "linear",
    num_cells: int = 1024,
) -> SpectralDensity:
    """Spread every node over a Gaussian, and average the draws.

    The grid reaches 6 standard deviations beyond the outermost node of all draws, and a cell
    holds the integral of the kernel over it, not its value at a point: a narrow peak keeps its
    mass however coarse the grid, and no outlier falls off the grid or between its points.

    Args:
        quadrature: See `lanczos_quadrature`.
        kernel: Standard deviation σ of the Gaussian, as a number in units of the axis or by name,
            R being the range from the smallest to the largest node of all draws:
            `"ghorbani"`: variance 1e-5 · max(1, R), as in the code of Ghorbani et al. and in
            PyHessian. Not a length times R: spectra with R far below 1 are blurred into one
            peak, and for R ≫ 1 it is σ/R that shrinks as 1/√R.
            `"papyan"`: σ = 1.1 R / ((m - 1) √(8 ln κ)) with κ = 3 and a margin of 5 % on both
            sides, by which Gaussians at spacings of the nodes' mean distance cross at 1/κ.
            `"range/m"`: σ = R/m.
        axis: `"log"` gives the density of ln(|λ| + 1e-5 max|λ|), in which a bulk near zero is
            resolved; its signs are lost.
        num_cells: Cells of the grid.

    Raises:
        ValueError: If a setting is out of range.
    """
    _check(kernel, axis, num_cells)
    return _smooth(quadrature, kernel, axis, num_cells)


def _check(kernel: str | float, axis: str, num_cells: int) -> None:
    if isinstance(kernel, str):
        if kernel not in get_args(Kernel):
            msg = (
                f"Argument `kernel` must be a positive number or one of {get_args(Kernel)}, but"
                f" is {kernel!r}."
            )
            raise ValueError(msg)
    elif not kernel > 0:
        msg = f"Argument `kernel` must be positive, but is {kernel}."
        raise ValueError(msg)
    if axis not in get_args(Axis):
        msg = f"Argument `axis` must be one of {get_args(Axis)}, but is {axis!r}."
        raise ValueError(msg)
    check_count("num_cells", num_cells, 2)


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _smooth(
    quadrature: Quadrature, kernel: Kernel | float, axis: Axis, num_cells: int
) -> SpectralDensity:
    nodes, weights = quadrature.nodes, quadrature.weights
    finite = quadrature.status == Status.OK
    nodes = jnp.where(finite, nodes, 0)
    floor = jnp.zeros((), nodes.dtype)
    if axis == "log":
        largest = jnp.max(jnp.abs(nodes))
        floor = _FLOOR * jnp.where(largest > 0, largest, 1)
        nodes = jnp.log(jnp.abs(nodes) + floor)
    low, high = nodes.min(), nodes.max()
    sigma = _width(kernel, high - low, nodes.shape[1])
    # A single eigenvalue would have a range of zero: a kernel must stay resolvable.
    least = (
        8 * jnp.finfo(nodes.dtype).eps * jnp.maximum(jnp.maximum(jnp.abs(low), jnp.abs(high)), 1)
    )
    sigma = jnp.maximum(sigma, least)
    low, high = low - _REACH * sigma, high + _REACH * sigma
    edges = jnp.linspace(low, high, num_cells + 1, dtype=nodes.dtype)
    width = (high - low) / num_cells

    def masses(draw: tuple[Array, Array]) -> Array:
        node, weight = draw
        below = jax.scipy.special.ndtr((edges[:, None] - node) / sigma)
        return jnp.diff(jnp.matmul(below, weight, precision="highest"))

    densities = jax.lax.map(masses, (nodes, weights)) / width
    estimate = mean_of_draws(densities, finite)
    low_end = jnp.maximum(estimate.low, 0)  # a density is
    estimate = dataclasses.replace(estimate, low=low_end)
    missing = jnp.full((), jnp.nan, nodes.dtype)
    return SpectralDensity(
        grid=jnp.where(finite, (edges[1:] + edges[:-1]) / 2, missing),
        width=jnp.where(finite, width, missing),
        density=estimate,
        sigma=jnp.where(finite, sigma, missing),
        floor=floor,
        quadrature=quadrature,
        axis=axis,
    )


def _width(kernel: Kernel | float, extent: Float[Array, ""], num_nodes: int) -> Float[Array, ""]:
    """Standard deviation of a kernel."""
    if kernel == "ghorbani":
        return jnp.sqrt(1e-5 * jnp.maximum(1, extent))
    if kernel == "papyan":
        crossing = math.sqrt(8 * math.log(_KAPPA))
        return (1 + 2 * _MARGIN) * extent / (max(num_nodes - 1, 1) * crossing)
    if kernel == "range/m":
        return extent / num_nodes
    return jnp.full_like(extent, kernel)
