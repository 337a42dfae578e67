"""Pictures: the right kind of file, the right size, every molecule and caption on it."""

import io
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from moldiff.chem.layout import place
from moldiff.chem.molecule import parse
from moldiff.chem.picture import HEIGHT, WIDTH, grid
from moldiff.errors import MoldiffError

SVG = "{http://www.w3.org/2000/svg}"
CAGES = ["C12C3C4C1C5C2C3C45", "C1C2CC3CC1CC(C2)C3", "C1C2C3C4CC3C2C14", "CC12CC1C1CC2O1"]
# Too strained for RDKit to find a shape in space.
STRAINED = "C1CC23CC4N2CCC134"


def pixels(path: Path) -> np.ndarray:
    image = Image.open(io.BytesIO(path.read_bytes()))
    assert image.format == "PNG"
    return np.asarray(image.convert("L"))


def test_a_png_holds_ink_in_every_cell_and_none_in_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "grid.png"
    grid(["CCO", "c1ccccc1", "C"], ["ethanol\nQED 0.41", "benzene", "methane"], path, columns=2)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    seen = pixels(path)
    assert seen.shape == (2 * HEIGHT, 2 * WIDTH)
    cells = seen.reshape(2, HEIGHT, 2, WIDTH).min(axis=(1, 3))
    assert (cells < 128).tolist() == [[True, True], [True, False]]
    assert (seen[0, 0], seen[-1, -1]) == (255, 255)


def test_captions_have_their_own_room_below_the_molecule(tmp_path: Path) -> None:
    with_one, without = tmp_path / "with.png", tmp_path / "without.png"
    grid(["c1ccccc1"], ["first line\nsecond line"], with_one)
    grid(["c1ccccc1"], [""], without)
    rows = np.flatnonzero((pixels(with_one) != pixels(without)).any(axis=1))
    drawn = np.flatnonzero((pixels(without) < 255).any(axis=1))
    assert drawn.max() < rows.min()
    # Two lines: a band without ink runs between the first and the last row of text.
    assert np.diff(rows).max() > 1


def test_an_svg_holds_its_captions_as_text(tmp_path: Path) -> None:
    path = tmp_path / "grid.svg"
    grid(["CCO", "C"], ["a < b & c\nQED 0.41", "methane"], path)
    root = ElementTree.fromstring(path.read_text())
    assert root.tag == f"{SVG}svg"
    assert (root.get("width"), root.get("height")) == (f"{2 * WIDTH}px", f"{HEIGHT}px")
    texts = [(each.text, each.get("x")) for each in root.iter(f"{SVG}text")]
    assert texts == [
        ("a < b & c", f"{WIDTH // 2}"),
        ("QED 0.41", f"{WIDTH // 2}"),
        ("methane", f"{WIDTH + WIDTH // 2}"),
    ]


def test_notes_travel_in_the_file(tmp_path: Path) -> None:
    notes = {"Command": "moldiff generate -n 5 --out a<b>&c\x01.csv", "Model": "qm9 é 分子"}
    grid(["CCO"], [""], tmp_path / "a.png", notes=notes)
    assert Image.open(tmp_path / "a.png").text == notes
    grid(["CCO"], [""], tmp_path / "a.svg", notes=notes)
    root = ElementTree.fromstring((tmp_path / "a.svg").read_text("utf-8"))
    (metadata,) = root.iter(f"{SVG}metadata")
    assert json.loads(metadata.text or "") == notes
    grid(["CCO"], [""], tmp_path / "plain.svg")
    assert "metadata" not in (tmp_path / "plain.svg").read_text("utf-8")


def test_the_suffix_may_be_written_in_capitals(tmp_path: Path) -> None:
    path = tmp_path / "GRID.PNG"
    grid(["C"], [""], path)
    assert pixels(path).shape == (HEIGHT, WIDTH)


def test_a_picture_can_be_drawn_again(tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        grid(CAGES, CAGES, tmp_path / name)
    assert (tmp_path / "one.svg").read_text() == (tmp_path / "two.svg").read_text()


@pytest.mark.parametrize("smiles", ["C", "CC", "C#N", "F/C=C/F", "C[C@H](N)C(=O)O", *CAGES, STRAINED])
def test_no_two_atoms_share_a_place(smiles: str) -> None:
    mol = parse(smiles)
    assert mol is not None
    place(mol)
    points = mol.GetConformer().GetPositions()
    assert (points[:, 2] == 0).all()
    first, second = np.triu_indices(len(points), k=1)
    gaps = np.linalg.norm(points[first] - points[second], axis=1)
    # A bond is about 1.5 long.
    assert (gaps > 0.3).all()


def test_mirror_images_are_drawn_apart(tmp_path: Path) -> None:
    pictures = set()
    for number, smiles in enumerate(["C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "CC(N)C(=O)O"]):
        path = tmp_path / f"{number}.svg"
        grid([smiles], [""], path)
        pictures.add(path.read_text())
    assert len(pictures) == 3


@pytest.mark.parametrize(
    ("smiles", "captions", "name", "columns", "message"),
    [
        ([], [], "a.png", 5, "at least one molecule: got none"),
        (["C"], [], "a.png", 5, "1 molecules and 0 captions"),
        (["C"], [""], "a.jpg", 5, r"unknown picture format: got '.jpg', choose from .png, .svg"),
        (["C"], [""], "a", 5, "unknown picture format"),
        (["C"], [""], "a.png", 0, "columns must be at least 1: got 0"),
        (["C", "C1C"], ["", ""], "a.png", 5, "cannot draw 'C1C'"),
        (["C"] * 200, [""] * 200, "a.png", 1, "at most 30000 pixels a side: got 260 x 44000"),
        (["C"], [""], "absent/a.png", 5, "cannot write .*: No such file or directory"),
    ],
)
def test_what_cannot_be_drawn_is_refused_and_nothing_is_written(
    smiles: list[str], captions: list[str], name: str, columns: int, message: str, tmp_path: Path
) -> None:
    with pytest.raises(MoldiffError, match=message):
        grid(smiles, captions, tmp_path / name, columns=columns)
    assert list(tmp_path.iterdir()) == []
