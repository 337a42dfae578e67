"""Images as tokens, one a pixel: grey values rounded to a few levels."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self, final

import numpy as np
from numpy.typing import NDArray

from moldiff.errors import MoldiffError, short
from moldiff.types import Balance

Image = NDArray[np.uint8]
"""A grey image, (H, W), from 0, black, to 255."""

UNFINISHED = np.zeros((0, 0), dtype=np.uint8)
"""What a row of too many or too few tokens spells, as a model may write that ends rows by itself."""

MOST_LEVELS = 256
"""The grey values that there are."""

MAX_SIDE = 4096
"""Pixels of a side of an image, at most."""


class ImageTokenizer(Protocol):
    """A map between images of one shape and rows of tokens that form a grid."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of an image."""
        ...

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the tokens of an image."""
        ...

    def encode(self, item: Image) -> list[int]:
        """The tokens of an image, row by row."""
        ...

    def decode(self, ids: Sequence[int]) -> Image:
        """The image that tokens spell."""
        ...


def round_to(values: NDArray[Any], steps: int, new: int) -> NDArray[np.int64]:
    """Whole numbers of 0..steps brought to 0..new, rounded to the nearest, halves up."""
    return (np.asarray(values).astype(np.int64) * (2 * new) + steps) // (2 * steps)


def rms(tokenizer: ImageTokenizer, images: Iterable[Image]) -> float:
    """The root of the mean square of what is lost by encoding images, in grey values of 0..255."""
    squares, pixels = 0, 0
    for image in images:
        lost = image.astype(np.int64) - tokenizer.decode(tokenizer.encode(image))
        squares, pixels = squares + int((lost * lost).sum()), pixels + lost.size
    return float(np.sqrt(squares / pixels)) if pixels else 0.0


def check_shape(shape: Any) -> tuple[int, int]:
    """Height and width; MoldiffError where these are not two whole numbers of 1..MAX_SIDE."""
    pair = tuple(shape) if isinstance(shape, list | tuple) else ()
    if len(pair) != 2 or any(type(side) is not int or not 1 <= side <= MAX_SIDE for side in pair):
        got = short(repr(shape))
        raise MoldiffError(f"shape: got {got}, needs height and width, each 1 to {MAX_SIDE}")
    return (pair[0], pair[1])


def check_image(item: Any, shape: tuple[int, int]) -> Image:
    """The image; MoldiffError where it is not one of that shape."""
    if not isinstance(item, np.ndarray) or item.dtype != np.uint8:
        got = item.dtype if isinstance(item, np.ndarray) else type(item).__name__
        raise MoldiffError(f"image: got {got}, needs an array of uint8")
    if item.shape != shape:
        got = " x ".join(map(str, item.shape)) or "one number"
        raise MoldiffError(f"image: got {got} pixels, needs {shape[0]} x {shape[1]}")
    return item


def check_ids(ids: Sequence[int], vocab_size: int) -> NDArray[np.int64]:
    """Tokens as an array; MoldiffError where one is unknown."""
    found = np.asarray(ids, dtype=np.int64)
    if len(found) and (found.min() < 0 or found.max() >= vocab_size):
        raise MoldiffError(f"tokens: got {found.min()} to {found.max()}, needs 0 to {vocab_size - 1}")
    return found


def check_keys(state: Any, name: str, keys: Sequence[str]) -> dict[str, Any]:
    """A tokenizer's state without its name; MoldiffError for other keys than it has."""
    rest = {key: value for key, value in dict(state).items() if key != "name"}
    if set(rest) != set(keys) or state.get("name", name) != name:
        got = short(str(sorted(map(str, state))))
        raise MoldiffError(f"the state of {name} has the keys {' and '.join(keys)}: got {got}")
    return rest


@final
@dataclass(frozen=True)
class PixelTokenizer:
    """Grey values rounded to levels that are evenly spaced, 0 and 255 among them; a token a pixel.

    ``encode(decode(ids)) == ids`` for all ids; with 256 levels ``decode(encode(image))`` is the image.

    Args:
        levels: how many, 2 to 256.
        shape: height and width.
    """

    levels: int
    shape: tuple[int, int]

    name: ClassVar[str] = "pixels"

    def __post_init__(self) -> None:
        if type(self.levels) is not int or not 2 <= self.levels <= MOST_LEVELS:
            raise MoldiffError(f"levels: got {short(repr(self.levels))}, must be 2 to {MOST_LEVELS}")
        check_shape(self.shape)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The tokenizer whose `state()` this is; MoldiffError where it is none."""
        rest = check_keys(state, cls.name, ("levels", "shape"))
        return cls(rest["levels"], check_shape(rest["shape"]))

    def state(self) -> dict[str, Any]:
        """What `from_state` needs; JSON."""
        return {"name": self.name, "levels": self.levels, "shape": list(self.shape)}

    @property
    def vocab_size(self) -> int:
        """The number of levels."""
        return self.levels

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens: those of pixels."""
        return self.shape

    def balance(self) -> Balance:
        """Nothing: all rows of tokens of the right length are images."""
        return Balance()

    def encode(self, item: Image) -> list[int]:
        """The level of each pixel, row by row; MoldiffError for another shape or type."""
        found = round_to(check_image(item, self.shape), MOST_LEVELS - 1, self.levels - 1)
        return [int(level) for level in found.ravel()]

    def decode(self, ids: Sequence[int]) -> Image:
        """The image whose pixels have these levels, `UNFINISHED` where they are too many or too few.

        Raises:
            MoldiffError: a level that there is not.
        """
        found = check_ids(ids, self.levels)
        if len(found) != self.shape[0] * self.shape[1]:
            return UNFINISHED
        return round_to(found, self.levels - 1, MOST_LEVELS - 1).astype(np.uint8).reshape(self.shape)


def exact_levels(images: Iterable[Image]) -> int:
    """The fewest levels with which no pixel of the images changes."""
    present = np.zeros(MOST_LEVELS, dtype=bool)
    for image in images:
        present[image] = True
    values = np.flatnonzero(present)
    for levels in range(2, MOST_LEVELS):
        ids = round_to(values, MOST_LEVELS - 1, levels - 1)
        if (round_to(ids, levels - 1, MOST_LEVELS - 1) == values).all():
            return levels
    return MOST_LEVELS
