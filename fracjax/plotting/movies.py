"""Films of zooms: PNG folders, GIF and MP4, one picture in memory at a time."""

import contextlib
import functools
import importlib
import itertools
import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, get_args

import matplotlib as mpl
import numpy as np
import xarray
from PIL import Image, ImageDraw, ImageFont

from fracjax.plotting.gif_stream import GifStream

__all__ = ["colour_picture", "write_movie", "zoom_pictures"]

Colours = Literal["equalised", "percentiles"]
_PERCENTILES = (1.0, 99.0)
_FEATHER = 0.06  # of the inner frame's width, over which it fades into the outer one
_MARK = (213, 94, 0)
_MOST_PNG = 10**6


def colour_picture(
    values: np.ndarray, *, colours: Colours = "equalised", colormap: str = "viridis"
) -> np.ndarray:
    """Colour a picture of values, each picture by its own range.

    Args:
        values: (n, m): first axis to the right, second upwards.
        colours: `"equalised"`: a value's place among all values of the picture (its cumulative
            distribution), so that every colour takes the same area: this shows structure at
            every depth, but no sizes. `"percentiles"`: linear from the 1st to the 99th
            percentile.
        colormap: Name of a Matplotlib colour map. Nonfinite values are white.

    Returns:
        (m, n, 3) bytes, the first row on top.

    Raises:
        ValueError: If `colours` is neither.
    """
    return _coloured(_Scale(values, colours)(values), np.isfinite(values), colormap)


class _Scale:
    """From values to shades between 0 and 1, by the range of one picture."""

    def __init__(self, values: np.ndarray, colours: Colours) -> None:
        if colours not in get_args(Colours):
            msg = f"Argument `colours` must be one of {get_args(Colours)}, but is {colours!r}."
            raise ValueError(msg)
        self._colours = colours
        self._sorted = np.sort(values[np.isfinite(values)].astype(float))

    def __call__(self, values: np.ndarray) -> np.ndarray:
        ordered = self._sorted
        if not len(ordered):
            return np.zeros(values.shape)
        if self._colours == "equalised":
            below, upto = (np.searchsorted(ordered, values, side=s) for s in ("left", "right"))
            return (below + upto) / (2 * len(ordered))  # equal values share their middle place
        low, high = np.percentile(ordered, _PERCENTILES)
        if not high > low:
            return np.full(values.shape, 0.5)
        return np.clip((np.where(np.isfinite(values), values, low) - low) / (high - low), 0, 1)


def _coloured(shade: np.ndarray, finite: np.ndarray, colormap: str) -> np.ndarray:
    table = mpl.colormaps[colormap](np.linspace(0, 1, 256), bytes=True)[:, :3]
    picture = table[np.clip(shade * 255.999, 0, 255).astype(int)]
    picture[~finite] = 255
    return np.ascontiguousarray(picture.transpose(1, 0, 2)[::-1])


def zoom_pictures(
    frames: Iterable[xarray.Dataset],
    *,
    size: int = 512,
    between: int = 0,
    colours: Colours = "equalised",
    colormap: str = "viridis",
    label: bool = True,
) -> Iterator[np.ndarray]:
    """Turn frames of a zoom into pictures of one size.

    With pictures `between`, the view narrows evenly in logarithm from frame to frame: the outer
    frame is cropped and enlarged and the inner one laid over its middle with soft edges, while
    the range of colours goes over from one's to the other's. Two frames are kept at a time.

    Args:
        frames: What `fracjax.landscapes.zoom_frames` yields, planes; incomplete frames are
            passed over.
        size: Width of a picture in pixels, made even; the height follows the frame.
        between: Pictures between two frames.
        colours: As in `colour_picture`.
        colormap: As in `colour_picture`.
        label: Whether to write magnification and graph dimension into a corner. A frame whose
            status is not ok is named and framed in red in any case.

    Raises:
        ValueError: If a frame is no plane, or a setting is out of range.
    """
    if size < 16 or between < 0:
        msg = (
            "Arguments `size` and `between` must be at least 16 and 0, but are"
            f" {size} and {between}."
        )
        raise ValueError(msg)
    before: xarray.Dataset | None = None
    for frame in frames:
        if not frame.attrs.get("complete", True):
            continue
        if before is not None:
            yield from _transition(before, frame, size, between, colours, colormap, label)
        picture = _resized(colour_picture(_plane(frame), colours=colours, colormap=colormap), size)
        yield _labelled(picture, frame, float(frame.attrs.get("zoom", 1)), label)
        before = frame


