"""Redrawing parts of molecules: where a SMILES may be opened, and that all else stays."""

import re
from collections.abc import Sequence
from itertools import chain

import pytest
from rdkit import Chem

from moldiff.chem.molecule import check, parse
from moldiff.generation.model import Model, load
from moldiff.optimization.remasking import Remasking, redrawn, sampled
from moldiff.optimization.spans import spans
from moldiff.types import Template

PARENTS = ["O=C1CCCN1", "CC1CC(O)C1C#N", "CCC(N)C(C)=O", "c1ccncc1", "C1CC2OC1C2"]
_TOKEN = re.compile(r"\[[^]]+\]|Br|Cl|%\d\d|.")


@pytest.fixture(scope="module")
def qm9() -> Model:
    return load("qm9", "cpu")


def cut(smiles: str, most: int = 99) -> set[str]:
    """The spans of a SMILES string as strings."""
    tokens = tuple(_TOKEN.findall(smiles))
    found = spans(tokens, most)
    return {"".join(tokens[at : at + length]) for length, starts in found.items() for at in starts}


def test_the_spans_of_a_chain_are_all_of_its_parts() -> None:
    assert cut("CON") == {"", "C", "O", "N", "CO", "ON", "CON"}


def test_a_branch_and_a_ring_go_whole_or_stay() -> None:
    found = cut("CC(F)c1ccoc1")
    assert {"(F)", "F", "C(F)", "CC(F)c1ccoc1", "c1ccoc1", "cc", "cco"} <= found
    # Half a branch, half a ring, and an atom without the label of its ring, which its successor would get.
    assert not found & {"(F", "F)", "c1cc", "oc1", "o)"}
    assert cut("C1CC1") == {"", "C", "C1CC1"}
    assert spans(("C", "1", "C", "C", "1"), 9)[1] == (2,)


def test_a_bond_stays_with_what_follows_it() -> None:
    assert cut("CC=O") == {"", "C", "O", "CC", "=O", "C=O", "CC=O"}


@pytest.mark.parametrize("smiles", ["CC(F)c1ccoc1", "C1CC2OC1C2", "N#CC1(O)CC1", "CC(=O)Nc1ccc(O)cc1"])
def test_a_carbon_in_place_of_any_span_leaves_a_readable_string(smiles: str) -> None:
    """Of readable syntax: whether valences fit is another matter."""
    tokens = tuple(_TOKEN.findall(smiles))
    found = spans(tokens, 99)
    places = list(chain.from_iterable([(at, at + n) for at in starts] for n, starts in found.items()))
    assert len(places) >= 10
    for start, end in places:
        text = "".join((*tokens[:start], "C", *tokens[end:]))
        assert check(text).reason in (None, "valence", "kekulize"), (text, start, end)


def rows_of(model: Model, smiles: Sequence[str]) -> list[Template]:
    """Each molecule with its second token open, and one more after it."""
    ids = [model.tokenizer.encode(each) for each in smiles]
    return [(each[0], None, None, *each[2:]) for each in ids]


def test_what_is_kept_is_kept_in_every_row(qm9: Model) -> None:
    rows = rows_of(qm9, PARENTS)
    texts = redrawn(qm9, rows, seed=3)
    for row, text in zip(rows, texts, strict=True):
        ids = qm9.tokenizer.encode(text)
        assert len(ids) == len(row)
        assert all(kept is None or kept == drawn for kept, drawn in zip(row, ids, strict=True))
    assert redrawn(qm9, rows, seed=3) == texts
    # A model may be sure of all five at one seed or another.
    assert any(redrawn(qm9, rows, seed=seed) != texts for seed in range(4, 12))


def test_a_row_without_an_open_place_is_itself(qm9: Model) -> None:
    rows = [tuple(qm9.tokenizer.encode(each)) for each in PARENTS]
    assert redrawn(qm9, rows, seed=0) == PARENTS


def check_proposals(method: Remasking) -> None:
    """They are many, the same for the same seed, nearly all of them molecules, and most of these new."""
    found = method.propose(PARENTS, [1.0] * 5, 60, seed=1)
    assert len(found) == 60
    assert found == method.propose(PARENTS, [1.0] * 5, 60, seed=1)
    sane = {each.canonical for each in map(check, found) if each.sane}
    assert sum(check(each).sane for each in found) > 45
    assert len(sane - set(PARENTS)) > 25


def test_proposals_are_many_and_nearly_all_of_them_molecules(qm9: Model) -> None:
    check_proposals(Remasking(lambda: qm9, ()))


