"""A picture of molecules in a grid, each over its caption, as PNG or SVG."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from rdkit import Chem
from rdkit.Chem.Draw import rdMolDraw2D

from moldiff.chem.layout import place
from moldiff.chem.molecule import parse
from moldiff.errors import MoldiffError, unknown
from moldiff.files import written

WIDTH, HEIGHT = 260, 220
"""The size of one molecule with its caption, in pixels."""

_CAPTION = 46
"""The height of two lines of caption, in pixels."""

_LINE = 18
"""From one line of a caption to the next, in pixels."""

_FONT = 14
_GREY = "#333333"

_BOND_LENGTH = 30.0
"""The longest a bond is drawn, in pixels, so that small molecules are not blown up."""

_MAX_SIDE = 30_000
"""The longest side of a picture, in pixels; Cairo refuses more than 32,767."""

_LIT = (0.99, 0.85, 0.55)
"""What highlights atoms, as shares of red, green and blue."""

Cell = tuple[Chem.Mol, Sequence[int]]
"""A molecule and the atoms of it that are highlighted."""

Line = tuple[int, int, str]
"""A line of caption: its centre in pixels from the left and the top, and its text."""


def grid(
    smiles: Sequence[str],
    captions: Sequence[str],
    path: Path,
    columns: int = 5,
    notes: Mapping[str, str] | None = None,
    lit: Sequence[Sequence[int]] | None = None,
) -> None:
    """Write a grid of molecules, row by row, to a PNG or SVG file.

    Args:
        smiles: the molecules, at least one.
        captions: one a molecule; a line break starts the second of at most two lines.
        path: where to write; the suffix, .png or .svg, names the format.
        columns: molecules a row, at least 1.
        lit: one a molecule, the atoms that are highlighted, with the bonds between them.
        notes: what is written into the file unseen, text by keyword: PNG text chunks, or SVG metadata.

    Raises:
        MoldiffError: nothing to draw, an unreadable molecule, another suffix, too large a
            picture, or a file that cannot be written.
    """
    render = FORMATS.get(path.suffix.lower())
    if render is None:
        raise unknown("picture format", path.suffix, FORMATS)
    if not smiles:
        raise MoldiffError("a picture needs at least one molecule: got none")
    if len(captions) != len(smiles):
        raise MoldiffError(f"got {len(smiles)} molecules and {len(captions)} captions")
    if columns < 1:
        raise MoldiffError(f"columns must be at least 1: got {columns}")
    columns = min(columns, len(smiles))
    rows = -(-len(smiles) // columns)
    if max(columns * WIDTH, rows * HEIGHT) > _MAX_SIDE:
        size = f"{columns * WIDTH} x {rows * HEIGHT}"
        raise MoldiffError(f"a picture is at most {_MAX_SIDE} pixels a side: got {size}")
    cells = [(prepared(each), atoms) for each, atoms in zip(smiles, lit or [()] * len(smiles), strict=True)]
    drawn = render(cells, _lines(captions, columns), (rows, columns), notes or {})
    with written(path) as part:
        part.write_bytes(drawn)


def _lines(captions: Sequence[str], columns: int) -> list[Line]:
    """The lines of all captions, each at its place."""
    lines = []
    for index, caption in enumerate(captions):
        row, column = divmod(index, columns)
        top = (row + 1) * HEIGHT - _CAPTION + _LINE // 2
        for number, text in enumerate(caption.splitlines()[:2]):
            lines.append((column * WIDTH + WIDTH // 2, top + number * _LINE, text))
    return lines


def prepared(smiles: str) -> Chem.Mol:
    """The molecule ready to be drawn.

    Raises:
        MoldiffError: not valid.
    """
    mol = parse(smiles)
    if mol is None:
        raise MoldiffError(f"cannot draw {smiles!r}: not a valid molecule")
    mol = rdMolDraw2D.PrepareMolForDrawing(mol, addChiralHs=False, wedgeBonds=False)
    place(mol)
    Chem.WedgeMolBonds(mol, mol.GetConformer())
    return mol


def _draw(canvas: Any, cells: list[Cell]) -> Any:
    """What the canvas holds once the molecules stand on it, room for the captions left blank."""
    options = canvas.drawOptions()
    options.setBackgroundColour((1.0, 1.0, 1.0))
    options.prepareMolsBeforeDrawing = False
    options.drawMolsSameScale = False
    options.fixedBondLength = _BOND_LENGTH
    options.padding = 0.06
    options.legendFraction = _CAPTION / HEIGHT
    options.setHighlightColour(_LIT)
    atoms = [list(lit) for _, lit in cells]
    bonds = [_between(mol, lit) for mol, lit in cells]
    mols = [mol for mol, _ in cells]
    canvas.DrawMolecules(mols, legends=[" "] * len(mols), highlightAtoms=atoms, highlightBonds=bonds)
    canvas.FinishDrawing()
    return canvas.GetDrawingText()


def _between(mol: Chem.Mol, atoms: Sequence[int]) -> list[int]:
    """The bonds of a molecule whose two ends are among the atoms."""
    inside = set(atoms)
    ends = ((bond.GetIdx(), {bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()}) for bond in mol.GetBonds())
    return [number for number, both in ends if both <= inside]


def _png(cells: list[Cell], lines: list[Line], size: tuple[int, int], notes: Mapping[str, str]) -> bytes:
    """The grid as a PNG file, the notes as its text chunks."""
    rows, columns = size
    canvas = rdMolDraw2D.MolDraw2DCairo(columns * WIDTH, rows * HEIGHT, WIDTH, HEIGHT)
    image = Image.open(io.BytesIO(_draw(canvas, cells))).convert("RGB")
    # RDKit sets the second line of its own captions onto the first.
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(_FONT)
    for x, y, text in lines:
        pen.text((x, y), text, fill=_GREY, font=font, anchor="mm")
    chunks = PngInfo()
    for keyword, note in notes.items():
        chunks.add_text(keyword, note)
    file = io.BytesIO()
    image.save(file, format="PNG", pnginfo=chunks)
    return file.getvalue()


def _svg(cells: list[Cell], lines: list[Line], size: tuple[int, int], notes: Mapping[str, str]) -> bytes:
    """The grid as an SVG file, the captions as text that can be searched, the notes as JSON metadata."""
    rows, columns = size
    canvas = rdMolDraw2D.MolDraw2DSVG(columns * WIDTH, rows * HEIGHT, WIDTH, HEIGHT)
    style = f"font-family='sans-serif' font-size='{_FONT}px' fill='{_GREY}' text-anchor='middle'"
    captions = "".join(
        f"<text x='{x}' y='{y + _FONT // 3}' {style}>{escape(text)}</text>\n" for x, y, text in lines
    )
    # JSON's escapes keep out the control characters that XML has no way to write.
    metadata = f"<metadata>{escape(json.dumps(dict(notes)))}</metadata>\n" if notes else ""
    head, end, tail = str(_draw(canvas, cells)).rpartition("</svg>")
    return f"{head}{captions}{metadata}{end}{tail}".encode()


FORMATS: dict[str, Callable[[list[Cell], list[Line], tuple[int, int], Mapping[str, str]], bytes]] = {
    ".png": _png,
    ".svg": _svg,
}
