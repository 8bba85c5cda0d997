"""Samplers of gradients of smoothed objectives: pathwise, and by evolution strategies.

A sampler is `(params, key) -> gradient`, one independent contribution to an estimate, shaped
like the parameters. The estimate is the mean of many; `gradient_quality` tells how many.

Both samplers of this module estimate the gradient of J_σ(θ) = E J(θ + σ ε), ε ~ N(0, I),
which exists for σ > 0 whatever J is, as long as J is bounded:

* `smoothed_gradient` is unbiased for every J. Where J has Hölder exponent α its variance
  grows as σ^{2α - 2} towards small σ.
* `pathwise_gradient` is unbiased where J is Lipschitz. At jumps it is biased: it never sees
  them. Where J is rough down to some finest scale, such as the e^{-λT} of a chaotic loop over T
  steps, its variance is that of the slopes at that scale, whatever σ is.

References:
    Suh et al. (2022), Do Differentiable Simulators Give Better Policy Gradients?,
    arXiv 2202.00817; Parmas et al. (2018), PIPPS, arXiv 1902.01240; Metz et al. (2021),
    Gradients Are Not All You Need, arXiv 2111.05803.
"""

from collections.abc import Callable
from typing import TypeAlias, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax import tree
from fracjax._types import Key, Objective, PyTree
from fracjax.curvature.gradients import GradientMethod, differentiate, resolve, with_key

__all__ = ["GradientSampler", "pathwise_gradient", "smoothed_gradient"]

GradientSampler: TypeAlias = Callable[[PyTree, Key], PyTree]


def pathwise_gradient(
    objective: Objective,
    *,
    sigma: float | Float[Array, ""] = 0.0,
    method: GradientMethod = "auto",
    chunk_size: int | None = None,
) -> GradientSampler:
    """Make a sampler of ∇J(θ + σ ε, key): the reparameterised gradient.

    With σ = 0 and a deterministic objective all samples are the gradient at θ itself. A
    stochastic objective is differentiated at a fixed key; with `GaussianActions` that is the
    gradient through the noise of the actions and the dynamics.

    Cost per sample: in reverse mode a few evaluations, and memory for every step of a rollout;
    in forward mode as many evaluations as there are parameters, and no such memory.

    Args:
        objective: Pure function of parameters and key returning one number.
        sigma: Standard deviation σ of the smoothing, per parameter.
        method: `"reverse"`, `"forward"`, or `"auto"`, which takes reverse mode where it exists
            (it does not through mjx).
        chunk_size: Tangents that forward mode pushes at once, see `fracjax.curvature.gradient`.

    Raises:
        ValueError: If a setting is unknown or negative.
    """
    _check_sigma(sigma, positive=False)
    if method not in get_args(GradientMethod):
        msg = f"Argument `method` must be one of {get_args(GradientMethod)}, but is {method!r}."
        raise ValueError(msg)
    smooth = not (isinstance(sigma, int | float) and sigma == 0)

    def sample(params: PyTree, key: Key) -> PyTree:
        draw, own = jax.random.split(key)
        if smooth:
            params = tree.add_scaled(params, sigma, tree.random_normal(draw, params))
        function = with_key(objective, own)
        mode = resolve(method, function, params)
        return differentiate(mode, function, params, chunk_size)[1]

    return sample


def smoothed_gradient(
    objective: Objective, sigma: float | Float[Array, ""], *, antithetic: bool = True
) -> GradientSampler:
    """Make a sampler of evolution strategies: finite differences along Gaussian directions.

        antithetic:  ε (J(θ + σ ε) - J(θ - σ ε)) / (2σ)    two evaluations
        one-sided:   ε J(θ + σ ε) / σ                      one evaluation

    Both are unbiased for ∇J_σ. The variance (trace of the covariance) of an antithetic sample
    is (d + 1)|∇J|² for linear and quadratic objectives of d parameters; a one-sided one adds
    d J²/σ² and should only be used for comparison. Both evaluations of an antithetic pair see
    the same key.

    Args:
        objective: Function of parameters and key returning one number; need not have a
            derivative.
        sigma: Standard deviation σ > 0 of the smoothing, per parameter.
        antithetic: Whether to evaluate in pairs.

    Raises:
        ValueError: If `sigma` is not positive.

    References:
        Nesterov and Spokoiny (2017), https://doi.org/10.1007/s10208-015-9296-2; Salimans et al.
        (2017), arXiv 1703.03864.
    """
    _check_sigma(sigma, positive=True)

    def sample(params: PyTree, key: Key) -> PyTree:
        draw, own = jax.random.split(key)
        direction = tree.random_normal(draw, params)
        if not antithetic:
            value = objective(tree.add_scaled(params, sigma, direction), own)
            return tree.scale(value / sigma, direction)
        signs = jnp.asarray([1.0, -1.0], jnp.result_type(*jax.tree.leaves(params)))

        def along(sign: Array) -> Array:
            return objective(tree.add_scaled(params, sign * sigma, direction), own)

        values = jax.vmap(along)(signs)
        return tree.scale((values[0] - values[1]) / (2 * sigma), direction)

    return sample


def _check_sigma(sigma: float | Array, *, positive: bool) -> None:
    """Check σ, unless it is traced."""
    if not isinstance(sigma, int | float):
        return
    if sigma < 0 or (positive and sigma == 0) or sigma != sigma:
        kind = "positive" if positive else "non-negative"
        msg = f"Argument `sigma` must be {kind}, but is {sigma}."
        raise ValueError(msg)