@pytest.mark.parametrize("seed", range(4))
def test_rows_of_a_generation_have_few_lengths_and_near_those_of_their_parents(
    qm9: Model, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lengths of one remainder by three, at most a token from the parent's, or more where all is put in."""
    seen: list[Template] = []

    def noted(model: Model, rows: Sequence[Template], *_: object) -> list[str]:
        seen.extend(rows)
        return []

    monkeypatch.setattr("moldiff.optimization.remasking.redrawn", noted)
    method = Remasking(lambda: qm9, (), fresh=0.0, crossed=0.0, largest=0.5)
    method.propose(["CC(F)CCCO"], [1.0], 60, seed)
    assert len(seen) == 60
    assert {len(row) % 3 for row in seen} == {seed % 3}
    kept = [(len(row), sum(each is None for each in row)) for row in seen]
    # Of the 9 tokens up to 4 are masked, or up to 5 more are put in.
    assert {length for length, _ in kept} <= set(range(8, 15))
    assert all(1 <= drawn <= 6 and length - drawn >= 5 for length, drawn in kept)


def test_shares_of_one_and_none(qm9: Model) -> None:
    alone = Remasking(lambda: qm9, (), fresh=1.0)
    assert alone.propose(PARENTS, [1.0] * 5, 8, seed=2) != alone.propose(PARENTS, [1.0] * 5, 8, seed=3)
    assert sampled(qm9, 0, 0) == []
    crossed = Remasking(lambda: qm9, (), fresh=0.0, crossed=1.0, unmasked=1.0)
    children = crossed.propose(PARENTS, [1.0] * 5, 20, seed=2)
    assert all(check(each).sane for each in children)
    # Of one parent, that has atoms in no ring, some stay.
    kept = Remasking(lambda: qm9, (), fresh=0.0, crossed=0.0).propose(["CCCCCCCCF"], [1.0], 20, seed=2)
    mols = [mol for mol in map(parse, kept) if mol is not None]
    assert sum(mol.GetNumHeavyAtoms() >= 5 for mol in mols) > 15


def test_the_model_is_asked_for_a_target(qm9: Model) -> None:
    """One in twelve of the data set is of the class; with the request it is many more."""
    drawn = sampled(qm9, 40, 0, ("ring_count=high",))
    mols = [mol for mol in map(parse, drawn) if mol is not None]
    assert sum(len(Chem.GetSymmSSSR(mol)) > 3 for mol in mols) > len(mols) / 4
    rows = rows_of(qm9, PARENTS)
    asked = redrawn(qm9, rows * 4, 1, ("ring_count=high",))
    assert asked != redrawn(qm9, rows * 4, 1)
    assert Remasking(lambda: qm9, (), targets=("qed=high",)).identity()["targets"] == ["qed=high"]


def test_what_the_model_cannot_spell_is_sampled_instead(qm9: Model) -> None:
    """No bromine, and no molecule of so many tokens, is known to the model of QM9."""
    method = Remasking(lambda: qm9, (), fresh=0.0, crossed=0.0)
    assert len(method.propose(["CCBr", "C" * 40], [1.0, 0.5], 6, seed=0)) == 6
    study = load("qm9-study-ar", "cpu")
    method = Remasking(lambda: study, (), fresh=0.0, crossed=0.0)
    assert len(method.propose(["CCBr", "C" * 90], [1.0, 0.5], 6, seed=0)) == 6


@pytest.fixture(scope="module", params=["zinc250k-ar", "qm9-study-ar"])
def causal(request: pytest.FixtureRequest) -> Model:
    return load(request.param, "cpu")


def test_a_model_from_left_to_right_draws_the_ends_of_molecules(
    causal: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Template] = []

    def noted(
        model: Model, rows: Sequence[Template], seed: int, targets: Sequence[str], *_: object
    ) -> list[str]:
        seen.extend(rows)
        # The order is told to the model that knows it, and to no other.
        assert list(targets) == ["writing=1"] * (causal.card.name == "zinc250k-ar")
        return []

    monkeypatch.setattr("moldiff.optimization.remasking.redrawn", noted)
    Remasking(lambda: causal, (), fresh=0.0, crossed=0.0, largest=0.5).propose(["CC(F)CCCO"], [1.0], 60, 1)
    assert len(seen) == 60
    assert all(row[-1] is None and None not in row[:-1] for row in seen)
    # Of 9 tokens, or 11 where it is written from elsewhere, up to the half is open.
    begun = {"".join(causal.tokenizer.tokens(row[:-1])) for row in seen}
    assert {len(row) - 1 for row in seen} <= set(range(4, 13))
    assert all(text.startswith("CC(F)C"[: len(text)]) for text in begun) == (
        causal.card.name != "zinc250k-ar"
    )


def test_ends_go_on_from_what_stands_and_are_molecules(causal: Model) -> None:
    rows = [(*causal.tokenizer.encode("CC(=O)N"), None)] * 20 + [(None,)] * 4
    texts = redrawn(causal, rows, seed=5)
    assert all(text.startswith("CC(=O)N") for text in texts[:20])
    assert len(set(texts)) > 10
    assert sum(check(text).sane for text in texts) > 18


def test_proposals_of_a_model_from_left_to_right(causal: Model) -> None:
    check_proposals(Remasking(lambda: causal, (), fresh=0.1))
