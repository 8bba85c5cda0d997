"""Pictures of gradient estimators show the numbers they were given."""

import numpy as np

from fracjax import Estimate, Status
from fracjax.learning.gradient_estimates.quality import GradientQuality
from fracjax.plotting import gradient_quality

SCALES = np.array([0.01, 0.1, 1.0])


def estimate(value, status=Status.OK, high=None):
    value = np.asarray(value, float)
    high = 1.5 * value if high is None else np.asarray(high, float)
    codes = np.broadcast_to(np.asarray(status), value.shape)
    return Estimate(value, value / 4, 0.5 * value, high, codes)


def quality(**parts):
    one = estimate([1.0, 1.0, 1.0])
    names = ("variance", "norm", "signal_to_noise", "samples_needed")
    return GradientQuality(np.zeros((3, 2)), *(parts.get(name, one) for name in names))


def test_the_variance_is_drawn_as_a_deviation_beside_its_law(axes):
    found = {"pathwise": quality(variance=estimate([4.0, 9.0, 16.0])), "other": quality()}
    laws = {"pathwise": np.array([4.0, 9.0, 16.0])}
    gradient_quality.against_smoothing(axes, found, "variance", SCALES, laws=laws)
    lines = [line for line in axes.lines if line.get_label() == "pathwise"]
    np.testing.assert_allclose(lines[0].get_ydata(), [2, 3, 4])
    dashed = [line for line in axes.lines if line.get_ls() == "--"]
    np.testing.assert_allclose(dashed[0].get_ydata(), [2, 3, 4])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["pathwise", "other"]


def test_gradients_that_were_not_seen_are_hollow(axes):
    status = [Status.OK, Status.AT_NOISE_FLOOR, Status.OK]
    needed = estimate([3.0, 50.0, 7.0], status, high=[4.0, np.inf, 9.0])
    found = {"strategy": quality(samples_needed=needed)}
    gradient_quality.against_smoothing(axes, found, "samples_needed", SCALES)
    points = [line for line in axes.lines if line.get_marker() == "o"]
    faces = {line.get_markerfacecolor(): list(line.get_ydata()) for line in points}
    assert faces["none"] == [50.0]
    assert sorted(len(ys) for ys in faces.values()) == [1, 2]
    gradient_quality.against_smoothing(axes, found, "bias", SCALES)  # without a reference: nothing


def test_cosines_between_scales(axes):
    cosines = {
        "smooth": estimate([0.9, 0.95]),
        "rough": estimate([0.1, 0.2], Status.AT_NOISE_FLOOR),
    }
    gradient_quality.cosines_between_scales(axes, SCALES[:2], cosines, ratio=4.0)
    lines = [line for line in axes.lines if line.get_label() in cosines]
    np.testing.assert_allclose(lines[1].get_ydata(), [0.1, 0.2])
    assert "4 σ" in axes.get_ylabel()
