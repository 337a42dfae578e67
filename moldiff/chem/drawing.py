"""A molecule as an element of a page, which the page's own style colours."""

import re
from functools import lru_cache

from rdkit.Chem.Draw import rdMolDraw2D

from moldiff.chem.picture import prepared

_BOND = 0.14
"""The longest a bond is drawn, as a share of the width, so that small molecules are not blown up."""

_PATH = re.compile(r"<path (?:class='[^']*' )?d='([^']*)' (?:style|fill)='([^']*)'")
"""One path of RDKit's SVG: its outline, and its style or, for a letter, its colour alone."""

_STEP = re.compile(r"([MLQCZ])([^MLQCZ]*)")
_NUMBER = re.compile(r"-?[0-9.]+")

_COLOURS = {
    "#0000FF": "N",
    "#FF0000": "O",
    "#33CCCC": "F",
    "#FF7F00": "P",
    "#CCCC00": "S",
    "#00CC00": "Cl",
    "#7F4C19": "Br",
    "#A01EEF": "I",
}
"""The element that RDKit paints in a colour; the others are black."""


@lru_cache(maxsize=1024)
def inline(smiles: str, width: int, height: int) -> str:
    """The molecule as an ``svg`` element without a fixed size, to be styled by the page it stands in.

    Its paths have the class ``line``, with ``thin`` or ``dashed`` where they are so, or ``solid`` where
    filled, and the element's symbol where they have its colour. A unit is a tenth of a pixel. What the
    drawing shows is for the page to say: the element is hidden from screen readers.

    Args:
        smiles: the molecule.
        width: in pixels, where it is shown unscaled.
        height: likewise.

    Raises:
        MoldiffError: not a valid molecule.
    """
    canvas = rdMolDraw2D.MolDraw2DSVG(width, height)
    options = canvas.drawOptions()
    options.clearBackground = False
    options.prepareMolsBeforeDrawing = False
    options.fixedBondLength = _BOND * width
    options.padding = 0.06
    canvas.DrawMolecule(prepared(smiles))
    canvas.FinishDrawing()
    # RDKit writes a path with its whole style for every half of a bond: those that look alike are joined.
    outlines: dict[str, str] = {}
    for outline, style in _PATH.findall(canvas.GetDrawingText()):
        kind = _kind(style)
        outlines[kind] = outlines.get(kind, "") + _short(outline)
    paths = "".join(f'<path class="{kind}" d="{outline}"/>' for kind, outline in outlines.items())
    return f'<svg class="mol" viewBox="0 0 {10 * width} {10 * height}" aria-hidden="true">{paths}</svg>'


def _kind(style: str) -> str:
    """The classes of a path of that style."""
    colour = re.search(r"#[0-9A-F]{6}", style)
    element = _COLOURS.get(colour[0], "") if colour else ""
    if not style.startswith("fill:none"):
        return f"solid {element}".rstrip()
    thin = " thin" if "stroke-width:1.0px" in style else ""
    dashed = " dashed" if "dasharray" in style else ""
    return f"line{thin}{dashed} {element}".rstrip()


def _short(outline: str) -> str:
    """The same outline in fewer characters: in steps, and in whole tenths of a pixel."""
    parts, here = [], (0, 0)
    for command, text in _STEP.findall(outline):
        numbers = [round(10 * float(number)) for number in _NUMBER.findall(text)]
        if command != "M":
            origin = here * (len(numbers) // 2)
            parts.append(command.lower() + _spaced([n - o for n, o in zip(numbers, origin, strict=True)]))
        else:
            parts.append(command + _spaced(numbers))
        here = (numbers[-2], numbers[-1]) if numbers else here
    return "".join(parts)


def _spaced(numbers: list[int]) -> str:
    """The numbers as text, with a space where a sign does not part them."""
    return "".join(f" {number}" if number >= 0 else str(number) for number in numbers).lstrip()
