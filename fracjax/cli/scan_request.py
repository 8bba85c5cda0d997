"""What `fracjax scan` was asked for: checked, kept beside the values, read again by --resume."""

import dataclasses
import json
import math
import os
import types
from pathlib import Path
from typing import Any, get_args

from fracjax import safe_files
from fracjax.cli.policies import digest
from fracjax.cli.runtime import parse_dtype

__all__ = [
    "REQUEST_FILE",
    "ScanRequest",
    "parse_grid",
    "parse_point",
    "resolved_plane",
]

REQUEST_FILE = "scan.json"
_FORMAT = 3
_MAX_STEPS = 1_000_000
_MAX_POINTS = 100_000_000
_MAX_AXES = 6
_FEWEST_ADAPTIVE = 64
_MAX_FRAMES = 60
_MEASURES = ("returns", "exponents")
_FILMS = ("gif", "mp4")
# Planes, and what follows a colon: nothing, one file or folder, or one or two files.
_PLANES = {
    "random": 0,
    "filter": 0,
    "orthonormal": 0,
    "gradient": 0,
    "hessian": 0,
    "path": 1,
    "file": 1,
    "through": 2,
}


@dataclasses.dataclass(frozen=True)
class ScanRequest:
    """What decides the numbers of a scan.

    Attributes:
        environment: Name of the environment.
        backend: Physics backend.
        policy: File, or a name such as `trained`.
        policy_digest: Fingerprint of the file.
        activation: Of a torch policy whose file does not say.
        squash: Likewise, how it ends.
        statistics: File by which its observations were normalised.
        statistics_digest: Fingerprint of that file.
        action_bounds: Box of its actions.
        plane: Kind of directions, with `:FILE` where they come from files.
        plane_digests: Fingerprints of these files.
        measure: `returns` or `exponents`.
        grid: Points along each direction.
        span: Half the width.
        gamma: Discount factors.
        horizon: Steps of a return.
        return_states: Initial states that a return averages over.
        replicates: Evaluations of every point with independent noise.
        stochastic: Whether the policy acts at random.
        dtype: Precision.
        seed: Of everything random.
        adaptive: Evaluate so many points where interpolation fails, instead of all.
        zoom: Zoom in by so many frames, each half as wide, instead of scanning.
        zoom_at: Where to; the roughest point if not given.
        film: Format of the zoom's film.
    """

    environment: str
    backend: str | None
    policy: str | None
    policy_digest: str | None
    activation: str | None
    squash: str | None
    statistics: str | None
    statistics_digest: str | None
    action_bounds: tuple[float, float] | None
    plane: str
    plane_digests: tuple[str, ...]
    measure: str
    grid: tuple[int, ...]
    span: float
    gamma: tuple[float, ...]
    horizon: int
    return_states: int
    replicates: int
    stochastic: bool
    dtype: str
    seed: int
    adaptive: int | None
    zoom: int | None
    zoom_at: tuple[float, ...] | None
    film: str

    @property
    def plane_kind(self) -> str:
        """Kind of directions, without the files."""
        return _split_plane(self.plane)[0]

    @property
    def plane_files(self) -> tuple[str, ...]:
        """Files that the directions come from."""
        return _split_plane(self.plane)[1]

    @property
    def num_points(self) -> int:
        """Points of the grid."""
        return math.prod(self.grid)

    def document(self) -> dict[str, Any]:
        """The request in JSON's types."""
        return dict(json.loads(json.dumps(dataclasses.asdict(self))))

    def check(self) -> None:
        """Refuse what cannot work before anything is imported, compiled or written.

        Raises:
            ValueError: If a setting is out of range or two do not go together.
        """
        parse_dtype(self.dtype)
        kind, files = _split_plane(self.plane)
        if kind not in _PLANES:
            msg = f"--plane must be one of {', '.join(_PLANES)}, but is {kind!r}."
            raise ValueError(msg)
        if not min(_PLANES[kind], 1) <= len(files) <= _PLANES[kind]:
            wanted = {0: "no file", 1: f"{kind}:FILE", 2: f"{kind}:FILE or {kind}:FILE,FILE"}
            msg = f"--plane {kind} takes {wanted[_PLANES[kind]]}, but is {self.plane!r}."
            raise ValueError(msg)
        if self.measure not in _MEASURES:
            msg = f"--measure must be one of {', '.join(_MEASURES)}, but is {self.measure!r}."
            raise ValueError(msg)
        if min(self.grid, default=0) < 2 or self.num_points > _MAX_POINTS:
            msg = (
                "--grid must have at least 2 points along every direction, and at most"
                f" {_MAX_POINTS:,}, but is {'x'.join(map(str, self.grid))}."
            )
            raise ValueError(msg)
        if len(self.grid) > _MAX_AXES:
            msg = f"--grid must have at most {_MAX_AXES} directions, but has {len(self.grid)}."
            raise ValueError(msg)
        allowed = {"gradient": (1, 2), "through": (len(files),), "path": (1, 2, 3)}.get(kind)
        if allowed and len(self.grid) not in allowed:
            msg = (
                f"--plane {self.plane} takes a --grid of {' or '.join(map(str, allowed))}"
                f" directions, but it has {len(self.grid)}."
            )
            raise ValueError(msg)
        if not 0 < self.span < 1e6:
            msg = f"--span must be positive, but is {self.span}."
            raise ValueError(msg)
        if not self.gamma or not all(0 < gamma <= 1 for gamma in self.gamma):
            msg = f"--gamma must lie inside (0, 1], but is {list(self.gamma)}."
            raise ValueError(msg)
        bounds = {
            "horizon": (1, _MAX_STEPS),
            "return_states": (1, 4096),
            "replicates": (1, 4096),
            "seed": (0, 2**32 - 1),
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if not low <= value <= high:
                option = name.replace("_", "-")
                msg = f"--{option} must lie between {low} and {high}, but is {value}."
                raise ValueError(msg)
        if self.measure == "exponents" and (self.stochastic or self.replicates > 1):
            msg = "--measure exponents is of the deterministic policy: leave --stochastic out."
            raise ValueError(msg)
        if self.measure == "exponents" and not all(gamma < 1 for gamma in self.gamma):
            msg = "--measure exponents needs --gamma below 1."
            raise ValueError(msg)
        if self.replicates > 1 and not self.stochastic:
            msg = "--replicates needs --stochastic: without noise all replicates are equal."
            raise ValueError(msg)

        self._check_pictures()

    def _check_pictures(self) -> None:
        """Refuse adaptive scans and zooms that cannot be made."""
        if self.film not in _FILMS:
            msg = f"--film must be one of {', '.join(_FILMS)}, but is {self.film!r}."
            raise ValueError(msg)
        if self.zoom_at is not None and self.zoom is None:
            msg = "--zoom-at needs --zoom FRAMES."
            raise ValueError(msg)
        if self.adaptive is None and self.zoom is None:
            return
        option = "--zoom" if self.adaptive is None else "--adaptive"
        if self.adaptive is not None and self.zoom is not None:
            msg = "give --adaptive or --zoom, not both."
            raise ValueError(msg)
        if len(self.gamma) > 1 or self.measure != "returns" or self.replicates > 1:
            msg = f"{option} takes one --gamma, and neither --measure exponents nor --replicates."
            raise ValueError(msg)
        if len(self.grid) > 2:
            msg = f"{option} takes a line or a plane, but --grid has {len(self.grid)} directions."
            raise ValueError(msg)
        if self.adaptive is not None and self.adaptive < _FEWEST_ADAPTIVE:
            msg = f"--adaptive must be at least {_FEWEST_ADAPTIVE}, but is {self.adaptive}."
            raise ValueError(msg)
        if self.zoom is not None and not 1 <= self.zoom <= _MAX_FRAMES:
            msg = f"--zoom must lie between 1 and {_MAX_FRAMES}, but is {self.zoom}."
            raise ValueError(msg)
        if self.zoom is not None and (len(set(self.grid)) > 1 or self.grid[0] < 33):
            msg = "--zoom takes a --grid with as many points along both directions, at least 33."
            raise ValueError(msg)
        if self.zoom_at is not None and (
            len(self.zoom_at) != len(self.grid) or not all(map(math.isfinite, self.zoom_at))
        ):
            msg = f"--zoom-at must be {len(self.grid)} coordinates, as 0.01,-0.02."
            raise ValueError(msg)

    def check_files(self, folder: Path) -> None:
        """Make sure that the files are those that the scan began with.

        Raises:
            ValueError: If one has changed.
        """
        now = {self.policy: self.policy_digest, self.statistics: self.statistics_digest}
        now.update(zip(self.plane_files, self.plane_digests, strict=False))
        for path, expected in now.items():
            if digest(path) != expected:
                msg = f"{path} is not the file that the scan in {folder} began with."
                raise ValueError(msg)

    @classmethod
    def read(cls, folder: Path) -> "ScanRequest":
        """Read what a scan was asked for; the file is not trusted to be well formed.

        Raises:
            ValueError: If there is none, or it does not describe a scan.
        """
        path = folder / REQUEST_FILE
        strange = f"{path} does not describe a scan of this version of fracjax."
        try:
            document = safe_files.read_json(path)
            if document["format"] != _FORMAT:
                raise ValueError(strange)
            fields = dict(document["request"])
            for name in ("grid", "gamma", "plane_digests", "zoom_at", "action_bounds"):
                if fields[name] is not None:
                    fields[name] = tuple(fields[name])
            request = cls(**fields)
        except (FileNotFoundError, NotADirectoryError):
            msg = f"{folder} holds no scan to resume ({REQUEST_FILE} is missing)."
            raise ValueError(msg) from None
        except (KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError):
            raise ValueError(strange) from None
        if not all(_fits(getattr(request, f.name), f.type) for f in dataclasses.fields(cls)):
            raise ValueError(strange)
        return request

    def check_folder(self, folder: Path) -> None:
        """Refuse the folder of another scan, or of anything else.

        Raises:
            ValueError: If the folder holds something else.
        """
        path = folder / REQUEST_FILE
        if path.exists():
            found, wanted = ScanRequest.read(folder).document(), self.document()
            differing = [
                f"{name}: {found[name]} there, {wanted[name]} now"
                for name in wanted
                if found[name] != wanted[name]
            ]
            if differing:
                msg = f"{folder} holds another scan ({'; '.join(differing)}); choose another --out."
                raise ValueError(msg)
            return
        beside = _beside(path)
        if folder.exists() and (
            not folder.is_dir() or any(entry.name != beside.name for entry in folder.iterdir())
        ):
            msg = f"{folder} holds something that is no scan; choose another --out."
            raise ValueError(msg)

    def write(self, folder: Path, **beside: Any) -> None:
        """Say what the folder is for; another scan's is left alone.

        Args:
            folder: Of the scan.
            **beside: JSON values to keep in the same file, instead of those that are there; they
                make no other scan of it.

        Raises:
            ValueError: If the folder holds something else.
        """
        self.check_folder(folder)
        path = folder / REQUEST_FILE
        if path.exists() and not beside:
            return
        partial = _beside(path)
        folder.mkdir(parents=True, exist_ok=True)
        document = {"format": _FORMAT, "request": self.document(), **beside}
        try:
            partial.write_text(json.dumps(document, indent=1) + "\n")
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    """Where a request is written first; may be there, of a process that was killed."""
    return path.with_suffix(".partial")


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value read from JSON has a field's type."""
    if isinstance(kind, types.UnionType):
        return any(_fits(value, option) for option in get_args(kind))
    if get_args(kind):
        items = get_args(kind)
        if items[-1] is not Ellipsis and isinstance(value, tuple) and len(value) != len(items):
            return False
        return isinstance(value, tuple) and all(_fits(part, items[0]) for part in value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is kind if kind is not types.NoneType else value is None


def _split_plane(plane: str) -> tuple[str, tuple[str, ...]]:
    """Kind of a `--plane`, and its files."""
    kind, _, files = plane.partition(":")
    return kind, tuple(part for part in files.split(",") if part)


def resolved_plane(plane: str) -> tuple[str, tuple[str, ...]]:
    """A `--plane` with absolute paths, and fingerprints of its files.

    Raises:
        ValueError: If a file is missing.
    """
    kind, files = _split_plane(plane)
    missing = [file for file in files if not Path(file).exists()]
    if missing:
        msg = f"--plane {plane}: there is no {missing[0]}."
        raise ValueError(msg)
    paths = [str(Path(file).resolve()) for file in files]
    digests = tuple(str(digest(path)) for path in paths)
    return (f"{kind}:{','.join(paths)}" if paths else plane), digests


def parse_grid(text: str) -> tuple[int, ...]:
    """Parse a `--grid`.

    Raises:
        ValueError: If it does not look like one.
    """
    parts = text.lower().split("x")
    if not all(part.isdecimal() and len(part) < 12 for part in parts):
        msg = (
            f"--grid must look like 301x301, 301 for a line or 31x31x31 for a box, but is {text!r}."
        )
        raise ValueError(msg)
    return tuple(int(part) for part in parts)


def parse_point(text: str | None) -> tuple[float, ...] | None:
    """Parse a `--zoom-at`.

    Raises:
        ValueError: If it does not look like one.
    """
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        msg = f"--zoom-at must look like 0.01,-0.02, but is {text!r}."
        raise ValueError(msg) from None
