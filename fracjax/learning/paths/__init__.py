"""Paths of parameters: recorded from any training loop, kept on disk, read while they grow."""

from fracjax.learning.paths.buffers import PathBuffer, path_buffer
from fracjax.learning.paths.callbacks import brax_callbacks
from fracjax.learning.paths.projections import Projection
from fracjax.learning.paths.reading import Path, buffered_path, load_path, path_in_memory
from fracjax.learning.paths.recorders import Recorder, open_recorder
from fracjax.learning.paths.series import Series, load_series, open_series

__all__ = [
    "Path",
    "PathBuffer",
    "Projection",
    "Recorder",
    "Series",
    "brax_callbacks",
    "buffered_path",
    "load_path",
    "load_series",
    "open_recorder",
    "open_series",
    "path_buffer",
    "path_in_memory",
]