def write_movie(
    frames: Iterable[xarray.Dataset],
    path: Path | str,
    *,
    frames_per_second: float | int = 12,
    size: int = 512,
    between: int = 0,
    colours: Colours = "equalised",
    colormap: str = "viridis",
    label: bool = True,
) -> int:
    """Write a zoom as a film while its frames are made.

    The name decides the format: `.gif` (Pillow), `.mp4` (ffmpeg from the path, or that of
    imageio-ffmpeg, which `pip install 'fracjax[movies]'` brings), no suffix for a folder of
    PNG pictures. Everything is written beside its place, as `name.partial`, and moved there
    when it is whole; what an exception interrupts is removed. Memory does not grow with the
    number of frames.

    Args:
        frames: What `fracjax.landscapes.zoom_frames` yields.
        path: Where to write; an existing file is replaced, an existing folder refused.
        frames_per_second: Pictures per second.
        size: As in `zoom_pictures`.
        between: As in `zoom_pictures`.
        colours: As in `zoom_pictures`.
        colormap: As in `zoom_pictures`.
        label: As in `zoom_pictures`.

    Returns:
        Number of pictures.

    Raises:
        ValueError: If the suffix or a setting is not known, there is no frame, or the folder
            exists.
        ImportError: If there is no ffmpeg for an MP4.
    """
    path = Path(path)
    writers = {".gif": _write_gif, ".mp4": _write_mp4, "": _write_folder}
    if path.suffix.lower() not in writers:
        msg = f"Argument `path` must end in .gif, .mp4 or no suffix, but is {path}."
        raise ValueError(msg)
    if not frames_per_second > 0:
        msg = f"Argument `frames_per_second` must be positive, but is {frames_per_second}."
        raise ValueError(msg)
    write: Callable[[Iterator[np.ndarray], Path, float], int] = writers[path.suffix.lower()]
    if write is _write_mp4:
        _ffmpeg()
    if path.is_dir():
        msg = f"Argument `path` must not be a folder that exists, but {path} is one."
        raise ValueError(msg)
    pictures = zoom_pictures(
        frames, size=size, between=between, colours=colours, colormap=colormap, label=label
    )
    aside = path.with_name(path.name + ".partial")
    _remove(aside)
    try:
        count = write(pictures, aside, float(frames_per_second))
        if count == 0:
            msg = "Argument `frames` must hold at least one complete frame, but has none."
            raise ValueError(msg)
        os.replace(aside, path)
    finally:
        _remove(aside)
    return count


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _write_folder(pictures: Iterator[np.ndarray], folder: Path, _: float) -> int:
    folder.mkdir(parents=True)
    count = 0
    for count, picture in enumerate(pictures, start=1):
        if count > _MOST_PNG:
            msg = f"Argument `frames` must make at most {_MOST_PNG} pictures."
            raise ValueError(msg)
        Image.fromarray(picture).save(folder / f"{count - 1:06d}.png")
    return count


def _write_gif(pictures: Iterator[np.ndarray], path: Path, frames_per_second: float) -> int:
    first = next(pictures, None)
    if first is None:
        return 0
    count = 0
    with path.open("wb") as file:
        stream = GifStream(file, (first.shape[1], first.shape[0]), frames_per_second)
        for picture in itertools.chain((first,), pictures):
            stream.add(picture)
            count += 1
        stream.close()
    return count


def _write_mp4(pictures: Iterator[np.ndarray], path: Path, frames_per_second: float) -> int:
    first = next(pictures, None)
    if first is None:
        return 0
    command = [
        *(_ffmpeg(), "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"),
        *("-s", f"{first.shape[1]}x{first.shape[0]}", "-r", f"{frames_per_second:g}", "-i", "-"),
        # Half the resolution in colour: what players outside of ffmpeg can show.
        *("-an", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4", str(path)),
    ]
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=complaints)
        count = 0
        try:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
                for picture in itertools.chain((first,), pictures):
                    pipe.write(picture.tobytes())
                    count += 1
            code = process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
        if code:
            complaints.seek(0)
            said = complaints.read().decode(errors="replace").strip()
            msg = f"ffmpeg failed with code {code}: {said[-500:]}"
            raise RuntimeError(msg)
    return count


