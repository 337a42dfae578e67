"""Grey images as a modality: readers, tokenizers, properties, picture and writers."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypedDict, Unpack, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from moldiff.errors import MoldiffError, unknown
from moldiff.types import Given, Kept, Tokenizer, Writer

from .datasets import TokenFile, hold_out
from .digit_features import shipped
from .image_files import ImageSet, read_grey, read_images
from .image_sheets import FORMATS, sheet
from .image_tables import SUFFIXES, read_column, spell, unspelt
from .image_writers import MOST_DRAWN, WRITERS, too_many
from .patches import PatchTokenizer
from .pixels import Image, ImageTokenizer, PixelTokenizer, exact_levels, rms
from .plain import PlainModality, identities

PATCH, CODES = 2, 256
"""The side of a patch and the entries of the codebook where they are not given."""

MIDDLE = 128
"""The grey value from which a pixel of a mask is white."""

SHIFTS = ((-1, 0), (1, 0), (0, -1), (0, 1))
"""Rows down and columns to the right by which copies are shifted."""

LeftOut = Callable[[pd.DataFrame], None]
"""Is told the rows of a source that are left out, in order: line, text, reason, detail."""


class Making(TypedDict, total=False):
    """The options of `Images.prepare` that say how images become tokens."""

    levels: int
    patch: int
    codes: int
    shifts: bool


@final
class Images(PlainModality):
    """Grey images of one shape, such as handwritten digits."""

    name: ClassVar[str] = "images"
    noun: ClassVar[str] = "image"
    properties: ClassVar[tuple[str, ...]] = ("class", "brightness")
    reading: ClassVar[tuple[str, ...]] = ("column", "levels", "patch", "codes", "shifts")
    shown: ClassVar[tuple[str, ...]] = ("class",)
    writers: ClassVar[Mapping[str, Callable[[Path], Writer]]] = WRITERS
    tokenizers: ClassVar[tuple[type[PixelTokenizer | PatchTokenizer], ...]] = (PixelTokenizer, PatchTokenizer)

    def read(self, path: Path, *, column: str | None = None) -> pd.DataFrame:
        """The images of a source in order: line, raw (H, W) and reason, which is never there."""
        found = read_images(path, column)
        columns = {"line": found.lines, "raw": list(found.images), "reason": [None] * len(found)}
        return pd.DataFrame(columns, columns=["line", self.key, "reason"])

    def texts(self, path: Path, *, column: str | None = None) -> pd.DataFrame:
        """The images of a source in order, as a table spells them: line and raw."""
        if path.suffix in SUFFIXES:
            return pd.DataFrame(read_column(path, column), columns=["line", "raw"])
        found = read_images(path, column)
        return pd.DataFrame({"line": found.lines, "raw": [spell(image) for image in found.images]})

    def prepare(
        self,
        path: Path,
        *,
        tokenizer: str = PixelTokenizer.name,
        pad_to: int | None = None,
        heldout: float = 0.05,
        seed: int = 0,
        left_out: LeftOut | None = None,
        column: str | None = None,
        **making: Unpack[Making],
    ) -> TokenFile:
        """A token file of the images of a source, each once, with their classes and brightness.

        Args:
            path: the source; `read_images` says which there are.
            tokenizer: pixels or patches.
            pad_to: refused: images have one length.
            heldout: the share of images kept from training, drawn with ``seed``.
            seed: of that draw, and of the codebook, which the training images make.
            left_out: is told the rows that repeat an image.
            column: the column of a table.
            making: ``levels`` of grey values, for pixels (by default as many as keep every image exactly);
                ``patch`` and ``codes`` of the codebook, for patches; ``shifts`` adds copies of the training
                images shifted by a pixel to each side.
        """
        if pad_to is not None:
            raise MoldiffError(f"pad_to: got {pad_to}, but images have one length; leave it off")
        found = read_images(path, column)
        first, repeats = _distinct(found)
        if left_out is not None:
            left_out(repeats)
        images, classes = found.images[first], found.classes[first]
        held = hold_out(len(images), heldout, seed)
        maker = self._made(tokenizer, images[~held], seed, making)
        lost = rms(maker, images)
        if making.get("shifts", False):
            images, classes, held = _with_shifts(images, classes, held)
        rows = np.array([maker.encode(image) for image in images], dtype=np.uint16)
        return TokenFile(
            rows.ravel(),
            np.full(len(rows), rows.shape[1], dtype=np.int32),
            held,
            identities([spell(image) for image in images]),
            {"class": classes.astype(np.float32), "brightness": _brightness(images).astype(np.float32)},
            {
                "modality": self.name,
                "tokenizer": maker.state(),
                "source": path.name,
                "source_sha256": found.sha256,
                "rejected": {},
                "duplicates": len(repeats),
                "shifted": len(images) - len(first),
                "reconstruction_rms": round(lost, 4),
            },
        )

    def _made(self, name: str, images: NDArray[np.uint8], seed: int, making: Making) -> Any:
        """The tokenizer of a name for images of one shape; MoldiffError for an option of the other."""
        own = {PixelTokenizer.name: ("levels",), PatchTokenizer.name: ("patch", "codes")}
        if name not in own:
            raise unknown("tokenizer", name, own)
        for option in making.keys() - {*own[name], "shifts"}:
            raise MoldiffError(f"{option}: goes with other tokenizers than {name}; leave it off")
        if type(making.get("shifts", False)) is not bool:
            raise MoldiffError(f"shifts: got {making['shifts']!r}, must be true or false")
        if name == PatchTokenizer.name:
            return PatchTokenizer.learn(
                list(images), making.get("patch", PATCH), making.get("codes", CODES), seed
            )
        shape = (int(images[0].shape[0]), int(images[0].shape[1]))
        levels = making.get("levels")
        return PixelTokenizer(exact_levels(images) if levels is None else levels, shape)

    def tokenizer(self, state: dict[str, Any]) -> PixelTokenizer | PatchTokenizer:
        """The tokenizer with a stored state."""
        for each in self.tokenizers:
            if each.name == state.get("name"):
                return each.from_state(state)
        raise unknown("tokenizer", state.get("name"), [each.name for each in self.tokenizers])

    def spell(self, item: Image) -> str:
        return spell(item)

    def reason(self, item: Image) -> str | None:
        """``unfinished`` for a row that has not as many tokens as an image, else None."""
        return None if item.size else "unfinished"

    def measured(self, items: Sequence[Image]) -> dict[str, NDArray[np.float64]]:
        """What the shipped classifier of digits says, NaN of other shapes, and the mean grey, 0 to 255."""
        brightness = np.array([item.mean() for item in items], dtype=np.float64)
        return {"class": shipped().classes(items), "brightness": brightness}

    def kept(self, tokenizer: Tokenizer[Any], given: Given) -> Kept:
        """The tokens of a picture where its mask is black; of patches, those that are black all over.

        Raises:
            MoldiffError: a prompt or an ending, one file of the two alone, or another size than the model's.
        """
        if given.prompt is not None or given.ending is not None:
            raise MoldiffError("prompt: got text, but this model makes images; give a picture and a mask")
        if given.picture is None or given.mask is None:
            missing = "picture" if given.picture is None else "mask"
            raise MoldiffError(f"inpaint: got no {missing}, needs a picture and a mask of the same size")
        assert isinstance(tokenizer, PixelTokenizer | PatchTokenizer)
        picture = _sized(given.picture, "picture", tokenizer)
        drawn = _sized(given.mask, "mask", tokenizer) >= MIDDLE
        if not drawn.any():
            raise MoldiffError(
                f"mask: got {given.mask}, black all over; white is where pixels are drawn anew"
            )
        rows, columns = tokenizer.grid
        tiles = drawn.reshape(rows, drawn.shape[0] // rows, columns, drawn.shape[1] // columns)
        free = tiles.any((1, 3)).ravel()
        ids = tokenizer.encode(picture)
        return Kept(whole=tuple(None if new else token for token, new in zip(ids, free, strict=True)))

    def check_output(self, path: Path, rows: int | None = None) -> None:
        """Refuses a path whose suffix no writer takes, and a sheet of more ``rows`` than it has room for."""
        super().check_output(path, rows)
        if path.suffix == ".png" and rows is not None and rows > MOST_DRAWN:
            raise too_many(str(rows))

    def check_picture(self, path: Path) -> None:
        """Refuses a path whose suffix no picture has."""
        if path.suffix not in FORMATS:
            raise unknown("kind of picture", path.suffix or path.name, FORMATS)

    def picture(
        self, frame: pd.DataFrame, shown: Sequence[str], path: Path, notes: Mapping[str, str] | None = None
    ) -> None:
        """Draws the rows of a table, each over the named properties and what was asked of them."""
        images = [unspelt(cell) for cell in frame["raw"]]
        captions = [_caption(row, shown) for _, row in frame.iterrows()]
        sheet([image for image in images if image is not None], captions, path, notes)


def _sized(path: Path, what: str, tokenizer: ImageTokenizer) -> Image:
    """The image of a file; MoldiffError where it is of another size than the model's."""
    found = read_grey(path)
    if found.shape != tokenizer.shape:
        (height, width), (rows, columns) = found.shape, tokenizer.shape
        raise MoldiffError(
            f"{what}: got {path} of {height} x {width} pixels, the model's are {rows} x {columns}"
        )
    return found


