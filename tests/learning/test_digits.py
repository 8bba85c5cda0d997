"""The digits: their number, their range, the order that the seed fixes, and the missing package."""

import sys

import numpy as np
import pytest

from fracjax.learning.digits import load_digits


def test_images_are_mixed_by_the_seed_and_cut():
    data = load_digits()
    assert data.images.shape == (1437, 8, 8)
    assert data.test_images.shape == (360, 8, 8)
    assert data.images.min() == 0
    assert data.images.max() == 1
    # 1437 draws of ten even classes: each about 144 with a standard deviation of 11.
    assert np.all(abs(np.bincount(data.labels) - 144) < 45)
    again = load_digits(num_test=0, seed=0)
    np.testing.assert_array_equal(again.images[:1437], data.images)
    with pytest.raises(ValueError, match="num_test"):
        load_digits(num_test=1797)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"fracjax\[digits\]"):
        load_digits()