def _ffmpeg() -> str:
    """Where ffmpeg is."""
    found = shutil.which("ffmpeg")
    if found is not None:
        return found
    try:
        return str(importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        msg = "An MP4 needs ffmpeg: `pip install 'fracjax[movies]'`, or put ffmpeg on the path."
        raise ImportError(msg) from error


def _plane(frame: xarray.Dataset) -> np.ndarray:
    values = frame["value"].values
    if values.ndim != 2:
        msg = f"Argument `frames` must hold planes of one output, but has shape {values.shape}."
        raise ValueError(msg)
    return values


def _resized(picture: np.ndarray, size: int) -> Image.Image:
    width = size + size % 2
    height = max(2 * round(width * picture.shape[0] / picture.shape[1] / 2), 2)
    smaller = width < picture.shape[1]
    kind = Image.Resampling.BOX if smaller else Image.Resampling.NEAREST
    return Image.fromarray(picture).resize((width, height), kind)


def _transition(
    outer: xarray.Dataset,
    inner: xarray.Dataset,
    size: int,
    between: int,
    colours: Colours,
    colormap: str,
    label: bool,
) -> Iterator[np.ndarray]:
    """Views between two nested frames."""
    pictures = _plane(outer), _plane(inner)
    scales = [_Scale(values, colours) for values in pictures]
    shades = [[scale(values) for scale in scales] for values in pictures]
    start = float(outer.attrs.get("zoom", 1))
    factor = float(inner.attrs.get("zoom", 1)) / start
    for index in range(between):
        share = (index + 1) / (between + 1)
        both = [
            _resized(
                _coloured((1 - share) * one + share * other, np.isfinite(values), colormap), size
            )
            for (one, other), values in zip(shades, pictures, strict=True)
        ]
        yield _labelled(_nested(both, factor, share), outer, start * factor**share, label)


def _nested(pictures: list[Image.Image], factor: float, share: float) -> Image.Image:
    """Lay the inner frame into the outer one, seen `share` of the way in."""
    outer, inner = pictures
    width, height = outer.size
    view = factor**share  # how much narrower than the outer frame
    box = (
        width / 2 * (1 - 1 / view),
        height / 2 * (1 - 1 / view),
        width / 2 * (1 + 1 / view),
        height / 2 * (1 + 1 / view),
    )
    picture = outer.resize(outer.size, Image.Resampling.BILINEAR, box=box)
    covered = [max(1, round(side * view / factor)) for side in outer.size]
    small = inner.resize((covered[0], covered[1]), Image.Resampling.BOX)
    mask = Image.fromarray((255 * _soft_edges(covered)).astype(np.uint8))
    picture.paste(small, ((width - covered[0]) // 2, (height - covered[1]) // 2), mask)
    return picture


def _soft_edges(size: list[int]) -> np.ndarray:
    ramps = []
    for side in size:
        place = (np.arange(side) + 0.5) / side
        ramps.append(np.clip(np.minimum(place, 1 - place) / _FEATHER, 0, 1))
    return ramps[1][:, None] * ramps[0]


@functools.lru_cache(maxsize=8)
def _font(height: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(
        Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", height
    )


def _labelled(picture: Image.Image, frame: xarray.Dataset, zoom: float, label: bool) -> np.ndarray:
    """Write into the corner what is shown, and frame what cannot be trusted."""
    status = frame.attrs.get("status", "ok")
    words = []
    if label:
        words.append(f"×{zoom:.3g}")
        dimension = frame.attrs.get("graph_dimension", math.nan)
        measured = frame.attrs.get("graph_dimension_status") == "ok" and status == "ok"
        if math.isfinite(dimension) and measured:
            words.append(f"D = {dimension:.2f} ± {frame.attrs['graph_dimension_stderr']:.2f}")
    if status != "ok":
        words.append(status.replace("_", " "))
    draw = ImageDraw.Draw(picture)
    if words:
        height = max(9, picture.size[0] // 36)
        place, text = (height // 2, height // 2), "   ".join(words)
        box = draw.textbbox(place, text, font=_font(height))
        draw.rectangle([box[0] - 3, box[1] - 3, box[2] + 3, box[3] + 3], fill=(0, 0, 0))
        draw.text(place, text, fill=(255, 255, 255), font=_font(height))
    if status != "ok":
        edge = (0, 0, picture.size[0] - 1, picture.size[1] - 1)
        draw.rectangle(edge, outline=_MARK, width=max(2, picture.size[0] // 128))
    return np.asarray(picture)
