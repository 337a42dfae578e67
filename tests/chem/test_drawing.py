"""Drawings that stand inside a page: the outlines that RDKit draws, in classes instead of styles."""

import re
from xml.etree import ElementTree

import pytest
from rdkit.Chem.Draw import rdMolDraw2D

from moldiff.chem.drawing import inline
from moldiff.chem.picture import prepared
from moldiff.errors import MoldiffError

WIDTH, HEIGHT = 200, 150


def parts(smiles: str) -> dict[str, str]:
    """The outline of each class of a drawing."""
    root = ElementTree.fromstring(inline(smiles, WIDTH, HEIGHT))
    assert root.attrib == {
        "class": "mol",
        "viewBox": f"0 0 {10 * WIDTH} {10 * HEIGHT}",
        "aria-hidden": "true",
    }
    assert {each.tag for each in root} == {"path"}
    return {each.attrib["class"]: each.attrib["d"] for each in root}


def corners(outline: str) -> list[tuple[int, int]]:
    """Every point of an outline in steps, control points too, in tenths of a pixel."""
    out: list[tuple[int, int]] = []
    here = (0, 0)
    for command, text in re.findall(r"([A-Za-z])([^A-Za-z]*)", outline):
        numbers = [int(number) for number in re.findall(r"-?\d+", text)]
        origin = (0, 0) if command == "M" else here
        points = [(x + origin[0], y + origin[1]) for x, y in zip(numbers[::2], numbers[1::2], strict=True)]
        out += points
        here = points[-1]
    return out


@pytest.mark.parametrize("smiles", ["CCO", "C[C@H](N)C(=O)O", "O=c1cc[nH]cc1", "C12C3C4C1C5C2C3C45", "[Na+]"])
def test_the_outlines_are_those_of_rdkit(smiles: str) -> None:
    canvas = rdMolDraw2D.MolDraw2DSVG(WIDTH, HEIGHT)
    options = canvas.drawOptions()
    options.prepareMolsBeforeDrawing, options.clearBackground = False, False
    options.fixedBondLength, options.padding = 0.14 * WIDTH, 0.06
    canvas.DrawMolecule(prepared(smiles))
    canvas.FinishDrawing()
    outlines = re.findall(r" d='([^']*)'", canvas.GetDrawingText())
    pairs = re.findall(r"(-?[\d.]+)[ ,](-?[\d.]+)", " ".join(outlines))
    expected = sorted((round(10 * float(x)), round(10 * float(y))) for x, y in pairs)
    assert expected
    assert sorted(point for outline in parts(smiles).values() for point in corners(outline)) == expected


def test_a_class_says_how_a_part_is_drawn_and_in_which_colour() -> None:
    assert set(parts("CCO")) == {"line", "line O", "solid O"}
    assert set(parts("FC(Cl)(Br)I")) >= {"solid F", "solid Cl", "solid Br", "solid I"}
    assert set(parts("CN=S(C)P")) >= {"solid N", "solid S", "solid P"}
    # A wedge is filled or hatched in thin lines.
    centre = set(parts("C[C@@H](F)CC")) | set(parts("C[C@H](F)CC"))
    assert {"solid", "line thin"} <= centre
    assert "line dashed" in parts("CC~C")


def test_a_drawing_is_smaller_than_rdkits_and_the_same_again() -> None:
    canvas = rdMolDraw2D.MolDraw2DSVG(WIDTH, HEIGHT)
    canvas.DrawMolecule(prepared("CC(=O)Oc1ccccc1C(=O)O"))
    canvas.FinishDrawing()
    drawn = inline("CC(=O)Oc1ccccc1C(=O)O", WIDTH, HEIGHT)
    assert len(drawn) < len(canvas.GetDrawingText()) / 3
    assert drawn == inline("CC(=O)Oc1ccccc1C(=O)O", WIDTH, HEIGHT)


def test_what_is_no_molecule_is_refused() -> None:
    with pytest.raises(MoldiffError, match="cannot draw '<b>'"):
        inline("<b>", WIDTH, HEIGHT)
