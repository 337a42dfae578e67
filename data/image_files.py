"""Readers of grey images: the bundled digits, idx files, PNGs, arrays, and tables that moldiff wrote."""

import gzip
import hashlib
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import BinaryIO, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from moldiff.errors import MoldiffError, unknown
from moldiff.files import check_source, oddity

from .image_tables import SUFFIXES, read_column, unspelt
from .pixels import MAX_SIDE, Image, round_to

DIGITS = "digits"
"""The name of the images that come with scikit-learn."""

MOST_PIXELS = 1 << 30
"""Pixels of all images of a file together, at most."""

MOST_CLASSES = 10_000
"""A folder that is named with a whole number below this holds images of that class."""

_NO_ARRAY = (
    OSError, ValueError, EOFError, OverflowError, SyntaxError, TypeError, MemoryError, TokenError,
)  # fmt: skip
"""What numpy raises where a file is no array: it reads a header as Python."""

_CHUNK = 1 << 20
_IMAGES_MAGIC, _LABELS_MAGIC = 0x0803, 0x0801
_DEEP = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
"""Pillow's modes of more than 8 bits, which its conversion to grey would cut off instead of scaling."""


@final
@dataclass(frozen=True, eq=False)
class ImageSet:
    """N images of one shape.

    Args:
        images: (N, H, W), N at least 1.
        classes: (N,), NaN where unknown.
        lines: (N,) where each is in its source: the row of an array or the line of a table, from 1.
        sha256: of the file; of the pixels where there is no one file.
    """

    images: NDArray[np.uint8]
    classes: NDArray[np.float64]
    lines: NDArray[np.int64]
    sha256: str

    def __len__(self) -> int:
        """The number of images."""
        return len(self.images)


def read_images(path: Path, column: str | None = None) -> ImageSet:
    """The images of a source, in order.

    ``digits`` are the 8 x 8 digits that come with scikit-learn. An idx file (with ``idx`` in its name, plain
    or .gz) has its classes in the file beside it that says ``labels`` instead of ``images``. A folder has
    PNGs; its sub-folders named with a whole number have PNGs of that class. An .npy file holds uint8 of
    (N, H, W) and a .png one image. A .csv, .jsonl or .parquet table that moldiff wrote has them in its column
    raw.

    Args:
        path: the file, the folder or ``digits``.
        column: the column of a table.

    Raises:
        MoldiffError: no such source, one that cannot be read or holds no image, or images of several shapes.
    """
    if column is not None and path.suffix not in SUFFIXES:
        tables = ", ".join(SUFFIXES)
        raise MoldiffError(f"{path} has no columns: got column={column!r}, which is for {tables}")
    if str(path) == DIGITS:
        return _digits()
    if oddity(path) == "a folder":
        return _folder(path)
    named = "idx" in path.name and path.suffix not in SUFFIXES
    reader = READERS.get(path.suffix.lower(), _idx if named else None)
    if reader is None:
        choices = [DIGITS, "a folder of PNGs", "an idx file", *READERS, *SUFFIXES]
        if path.suffix not in SUFFIXES:
            raise unknown(f"kind of image file for {path.name}", path.suffix, choices)
        check_source(path)
        return _table(path, column)
    check_source(path)
    return reader(path)


def read_grey(path: Path) -> Image:
    """The image of a picture file that Pillow can read, as grey values; transparency counts for nothing.

    Raises:
        MoldiffError: it cannot be read, or is larger than MAX_SIDE a side.
    """
    check_source(path)
    try:
        with Pillow.open(path) as picture:
            if max(picture.size) > MAX_SIDE:
                got = f"{picture.size[1]} x {picture.size[0]}"
                raise MoldiffError(f"cannot read {path}: got {got} pixels, at most {MAX_SIDE} a side")
            if picture.mode in _DEEP:
                return _scaled(np.asarray(picture), path)
            return np.asarray(picture.convert("L"), dtype=np.uint8)
    # Pillow's decoders let through whatever a damaged file leads them to.
    except (OSError, SyntaxError, ValueError, EOFError, Pillow.DecompressionBombError) as error:
        if isinstance(error, MoldiffError):
            raise
        text = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise MoldiffError(f"cannot read {path}: no picture ({text})") from None


