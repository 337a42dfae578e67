"""Which molecules keep a core, on cases that can be seen."""

import pytest

from moldiff.chem.cores import attachments, keeps
from moldiff.errors import MoldiffError


@pytest.mark.parametrize(
    ("core", "smiles", "kept"),
    [
        ("[*]c1ccccc1", "Cc1ccccc1", True),
        # Hydrogen at the attachment point.
        ("[*]c1ccccc1", "c1ccccc1", True),
        ("[*]c1ccccc1", "C1CCCCC1", False),
        # Both pieces, and each at a place of its own.
        ("[*]c1ccccc1.[*]N1CCOCC1", "c1ccc(CN2CCOCC2)cc1", True),
        ("[*]c1ccccc1.[*]N1CCOCC1", "c1ccc(N2CCOCC2)cc1", True),
        ("[*]c1ccccc1.[*]c1ccccc1", "Cc1ccccc1", False),
        ("[*]c1ccccc1.[*]c1ccccc1", "c1ccc(Cc2ccccc2)cc1", True),
        # An aromatic nitrogen at which something is attached.
        ("[*]n1cccc1", "Cn1cccc1", True),
        ("[*]n1cccc1", "c1cc[nH]c1", True),
        ("[*]n1cccc1", "c1ccncc1", False),
        ("C[C@H](O)[*]", "C[C@@H](O)F", True),
        ("[*]c1ccccc1", "c1ccc", False),
    ],
)
def test_what_keeps_a_core(core: str, smiles: str, kept: bool) -> None:
    assert keeps(core)(smiles) is kept


def test_attachment_points_in_every_spelling() -> None:
    assert [attachments(core) for core in ("*CC*", "[*]CC", "[*:1]C.C[2*]", "CC")] == [2, 1, 2, 0]


@pytest.mark.parametrize("core", ["", "C(", "[*]", "[*].[*]"])
def test_what_is_no_core(core: str) -> None:
    with pytest.raises(MoldiffError, match=r"^core: got"):
        keeps(core)
