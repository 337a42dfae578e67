"""Images as tokens, one a patch: the nearest entry of a codebook that k-means has found."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self, final

import numpy as np
from numpy.typing import NDArray

from moldiff.errors import MoldiffError, short
from moldiff.types import Balance

from .pixels import UNFINISHED, Image, check_ids, check_image, check_keys, check_shape

MOST_CODES = 65_536
"""Entries of a codebook at most: a token file numbers tokens with 16 bits."""

MOST_SEEN = 500_000
"""Patches from which a codebook is made, at most; of more, this many are drawn."""

Patches = NDArray[np.uint8]
"""Patches as rows of pixels, (M, patch * patch)."""


@final
@dataclass(frozen=True)
class PatchTokenizer:
    """Square patches, each by the nearest entry of a codebook: discrete codes, as in MaskGIT, by k-means.

    ``decode(encode(image))`` loses what the codebook lacks, and no more when it is done again.

    Args:
        shape: height and width of an image.
        patch: the side of a patch, which divides both.
        codebook: its K entries, one after the other, patch * patch bytes each, each entry once.
    """

    shape: tuple[int, int]
    patch: int
    codebook: bytes

    name: ClassVar[str] = "patches"

    def __post_init__(self) -> None:
        check_patch(self.patch, check_shape(self.shape))
        size = self.patch**2
        count, rest = divmod(len(self.codebook), size)
        if rest or not 1 <= count <= MOST_CODES:
            got = f"{len(self.codebook)} bytes"
            raise MoldiffError(f"codebook: got {got}, needs 1 to {MOST_CODES} times {size} of them")
        if len({self.codebook[at : at + size] for at in range(0, len(self.codebook), size)}) < count:
            raise MoldiffError("codebook: got an entry twice, so that tokens could not be told apart")

    @classmethod
    def learn(cls, images: Sequence[Image], patch: int, codes: int, seed: int = 0) -> Self:
        """The tokenizer whose codebook k-means finds among the patches of images of one shape.

        Entries that no patch of theirs is nearest to are left out, so there may be fewer than ``codes``.
        Where the images have no more different patches than that, these are the codebook.

        Args:
            images: at least one.
            patch: the side of a patch.
            codes: entries wanted, 2 or more.
            seed: of k-means, and of the draw where there are very many patches.

        Raises:
            MoldiffError: a patch that does not divide the images, or numbers out of range.
        """
        shape = check_shape(images[0].shape)
        check_patch(patch, shape)
        if type(codes) is not int or not 2 <= codes <= MOST_CODES:
            raise MoldiffError(f"codes: got {short(repr(codes))}, must be 2 to {MOST_CODES}")
        seen = np.concatenate([_cut(check_image(image, shape), patch) for image in images])
        if len(seen) > MOST_SEEN:
            seen = seen[np.random.default_rng(seed).choice(len(seen), MOST_SEEN, replace=False)]
        distinct, counts = np.unique(seen, axis=0, return_counts=True)
        found = distinct if len(distinct) <= codes else _clustered(distinct, counts, codes, seed)
        used = np.unique(_nearest(distinct, found))
        return cls(shape, patch, found[used].tobytes())

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The tokenizer whose `state()` this is; MoldiffError where it is none."""
        rest = check_keys(state, cls.name, ("shape", "patch", "codebook"))
        try:
            codebook = base64.b64decode(rest["codebook"], validate=True)
        except (TypeError, ValueError, binascii.Error):
            got = short(repr(rest["codebook"]))
            raise MoldiffError(f"codebook: got {got}, which is not base64") from None
        return cls(check_shape(rest["shape"]), rest["patch"], codebook)

    def state(self) -> dict[str, Any]:
        """What `from_state` needs; JSON."""
        codebook = base64.b64encode(self.codebook).decode("ascii")
        return {
            "name": self.name,
            "shape": list(self.shape),
            "patch": self.patch,
            "codebook": codebook,
        }

    @property
    def vocab_size(self) -> int:
        """The entries of the codebook."""
        return len(self._codes)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return (self.shape[0] // self.patch, self.shape[1] // self.patch)

    def balance(self) -> Balance:
        """Nothing: all rows of tokens of the right length are images."""
        return Balance()

    def encode(self, item: Image) -> list[int]:
        """The nearest entry to each patch, row by row; MoldiffError for another shape or type."""
        nearest = _nearest(_cut(check_image(item, self.shape), self.patch), self._codes)
        return [int(entry) for entry in nearest]

    def decode(self, ids: Sequence[int]) -> Image:
        """The image of these entries, `UNFINISHED` where they are too many or too few.

        Raises:
            MoldiffError: an entry that there is not.
        """
        rows, columns = self.grid
        found = self._codes[check_ids(ids, self.vocab_size)]
        if len(found) != rows * columns:
            return UNFINISHED
        tiles = found.reshape(rows, columns, self.patch, self.patch)
        return np.ascontiguousarray(tiles.swapaxes(1, 2)).reshape(self.shape)

    @cached_property
    def _codes(self) -> Patches:
        return np.frombuffer(self.codebook, dtype=np.uint8).reshape(-1, self.patch**2)


def check_patch(patch: Any, shape: tuple[int, int]) -> None:
    """Refuses a side that does not divide an image."""
    if type(patch) is not int or patch < 1 or shape[0] % patch or shape[1] % patch:
        got = short(repr(patch))
        raise MoldiffError(f"patch: got {got}, must divide height and width of {shape[0]} x {shape[1]}")


def _cut(image: Image, patch: int) -> Patches:
    """The patches of an image, row by row."""
    rows, columns = image.shape[0] // patch, image.shape[1] // patch
    tiles = image.reshape(rows, patch, columns, patch).swapaxes(1, 2)
    return tiles.reshape(rows * columns, patch * patch)


def _nearest(patches: Patches, codes: Patches) -> NDArray[np.int64]:
    """The entry (M,) nearest to each patch, the first of those equally near."""
    theirs = codes.astype(np.float64)
    squares = (theirs * theirs).sum(1)
    out = np.empty(len(patches), dtype=np.int64)
    # Whole numbers below 2^53, so exact. In pieces: a table of all distances may be large.
    step = max(1, (1 << 22) // len(codes))
    for first in range(0, len(patches), step):
        part = patches[first : first + step].astype(np.float64)
        out[first : first + step] = (squares - 2 * part @ theirs.T).argmin(1)
    return out


def _clustered(patches: Patches, counts: NDArray[np.int64], codes: int, seed: int) -> Patches:
    """Centres of clusters of patches that occur ``counts`` (M,) times, rounded, each once.

    A patch counts by the root of how often it occurs: by that itself, most centres would go to the empty
    patches of the background, and the error be larger.
    """
    # Deferred: a trained model needs none of it.
    from sklearn.cluster import MiniBatchKMeans

    means = MiniBatchKMeans(codes, random_state=seed, n_init=3, batch_size=4096, max_iter=100)
    centres = means.fit(patches.astype(np.float32), sample_weight=np.sqrt(counts)).cluster_centers_
    return np.unique(np.clip(np.floor(centres + 0.5), 0, 255).astype(np.uint8), axis=0)