def _distinct(found: ImageSet) -> tuple[NDArray[np.int64], pd.DataFrame]:
    """The first place (M,) of each different image, and a table of the rows that repeat one."""
    first: dict[bytes, int] = {}
    repeats = []
    for place, image in enumerate(found.images):
        earlier = first.setdefault(image.tobytes(), place)
        if earlier != place:
            text = spell(image)
            shown = text if len(text) <= 80 else text[:77] + "..."
            repeats.append((found.lines[place], shown, "repeat", f"of line {found.lines[earlier]}"))
    table = pd.DataFrame(repeats, columns=["line", "text", "reason", "detail"])
    return np.array(list(first.values()), dtype=np.int64), table


def _with_shifts(
    images: NDArray[np.uint8], classes: NDArray[np.float64], held: NDArray[np.bool_]
) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.bool_]]:
    """The images with copies of those that are not held out, shifted by a pixel; none of them twice."""
    train = np.flatnonzero(~held)
    copies = np.concatenate([shifted(images[train], down, right) for down, right in SHIFTS])
    everything, labels = np.concatenate([images, copies]), np.concatenate([classes, *[classes[train]] * 4])
    first = dict[bytes, int]()
    for place, image in enumerate(everything):
        first.setdefault(image.tobytes(), place)
    kept = np.array(list(first.values()))
    return everything[kept], labels[kept], np.concatenate([held, np.zeros(len(copies), dtype=bool)])[kept]


def shifted(images: NDArray[np.uint8], down: int, right: int) -> NDArray[np.uint8]:
    """Images (N, H, W) moved by some pixels, black where they came from."""
    height, width = images.shape[1:]
    padded = np.pad(images, ((0, 0), (abs(down),) * 2, (abs(right),) * 2))
    top, left = abs(down) - down, abs(right) - right
    return padded[:, top : top + height, left : left + width]


def _brightness(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The mean grey value of each image, (N,)."""
    found: NDArray[np.float64] = images.reshape(len(images), -1).mean(1, dtype=np.float64)
    return found


def _caption(row: "pd.Series[Any]", shown: Sequence[str]) -> str:
    """What stands under an image: its properties, and what was asked of them row by row."""
    return ", ".join(f"{name} {_number(row[name])}" + _asked(row, name) for name in shown)


def _asked(row: "pd.Series[Any]", name: str) -> str:
    asked = row.get(f"target_{name}")
    return f" (asked {asked})" if isinstance(asked, str) else ""


def _number(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{value:.3g}"
