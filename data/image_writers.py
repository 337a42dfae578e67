"""Writers of tables of images, by the suffix of the file: each takes a table in pieces."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
from numpy.lib import format as npy

from moldiff.errors import MoldiffError
from moldiff.types import Writer

from .image_sheets import render
from .image_tables import unspelt
from .pixels import Image
from .tables import TABLES

MOST_DRAWN = 1024
"""Images on a sheet, at most."""


def too_many(got: str) -> MoldiffError:
    """The error for ``got`` images on a sheet."""
    return MoldiffError(f"a .png takes {MOST_DRAWN} images at most: got {got}, write an .npy file")


@final
class _Npy:
    """The valid images as one array of uint8, (N, H, W)."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._count, self._shape = 0, (0, 0)

    def append(self, frame: pd.DataFrame) -> None:
        for image in _images(frame):
            if not self._count:
                self._shape = (image.shape[0], image.shape[1])
                self._head()
            if image.shape != self._shape:
                raise MoldiffError(
                    f"image: got {image.shape} beside {self._shape}, an .npy file has one shape"
                )
            self._file.write(image.tobytes())
            self._count += 1

    def close(self) -> None:
        # Nothing moves: numpy leaves room in the header for the first axis to grow.
        self._file.seek(0)
        self._head()
        self._file.close()

    def _head(self) -> None:
        """Writes how many images there are so far, and of which shape."""
        facts: dict[str, Any] = {
            "descr": npy.dtype_to_descr(np.dtype(np.uint8)),
            "fortran_order": False,
            "shape": (self._count, *self._shape),
        }
        npy.write_array_header_1_0(self._file, facts)


@final
class _Png:
    """The valid images on one sheet, without captions; none of them are one white pixel."""

    def __init__(self, path: Path) -> None:
        self._path, self._held = path, list[Image]()
        path.touch()

    def append(self, frame: pd.DataFrame) -> None:
        if len(self._held) + len(frame) > MOST_DRAWN:
            raise too_many("more")
        self._held += _images(frame)

    def close(self) -> None:
        held = self._held or [np.full((1, 1), 255, dtype=np.uint8)]
        self._path.write_bytes(render(held, [""] * len(held), ".png"))


def _images(frame: pd.DataFrame) -> Iterator[Image]:
    """The valid images of a table, in order."""
    for cell in frame.loc[frame["valid"], "raw"]:
        image = unspelt(cell)
        assert image is not None
        yield image


WRITERS: dict[str, Callable[[Path], Writer]] = {".npy": _Npy, ".png": _Png, **TABLES}
"""What opens a file of each suffix."""
