r"""In-context linear regression with linear self-attention on one prompt, and what it reduces to.

A prompt is examples (x_i, y_i), i = 1…n, a query x_q and its answer y_q. As tokens they are the
columns of a matrix E of d + 1 rows, [x_i; y_i] and last [x_q; 0]. A layer of H heads of linear
attention adds

    Σ_h P_h E (Eᵀ K_h E) / n,

P_h the product of a head's output and value matrices, K_h that of its key and query matrices,
and the prediction is the last row of the last column. The loss is half the squared error on
the query. Only the answer row of P_h and the query column of K_h E enter: with w_h that row,
k_h = K_h [x_q; 0]/|x_q| and G = E Eᵀ/n, the prediction is |x_q| Σ_h w_hᵀ G k_h.

Gradient descent on this loss is the product map, step by step and without approximation, in
three cases (derived here; they hold in tests to rounding through `jax.grad` of the layer):

- Heads with one trained number each for the value, P_h = u_h e eᵀ with e the answer's row, and one
  for the key and query, K_h = v_h I on the inputs and 0 else. Then a = h·x_q, where
  h = Σ_i y_i x_i/n, and b = y_q, for every initial u and v.
- Heads with a trained number u_h and a trained matrix V_h (d, d) on the inputs. Then
  v_h = ĥᵀ V_h x̂_q with unit vectors ĥ and x̂_q, and a = |h| |x_q|, for every initial V_h: gradients
  move V_h along ĥ x̂_qᵀ only, and what is orthogonal to it never changes nor matters.
- All of P and K trained, if at the start every w_h and k_h lie in one eigenspace of G. It is kept,
  and a = |x_q| λ with the eigenvalue λ of that space; u_h and v_h are then vectors. From other
  starts directions of different λ mix, and there is no single a: no reduction.

The loss is ½(a u·v - b)² in all three, μ = η |a b|. With one head and scalars that is the product
map, with more the map of vectors, of which (p, s) are closed.

The expression for μ in the paper (Balasubramanian 2026, arXiv 2605.21292) has not been read: these
are ours, for the conventions above.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fracjax._types import Key, PyTree, StepFunction
from fracjax.systems.training_maps.product_map import Real, Reduction

__all__ = [
    "AttentionHeads",
    "Prompt",
    "TwoFactorHeads",
    "attention_heads",
    "descent_map",
    "eigenspace_reduction",
    "head_factors",
    "linear_attention",
    "predict",
    "prompt_loss",
    "prompt_reduction",
    "prompt_tokens",
    "random_prompt",
]


class Prompt(NamedTuple):
    """One in-context regression problem.

    Attributes:
        inputs: x_i, (n, d).
        outputs: y_i, (n,).
        query: x_q, (d,).
        target: y_q.
    """

    inputs: Float[Array, "n d"]
    outputs: Float[Array, " n"]
    query: Float[Array, " d"]
    target: Float[Array, ""]


class TwoFactorHeads(NamedTuple):
    """Trained parameters of heads with two factors.

    Attributes:
        value: u_h, (heads,).
        key_query: v_h, (heads,), or V_h, (heads, d, d).
    """

    value: Float[Array, " heads"]
    key_query: Float[Array, "heads ..."]


class AttentionHeads(NamedTuple):
    """Whole matrices of heads.

    Attributes:
        value: P_h, (heads, d + 1, d + 1).
        key_query: K_h, (heads, d + 1, d + 1).
    """

    value: Float[Array, "heads k k"]
    key_query: Float[Array, "heads k k"]


def random_prompt(
    key: Key, num_examples: int = 16, dimension: int = 4, *, noise: float = 0.0
) -> Prompt:
    """Draw x ~ N(0, I) and y = w·x + noise N(0, 1) with w ~ N(0, I/d); the query has no noise.

    Args:
        key: Randomness.
        num_examples: n.
        dimension: d.
        noise: Standard deviation of the noise on the y_i.

    Raises:
        ValueError: If a count is not positive.
    """
    if num_examples < 1 or dimension < 1:
        msg = (
            "Arguments `num_examples` and `dimension` must be at least 1,"
            f" but are {num_examples} and {dimension}."
        )
        raise ValueError(msg)
    size = (num_examples + 2) * (dimension + 1)
    drawn = jax.random.normal(key, (size,), jnp.result_type(float)).reshape(-1, dimension + 1)
    points, weights = drawn[:-1, :-1], drawn[-1, :-1] / dimension**0.5
    answers = jnp.matmul(points, weights, precision="highest")
    outputs = answers[:-1] + noise * drawn[:-2, -1]
    return Prompt(points[:-1], outputs, points[-1], answers[-1])


def prompt_tokens(prompt: Prompt) -> Float[Array, "k m"]:
    """The token matrix E, (d + 1, n + 1), with 0 for the answer that is asked for."""
    inputs = jnp.concatenate([prompt.inputs, prompt.query[None]])
    answers = jnp.append(prompt.outputs, jnp.zeros((), prompt.outputs.dtype))
    return jnp.concatenate([inputs.T, answers[None]])


def linear_attention(heads: AttentionHeads, tokens: Float[Array, "k m"]) -> Float[Array, "k m"]:
    """One layer: tokens plus Σ_h P_h E (Eᵀ K_h E)/n, n the number of tokens less the query."""

    def product(left: Array, right: Array) -> Array:
        return jnp.matmul(left, right, precision="highest")

    scores = product(tokens.T, product(heads.key_query, tokens)) / (tokens.shape[1] - 1)
    mixed = product(product(heads.value, tokens), scores)
    return tokens + jnp.sum(mixed, axis=0)


def attention_heads(heads: TwoFactorHeads, dimension: int) -> AttentionHeads:
    """Fill in the matrices that heads with two factors stand for.

    Args:
        heads: u and v, or u and V.
        dimension: d.

    Raises:
        ValueError: If `heads.key_query` is neither of numbers nor of (d, d) matrices.
    """
    count = heads.value.shape[0]
    if heads.key_query.shape not in ((count,), (count, dimension, dimension)):
        msg = (
            f"Argument `heads` must have key_query of shape ({count},) or"
            f" ({count}, {dimension}, {dimension}), but it is {heads.key_query.shape}."
        )
        raise ValueError(msg)
    factors = heads.key_query
    if factors.ndim == 1:
        factors = factors[:, None, None] * jnp.eye(dimension, dtype=factors.dtype)
    empty = jnp.zeros((count, dimension + 1, dimension + 1), factors.dtype)
    return AttentionHeads(empty.at[:, -1, -1].set(heads.value), empty.at[:, :-1, :-1].set(factors))


def predict(heads: TwoFactorHeads | AttentionHeads, prompt: Prompt) -> Float[Array, ""]:
    """The layer's answer to the query."""
    if isinstance(heads, TwoFactorHeads):
        heads = attention_heads(heads, prompt.query.shape[0])
    return linear_attention(heads, prompt_tokens(prompt))[-1, -1]


