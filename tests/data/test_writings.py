"""Several writings of a molecule: each spells it, and a token file says which is which."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import Descriptors

from moldiff.chem.molecule import canonical
from moldiff.chem.notation import WRITING, WRITINGS
from moldiff.data.molecules import Molecules
from moldiff.data.writings import chosen, number, written_as
from moldiff.errors import MoldiffError

TEXTBOOK = Path(__file__).with_name("textbook.smi")


@pytest.fixture(scope="module")
def smiles() -> list[str]:
    lines = TEXTBOOK.read_text().splitlines()
    found = [canonical(line.split()[0]) for line in lines if line.strip()]
    return [text for text in found if text is not None]


@pytest.mark.parametrize("writing", WRITINGS)
def test_a_writing_spells_the_molecule(smiles: list[str], writing: str) -> None:
    texts = written_as(smiles, writing, seed=3)  # type: ignore[arg-type]
    assert [None if text is None else canonical(text) for text in texts] == smiles
    changed = sum(text != each for text, each in zip(texts, smiles, strict=True))
    assert (changed == 0) == (writing == "canonical")


def test_a_molecule_depends_on_the_seed_and_its_place_alone(smiles: list[str]) -> None:
    whole = written_as(smiles, "fragments", seed=0)
    assert whole[:20] == written_as(smiles[:20], "fragments", seed=0)
    assert whole != written_as(smiles, "fragments", seed=1)
    assert len(set(written_as(["CC(=O)Oc1ccccc1C(=O)O"] * 40, "fragments", seed=0))) > 10


def test_pieces_come_in_any_order_and_the_first_label_is_ten() -> None:
    texts = written_as(["NCCCCCCO"] * 200, "fragments", seed=0)
    first = Counter(text.split(".")[0][0] for text in texts if text is not None and "." in text)
    assert set(first) == {"O", "C", "N"}
    assert all(text.index("%10") < text.find("%11") for text in texts if text is not None and "%11" in text)


def test_a_token_file_holds_every_writing_of_a_molecule(tmp_path: Path, smiles: list[str]) -> None:
    source = tmp_path / "some.smi"
    source.write_text("\n".join(smiles[:50]) + "\n")
    data = Molecules().prepare(source, writings="all", heldout=0.2)
    kinds = data.properties[WRITING]
    assert Counter(kinds.tolist()) == {0.0: 50, 1.0: 50, 2.0: 50}
    tokenizer = Molecules().tokenizer(data.info["tokenizer"])
    for place, identity in enumerate(data.identities):
        text = tokenizer.decode(data.item(place))
        assert canonical(text) == smiles[place % 50]
        assert identity == data.identities[place % 50]
        # A molecule is held out in all its writings or in none.
        assert data.heldout[place] == data.heldout[place % 50]
        assert data.properties["mw"][place] == pytest.approx(Descriptors.MolWt(Chem.MolFromSmiles(text)))
    assert data.info["writings"] == dict.fromkeys(WRITINGS, 1.0)
    assert data.info["unwritten"] == {"random": 0, "fragments": 0}
    assert np.unique(data.identities).size == 50


def test_a_share_of_the_molecules_is_written_so_too(tmp_path: Path, smiles: list[str]) -> None:
    source = tmp_path / "some.smi"
    source.write_text("\n".join(smiles[:50]) + "\n")
    one, other = (
        Molecules().prepare(source, writings="canonical,random:0.3,fragments", seed=seed) for seed in (0, 1)
    )
    assert Counter(one.properties[WRITING].tolist()) == {0.0: 50, 1.0: 15, 2.0: 50}
    assert one.info["unwritten"] == {"random": 0, "fragments": 0}
    tokenizer = Molecules().tokenizer(one.info["tokenizer"])
    random = {int(one.identities[i]): tokenizer.decode(one.item(i)) for i in range(50, 65)}
    assert all(canonical(text) in smiles[:50] for text in random.values())
    # Which molecules they are depends on the seed.
    assert set(random) != {int(each) for each in other.identities[50:65]}


def test_what_is_padded_and_too_long_in_a_writing_is_counted(tmp_path: Path) -> None:
    source = tmp_path / "one.smi"
    source.write_text("CCCCCCCCCC\nCC(C)(C)C\n")
    data = Molecules().prepare(source, writings="canonical,fragments", pad_to=11, heldout=0)
    assert data.info["unwritten"]["fragments"] == 2 - int((data.properties[WRITING] == 2).sum()) > 0


def test_what_is_no_writing_is_refused(tmp_path: Path) -> None:
    for text, said in {
        "cursive": "choose from canonical, random, fragments, all",
        "random": "needs canonical first",
        "canonical,canonical": "each once",
        "canonical:0.5": "canonical first and whole",
        "canonical,random:0": "'random:0', the share must be above 0 and at most 1",
        "canonical,random:some": "'random:some', the share must be",
    }.items():
        with pytest.raises(MoldiffError, match=said):
            chosen(text)
    source = tmp_path / "one.smi"
    source.write_text("CCO\n")
    with pytest.raises(MoldiffError, match="only SMILES has several"):
        Molecules().prepare(source, tokenizer="selfies", writings="all")
    assert [number(each) for each in WRITINGS] == [0, 1, 2]
