"""Delay vectors, and the choices of delay, dimension and neighbours."""

import numpy as np
import pytest

from fracjax.estimators.chaos.embedding import (
    choose_delay,
    choose_dimension,
    delay_embedding,
    mean_period,
    nearest,
    spread_out,
)


def henon(points):
    x, y = 0.1, 0.1
    series = []
    for _ in range(points + 100):
        x, y = 1 - 1.4 * x**2 + y, 0.3 * x
        series.append(x)
    return np.array(series[100:])


def test_delay_vectors():
    vectors = delay_embedding(np.arange(10.0), 3, 2)
    assert vectors.shape == (6, 3)
    assert vectors[1].tolist() == [1.0, 3.0, 5.0]


@pytest.mark.parametrize(
    ("dimension", "delay", "name"), [(0, 1, "dimension"), (2, 0, "delay"), (6, 2, "series")]
)
def test_impossible_embeddings_are_named(dimension, delay, name):
    with pytest.raises(ValueError, match=f"Argument `{name}` must"):
        delay_embedding(np.arange(10.0), dimension, delay)


def test_a_sine_is_delayed_by_a_quarter_of_its_period():
    series = np.sin(2 * np.pi * np.arange(4000) / 80.3)
    noise = np.random.default_rng(0).normal(size=4000)
    assert 15 <= choose_delay(series + 0.05 * noise) <= 25
    assert choose_dimension(series + 1e-3 * noise, 20, theiler=80) <= 3
    assert abs(mean_period(series) - 80.3) < 2


def test_maps_have_delay_one_and_henon_has_dimension_two():
    series = henon(2000)
    assert choose_delay(series) == 1
    assert choose_dimension(series, 1, theiler=4) == 2


def test_noise_has_no_dimension():
    noise = np.random.default_rng(0).normal(size=1000)
    assert choose_delay(noise) == 1
    assert choose_dimension(noise, 1, largest=6) == 6


def test_neighbours_keep_away_in_time_and_are_not_identical():
    """Two passes of a line, the second .1 beside the first: with a window the other pass."""
    line = np.arange(50.0)
    passes = np.stack([np.tile(line, 2), np.repeat([0.0, 0.1], 50)], axis=1)
    chosen = np.arange(100)
    distance, index = nearest(passes, chosen, 10, 1)
    np.testing.assert_allclose(distance[:, 0], 0.1)
    assert np.array_equal(index[:, 0], (chosen + 50) % 100)
    alike, _ = nearest(np.tile(line, 2)[:, None], chosen, 10, 1)
    assert np.all((alike[:, 0] >= 1) | np.isinf(alike[:, 0]))


def test_references_are_spread_evenly():
    assert spread_out(5, 10).tolist() == [0, 1, 2, 3, 4]
    assert spread_out(101, 3).tolist() == [0, 50, 100]