def prompt_loss(heads: TwoFactorHeads | AttentionHeads, prompt: Prompt) -> Float[Array, ""]:
    """Half the squared error on the query."""
    return (predict(heads, prompt) - prompt.target) ** 2 / 2


def descent_map(loss: Callable[[PyTree], Array], learning_rate: Real) -> StepFunction:
    """Make params' = params - η ∇loss(params), by reverse mode through the loss."""

    def step(params: PyTree) -> PyTree:
        slope = jax.grad(loss)(params)
        return jax.tree.map(lambda leaf, along: leaf - learning_rate * along, params, slope)

    return step


def _correlation(prompt: Prompt) -> Float[Array, " d"]:
    """The vector h = Σ y_i x_i / n."""
    summed = jnp.matmul(prompt.outputs, prompt.inputs, precision="highest")
    return summed / prompt.outputs.shape[0]


def prompt_reduction(prompt: Prompt, *, matrices: bool = False) -> Reduction:
    """Compute a and b of heads with two factors.

    Args:
        prompt: The problem.
        matrices: Whether the key and query are trained as matrices V_h rather than numbers.
    """
    vector = _correlation(prompt)
    if matrices:
        slope = jnp.linalg.norm(vector) * jnp.linalg.norm(prompt.query)
    else:
        slope = jnp.sum(vector * prompt.query)
    return Reduction(slope, prompt.target)


def head_factors(heads: TwoFactorHeads, prompt: Prompt) -> Float[Array, "2 heads"]:
    """Read (u, v) of the reduction off heads with two factors.

    They obey `prompt_reduction` with `matrices` as `heads.key_query` has them.
    """
    factors = heads.key_query
    if factors.ndim == 3:
        vector = _correlation(prompt)
        unit = vector / jnp.linalg.norm(vector), prompt.query / jnp.linalg.norm(prompt.query)
        factors = jnp.einsum("i,hij,j->h", unit[0], factors, unit[1], precision="highest")
    return jnp.stack([heads.value, factors])


def eigenspace_reduction(prompt: Prompt, index: int = -1) -> tuple[Reduction, Float[Array, " k"]]:
    """Compute a and b of whole matrices that start in one eigenspace of G = E Eᵀ/n.

    With e the eigenvector, P_h = u_h [0; …; eᵀ] and K_h = v_h e [x_q; 0]ᵀ/|x_q| start in it.

    Args:
        prompt: The problem.
        index: Which eigenvalue, in ascending order.

    Returns:
        The reduction and the unit eigenvector, (d + 1,).
    """
    tokens = prompt_tokens(prompt)
    gram = jnp.matmul(tokens, tokens.T, precision="highest") / prompt.outputs.shape[0]
    values, vectors = jnp.linalg.eigh(gram)
    slope = values[index] * jnp.linalg.norm(prompt.query)
    return Reduction(slope, prompt.target), vectors[:, index]
