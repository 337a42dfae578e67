"""Contact sheets: images in a grid, enlarged pixel by pixel, each over its caption, as PNG or SVG."""

import base64
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, final
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from moldiff.errors import MoldiffError, unknown
from moldiff.files import written

from .pixels import Image

TILE = 96
"""An image is enlarged by a whole factor to at most this many pixels a side; larger ones stay as they are."""

GAP = 8
"""Pixels between two images and around them."""

COLUMNS = 10
"""Images in a row, at most."""

MAX_SIDE = 30_000
"""The longest side of a sheet, in pixels."""

_LINE, _FONT, _GREY = 18, 13, "#333333"


@final
class Layout(NamedTuple):
    """Where the images of a sheet are.

    Args:
        number: of images.
        factor: by which they are enlarged.
        tile: height and width of one, enlarged.
        caption: height of the line below.
    """

    number: int
    factor: int
    tile: tuple[int, int]
    caption: int

    @property
    def columns(self) -> int:
        """Images in a row."""
        return min(COLUMNS, self.number)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the sheet."""
        rows = -(-self.number // self.columns)
        height, width = self.tile
        return rows * (height + self.caption + GAP) + GAP, self.columns * (width + GAP) + GAP

    def corner(self, place: int) -> tuple[int, int]:
        """The top and the left of an image."""
        row, column = divmod(place, self.columns)
        height, width = self.tile
        return GAP + row * (height + self.caption + GAP), GAP + column * (width + GAP)


def sheet(
    images: Sequence[Image],
    captions: Sequence[str],
    path: Path,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Writes images of one shape in a grid, row by row, to a PNG or SVG file.

    Args:
        images: at least one.
        captions: one an image; all empty for none.
        path: where to write; the suffix, .png or .svg, names the format.
        notes: what is written into the file unseen, text by keyword: PNG text chunks, or SVG metadata.

    Raises:
        MoldiffError: nothing to draw, images of several shapes, another suffix, too large a sheet, or a file
            that cannot be written.
    """
    if path.suffix not in FORMATS:
        raise unknown("kind of picture", path.suffix or path.name, FORMATS)
    drawn = render(images, captions, path.suffix, notes)
    with written(path) as part:
        part.write_bytes(drawn)


def render(
    images: Sequence[Image], captions: Sequence[str], suffix: str, notes: Mapping[str, str] | None = None
) -> bytes:
    """What `sheet` writes to a file of a suffix."""
    if not images:
        raise MoldiffError("a picture needs at least one image: got none")
    if len(captions) != len(images):
        raise MoldiffError(f"got {len(images)} images and {len(captions)} captions")
    if len({image.shape for image in images}) > 1:
        raise MoldiffError("a picture needs images of one shape: got several")
    return FORMATS[suffix](images, captions, _layout(images, captions), notes or {})


def _layout(images: Sequence[Image], captions: Sequence[str]) -> Layout:
    height, width = images[0].shape
    factor = max(1, TILE // max(height, width))
    found = Layout(len(images), factor, (height * factor, width * factor), _LINE if any(captions) else 0)
    if max(found.size) > MAX_SIDE:
        got = f"{found.size[0]} x {found.size[1]}"
        raise MoldiffError(f"a picture is at most {MAX_SIDE} pixels a side: got {got}; draw fewer images")
    return found


def enlarged(image: Image, factor: int) -> Image:
    """The image with each pixel as a square of ``factor`` pixels a side."""
    return np.kron(image, np.ones((factor, factor), dtype=np.uint8))


def arranged(images: Sequence[Image], layout: Layout) -> NDArray[np.uint8]:
    """The sheet (H, W) of images without their captions, white between them."""
    whole = np.full(layout.size, 255, dtype=np.uint8)
    height, width = layout.tile
    for number, image in enumerate(images):
        top, left = layout.corner(number)
        whole[top : top + height, left : left + width] = enlarged(image, layout.factor)
    return whole


def _png(images: Sequence[Image], captions: Sequence[str], layout: Layout, notes: Mapping[str, str]) -> bytes:
    """The sheet as a PNG file, the notes as its text chunks."""
    picture = Pillow.fromarray(arranged(images, layout))
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(_FONT)
    for number, caption in enumerate(captions):
        top, left = layout.corner(number)
        middle = (left + layout.tile[1] // 2, top + layout.tile[0] + _LINE // 2)
        pen.text(middle, caption, fill=_GREY, font=font, anchor="mm")
    chunks = PngInfo()
    for keyword, note in notes.items():
        chunks.add_text(keyword, note)
    file = io.BytesIO()
    picture.save(file, format="PNG", pnginfo=chunks)
    return file.getvalue()


def _svg(images: Sequence[Image], captions: Sequence[str], layout: Layout, notes: Mapping[str, str]) -> bytes:
    """The sheet as an SVG file, the captions as text that can be searched, the notes as JSON metadata."""
    height, width = layout.size
    style = f"font-family='sans-serif' font-size='{_FONT}px' fill='{_GREY}' text-anchor='middle'"
    parts = [
        "<?xml version='1.0' encoding='utf-8'?>",
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}'>",
        "<rect width='100%' height='100%' fill='white'/>",
    ]
    for number, (image, caption) in enumerate(zip(images, captions, strict=True)):
        top, left = layout.corner(number)
        x, y = left + layout.tile[1] // 2, top + layout.tile[0] + _LINE // 2 + _FONT // 3
        data = base64.b64encode(_encoded(enlarged(image, layout.factor))).decode("ascii")
        place = f"x='{left}' y='{top}' width='{layout.tile[1]}' height='{layout.tile[0]}'"
        parts.append(f"<image {place} href='data:image/png;base64,{data}'/>")
        parts.append(f"<text x='{x}' y='{y}' {style}>{escape(caption)}</text>")
    # JSON's escapes keep out the control characters that XML has no way to write.
    if notes:
        parts.append(f"<metadata>{escape(json.dumps(dict(notes)))}</metadata>")
    return "\n".join([*parts, "</svg>\n"]).encode()


def _encoded(image: Image) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray(image).save(file, format="PNG")
    return file.getvalue()


Render = Callable[[Sequence[Image], Sequence[str], Layout, Mapping[str, str]], bytes]

FORMATS: dict[str, Render] = {".png": _png, ".svg": _svg}
"""What draws a sheet, by the suffix of its file."""