def _scaled(values: NDArray[np.generic], path: Path) -> Image:
    """Grey values of 16 bits brought to 8."""
    whole = np.asarray(values)
    if whole.dtype.kind == "f" or whole.min() < 0 or whole.max() > 0xFFFF:
        raise MoldiffError(f"cannot read {path}: got {whole.dtype} pixels, needs 8 or 16 bits")
    return round_to(whole, 0xFFFF, 255).astype(np.uint8)


def _digits() -> ImageSet:
    """The digits that come with scikit-learn, their 17 grey values spread over 0..255."""
    # Deferred: no other source needs it.
    from sklearn.datasets import load_digits

    found = load_digits()
    images = round_to(found.images, 16, 255).astype(np.uint8)
    return _made(images, found.target.astype(np.float64))


def _folder(path: Path) -> ImageSet:
    """The PNGs of a folder and of its sub-folders, by name."""
    files: list[tuple[Path, float]] = []
    try:
        for entry in sorted(path.iterdir()):
            if oddity(entry) == "a folder":
                files += [(each, _class(entry.name)) for each in sorted(entry.iterdir()) if _is_png(each)]
            elif _is_png(entry):
                files.append((entry, math.nan))
    except OSError as error:
        raise MoldiffError(f"cannot read {path}: {error.strerror or error}") from None
    if not files:
        raise MoldiffError(f"no images in {path}: neither it nor its sub-folders hold a .png")
    images: list[Image] = []
    for file, _ in files:
        images.append(read_grey(file))
        _check_alike(images, f"{path}: {file.name}")
        if len(images) * images[0].size > MOST_PIXELS:
            raise MoldiffError(f"{path}: got more than {MOST_PIXELS:,} pixels, use fewer images")
    return _made(np.stack(images), np.array([each for _, each in files]))


def _check_alike(images: Sequence[Image], last: str) -> None:
    """Refuses a last image of another shape than the first; ``last`` is where it is from."""
    if images[-1].shape != images[0].shape:
        first, other = (" x ".join(map(str, each.shape)) for each in (images[0], images[-1]))
        raise MoldiffError(f"{last} has {other} pixels, the first image {first}; use one size")


def _is_png(path: Path) -> bool:
    return path.suffix.lower() == ".png"


def _class(name: str) -> float:
    """The class that the name of a folder says, NaN where it says none."""
    number = name.isascii() and name.isdecimal() and len(name) < len(str(MOST_CLASSES))
    return float(name) if number else math.nan


def _png(path: Path) -> ImageSet:
    image = read_grey(path)
    return _made(image[None], np.array([math.nan]), _sha256(path))


def _npy(path: Path) -> ImageSet:
    try:
        # Mapped, so that a header that promises more than the file has is refused before memory is taken.
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except _NO_ARRAY as error:
        text = str(error).partition("\n")[0] or type(error).__name__
        raise MoldiffError(f"cannot read {path}: not an array of uint8 ({text})") from None
    if not isinstance(found, np.ndarray):
        found.close()
        raise MoldiffError(f"cannot read {path}: it holds several arrays, needs one")
    if found.dtype != np.uint8 or found.ndim != 3:
        shape = " x ".join(map(str, found.shape)) or "one number"
        raise MoldiffError(f"{path}: got {found.dtype} of {shape}, needs uint8 of images x height x width")
    return _made(np.array(found, order="C"), np.full(len(found), math.nan), _sha256(path))


def _idx(path: Path) -> ImageSet:
    """The images of an idx file, with the classes of the file beside it, if it is there."""
    images = _idx_values(path, _IMAGES_MAGIC, 3)
    beside = _labels_beside(path)
    classes = np.full(len(images), math.nan)
    if beside is not None:
        classes = _idx_values(beside, _LABELS_MAGIC, 1).astype(np.float64)
        if len(classes) != len(images):
            raise MoldiffError(
                f"{path}: got {len(images)} images, but {beside.name} has {len(classes)} labels"
            )
    return _made(images, classes, _sha256(path))


