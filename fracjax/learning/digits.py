"""Scikit-learn's handwritten digits, which a package ships: nothing is downloaded."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

__all__ = ["Digits", "load_digits"]

_WHITE = 16.0  # the brightest pixel of the set


class Digits(NamedTuple):
    """Images and labels, for training and for testing.

    Attributes:
        images: Training images in [0, 1], (n, 8, 8), float32.
        labels: Digits 0 to 9, (n,), int32.
        test_images: Images that training does not see, (k, 8, 8).
        test_labels: Their digits, (k,).
    """

    images: Float[np.ndarray, "n 8 8"]
    labels: Int[np.ndarray, " n"]
    test_images: Float[np.ndarray, "k 8 8"]
    test_labels: Int[np.ndarray, " k"]


def load_digits(*, num_test: int = 360, seed: int = 0) -> Digits:
    """Load the 1797 images of 8 × 8 pixels, in a random order that the seed fixes.

    The set is the test part of the UCI one: in its own order neighbouring images are by the
    same hand, so it is mixed before it is cut.

    Args:
        num_test: Images kept for testing, 0 to 1796.
        seed: Seed of the order.

    Raises:
        ImportError: If scikit-learn is missing; the extra `digits` brings it.
        ValueError: If `num_test` is out of range.

    References:
        Alpaydin and Kaynak (1998), https://doi.org/10.24432/C50P49.
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        msg = "The digits come with scikit-learn: pip install 'fracjax[digits]'."
        raise ImportError(msg) from error
    images, labels = datasets.load_digits(return_X_y=True)
    if not 0 <= num_test < len(images):
        msg = f"Argument `num_test` must lie in [0, {len(images)}), but is {num_test}."
        raise ValueError(msg)
    order = np.random.default_rng(seed).permutation(len(images))
    pixels = (images[order] / _WHITE).reshape(-1, 8, 8).astype(np.float32)
    digits = labels[order].astype(np.int32)
    cut = len(order) - num_test
    return Digits(pixels[:cut], digits[:cut], pixels[cut:], digits[cut:])