def _labels_beside(path: Path) -> Path | None:
    """The file of labels that goes with a file of images, packed or not; None where there is none."""
    name = path.name.replace("images", "labels").replace("idx3", "idx1")
    plain = name.removesuffix(".gz")
    if name == path.name:
        return None
    found = (path.with_name(each) for each in dict.fromkeys([name, plain, plain + ".gz"]))
    return next((each for each in found if each.exists()), None)


def _idx_values(path: Path, magic: int, axes: int) -> NDArray[np.uint8]:
    """What an idx file holds; MoldiffError where it is none, is cut short or goes on too long."""
    check_source(path)
    kind = "images" if axes > 1 else "labels"
    with _opened(path) as file:
        head = file.read(4 + 4 * axes)
        if len(head) < 4 + 4 * axes or int.from_bytes(head[:4], "big") != magic:
            got = (
                f"it begins with {head[:4].hex(' ') or 'nothing'}, needs {magic.to_bytes(4, 'big').hex(' ')}"
            )
            raise MoldiffError(f"cannot read {path}: not an idx file of {kind}, {got}")
        sizes = [int.from_bytes(head[at : at + 4], "big") for at in range(4, len(head), 4)]
        count = math.prod(sizes)
        if count > MOST_PIXELS or (axes > 1 and not all(1 <= side <= MAX_SIDE for side in sizes[1:])):
            got = " x ".join(map(str, sizes))
            raise MoldiffError(f"cannot read {path}: its header promises {got} {kind}, which is out of range")
        data = bytearray()
        # In pieces: the header may promise what the file does not have.
        while len(data) <= count and (part := file.read(min(_CHUNK, count + 1 - len(data)))):
            data += part
        if len(data) != count:
            got = "more" if len(data) > count else f"{len(data):,}"
            raise MoldiffError(f"cannot read {path}: its header promises {count:,} bytes, got {got}; damaged")
    return np.frombuffer(bytes(data), dtype=np.uint8).reshape(sizes)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A file to read, unpacked where its name ends in .gz."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield file  # type: ignore[misc]
    except (EOFError, zlib.error) as error:
        raise MoldiffError(f"cannot read {path}: broken gzip file, {error}") from None
    except OSError as error:
        raise MoldiffError(f"cannot read {path}: {error.strerror or error}") from None


def _table(path: Path, column: str | None) -> ImageSet:
    """The images of a table, all of which have to be readable and of one shape."""
    images: list[Image] = []
    for line, cell in read_column(path, column):
        image = unspelt(cell)
        if image is None:
            raise MoldiffError(f"{path}: row {line} holds no image, needs height x width:base64 of its bytes")
        images.append(image)
        _check_alike(images, f"{path}: row {line}")
    if not images:
        raise MoldiffError(f"no images in {path}: the file holds no row")
    return _made(np.stack(images), np.full(len(images), math.nan), _sha256(path))


def _made(images: NDArray[np.uint8], classes: NDArray[np.float64], sha256: str | None = None) -> ImageSet:
    """The set of images; MoldiffError where there are none or they have no pixels or too many."""
    if not images.size:
        shape = " x ".join(map(str, images.shape))
        raise MoldiffError(f"no images: got {shape} pixels, needs at least one image of one pixel")
    if max(images.shape[1:]) > MAX_SIDE:
        shape = " x ".join(map(str, images.shape[1:]))
        raise MoldiffError(f"images: got {shape} pixels, at most {MAX_SIDE} a side")
    found = sha256 or hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest()
    return ImageSet(images, classes, np.arange(1, len(images) + 1), found)


def _sha256(path: Path) -> str:
    """The hash of a file as it lies on the disk."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


READERS: dict[str, Callable[[Path], ImageSet]] = {".npy": _npy, ".png": _png}
"""What reads a file of each suffix, tables and idx files aside."""
