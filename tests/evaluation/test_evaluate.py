"""Evaluation of a set of molecules, alone and beside a reference, against figures worked out by hand."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import wasserstein_distance

import moldiff
from moldiff import registry
from moldiff.chem import oracles
from moldiff.chem.molecule import rdkit_version
from moldiff.errors import MoldiffError
from moldiff.evaluation.evaluate import Evaluation, evaluate
from moldiff.evaluation.reference import known
from moldiff.generation.model import Model

# Fingerprints of ethane, propane and ethanol share so much (tests/chem/test_similarity.py has the sets).
CC_CCC, CC_CCO, CCC_CCO = 1 / 5, 1 / 7, 3 / 7

RINGS = ["Cc1ccccc1", "Clc1ccccc1", "c1ccc2ccccc2c1", "Oc1ccc2ccccc2c1", "c1ccc(-c2ccccc2)cc1"]


def test_a_set_worked_out_by_hand() -> None:
    # Ethane twice, in one spelling; ethanol in another than the canonical; two that are no molecules.
    found = evaluate(["CC", "OCC", "CC", "C(", "", "CCC"], ["CCO", "C"])
    facts = found.summary
    assert {key: facts[key] for key in ("requested", "valid", "sane", "unique")} == {
        "requested": 6,
        "valid": 4,
        "sane": 4,
        "unique": 3,
    }
    assert facts["validity"] == 4 / 6
    assert facts["validity_se"] == pytest.approx(math.sqrt(4 / 6 * 2 / 6 / 6))
    assert facts["novel"] == {"canonical": 2, "canonical_train": 2, "upstream": 3, "upstream_train": 3}
    assert facts["novelty"] == 2 / 3
    assert facts["novelty_se"] == pytest.approx(math.sqrt(2 / 9 / 3))
    assert facts["rejects"] == {"branch": 1, "empty": 1}
    # MOSES over four rows: ethane has two, so of 16 pairs 1 + 1 + 4 are of a molecule with itself.
    pairs = 6 + 2 * (2 * CC_CCO + 2 * CC_CCC + CCC_CCO)
    assert facts["diversity"]["intdiv"] == pytest.approx(1 - pairs / 16)
    assert facts["diversity"]["tdc"] == pytest.approx(1 - (CC_CCC + CC_CCO + CCC_CCO) / 3)
    assert facts["diversity"]["drawn"] is None
    # Of ethane ethanol is nearest, for methane shares nothing with it.
    assert facts["nearest"]["snn"] == pytest.approx((2 * CC_CCO + CCC_CCO + 1) / 4)
    assert found.frame["nearest"].tolist()[:3] == ["CCO"] * 3
    assert found.frame["similarity"].tolist()[:3] == [CC_CCO, 1.0, CC_CCO]
    assert facts["reference"] == {
        "name": "a list",
        "rows": 2,
        "molecules": 2,
        "train": 2,
        "rdkit": rdkit_version(),
        "left_out": {},
    }
    assert facts["notes"] == []


def test_properties_are_compared_over_rows_and_distinct_reference_molecules() -> None:
    # Heavy atoms 2, 2, 3 and 1, 4: ethane counts twice, methane in the reference once.
    facts = evaluate(["CC", "CC", "CCC"], ["C", "C", "CCCC"]).summary["properties"]["heavy_atoms"]
    assert facts["n"] == 3
    assert facts["mean"] == pytest.approx(7 / 3)
    assert facts["se"] == pytest.approx(math.sqrt(1 / 3) / math.sqrt(3))
    assert facts["reference_mean"] == 2.5
    # The distribution functions differ by 1/2 on [1, 2), 1/6 on [2, 3) and 1/2 on [3, 4).
    assert facts["wasserstein"] == pytest.approx(1 / 2 + 1 / 6 + 1 / 2)
    assert facts["wasserstein_sd"] == pytest.approx((1 / 2 + 1 / 6 + 1 / 2) / 1.5)


def test_scaffolds_are_counted_among_distinct_molecules() -> None:
    alone = evaluate([*RINGS, RINGS[0], "CCO"]).summary["scaffolds"]
    # Benzene of two molecules, naphthalene of two, biphenyl.
    assert alone == {"distinct": 3, "molecules": 5, "diversity": 3 / 5, "acyclic": 1}
    beside = evaluate([*RINGS, RINGS[3], "CCO"], ["c1ccc2ccccc2c1", "Brc1ccccc1"]).summary["scaffolds"]
    assert beside["novel"] == 1
    assert beside["novelty"] == 1 / 3
    # Rows with two rings: naphthalene three, biphenyl one; the reference has naphthalene alone.
    assert beside["similarity"] == pytest.approx(3 / math.sqrt(10))


def test_quality_is_of_distinct_molecules_among_all_asked_for() -> None:
    smiles = ["CC(=O)Nc1ccc(O)cc1", "COc1ccc(CC(C)N)cc1", "COc1ccc(CC(C)N)cc1", "C", "C("]
    qed, sa = (oracles.score(smiles[:4], [name])[name] for name in ("qed", "sa"))
    assert (qed >= 0.6).tolist() == [False, True, True, False]
    assert (sa[:3] <= 4).all()
    facts = evaluate(smiles).summary
    assert (facts["good"], facts["quality"]) == (1, 1 / 5)
    assert facts["quality_se"] == pytest.approx(math.sqrt(1 / 5 * 4 / 5 / 5))


def figures(found: Evaluation) -> dict[str, float]:
    """The figures of a summary that are no counts, flat."""
    flat = pd.json_normalize(found.summary, sep=".").iloc[0].to_dict()
    return {key: value for key, value in flat.items() if isinstance(value, float)}


SOME = ["CCO", "CC(C)O", "c1ccccc1O", "C1CC2CCC1CC2", "CC(=O)Oc1ccccc1C(=O)O", "CCO", "C(", "CC.O"]
KNOWN = ["CCO", "CCN", "Cc1ccccc1O", "OC(=O)c1ccccc1O", "C1CC2CCC1C2"]


def test_order_changes_nothing() -> None:
    first, other = evaluate(SOME, KNOWN), evaluate(SOME[::-1], KNOWN[::-1])
    assert len(figures(first)) > 30
    assert figures(other) == pytest.approx(figures(first), abs=1e-12)
    pd.testing.assert_frame_equal(other.frame[::-1].reset_index(drop=True), first.frame)


def test_rows_twice_change_what_counts_rows_and_nothing_else() -> None:
    once, twice = evaluate(SOME, KNOWN).summary, evaluate(SOME * 2, KNOWN).summary
    for key in ("validity", "novelty", "novelty_se"):
        assert twice[key] == once[key]
    assert twice["uniqueness"] == once["uniqueness"] / 2
    assert twice["quality"] == once["quality"] / 2
    assert twice["scaffolds"] == once["scaffolds"]
    for key in ("intdiv", "intdiv2", "tdc", "tdc_se"):
        assert twice["diversity"][key] == pytest.approx(once["diversity"][key], abs=1e-12)
    assert twice["nearest"]["snn"] == pytest.approx(once["nearest"]["snn"], abs=1e-12)
    assert twice["properties"]["qed"]["wasserstein"] == pytest.approx(
        once["properties"]["qed"]["wasserstein"], abs=1e-12
    )


def test_a_set_beside_itself_is_no_way_off() -> None:
    distinct = [*dict.fromkeys(SOME[:5])]
    facts = evaluate(distinct, distinct).summary
    assert facts["novelty"] == 0.0
    assert facts["nearest"]["snn"] == 1.0
    assert facts["scaffolds"]["similarity"] == pytest.approx(1.0)
    assert facts["scaffolds"]["novel"] == 0
    assert {each["wasserstein"] for each in facts["properties"].values()} == {0.0}


@pytest.mark.parametrize("smiles", [[], ["C(", ""], [None]])
def test_nothing_valid_leaves_figures_undefined(smiles: list[str | None]) -> None:
    found = evaluate(smiles, KNOWN)
    facts = json.loads(found.to_json())
    assert facts["valid"] == 0
    assert facts["validity"] == (0.0 if smiles else None)
    for part, key in (
        ("diversity", "intdiv"),
        ("diversity", "tdc"),
        ("nearest", "snn"),
        ("scaffolds", "novelty"),
    ):
        assert facts[part][key] is None
    assert facts["uniqueness"] is None
    assert facts["properties"]["qed"]["wasserstein"] is None
    assert len(found) == len(smiles)
    assert found.frame["smiles"].isna().all()
    assert not found.frame["novel"].any()


def test_a_constant_reference_has_no_spread_to_measure_by() -> None:
    facts = evaluate(["CC"], ["C", "O"]).summary["properties"]["ring_count"]
    assert (facts["wasserstein"], facts["wasserstein_sd"]) == (0.0, None)


def test_above_the_limit_molecules_are_drawn_and_the_summary_says_so() -> None:
    whole, some = evaluate(SOME, exact=6), evaluate(SOME, exact=3, seed=1)
    assert whole.summary["diversity"]["drawn"] is None
    assert not any("drawn" in note for note in whole.summary["notes"])
    assert some.summary["diversity"]["drawn"] == 3
    assert some.summary["notes"][0] == (
        "internal diversities are estimated from 3 of 6 molecules, drawn with seed 1"
    )
    assert whole.summary == evaluate(SOME).summary
    assert evaluate(SOME, exact=3, seed=1).summary == some.summary
    others = {evaluate(SOME, exact=3, seed=seed).summary["diversity"]["tdc"] for seed in range(5)}
    assert len(others) > 1


# References


def test_a_model_gives_novelty_and_distances(tiny: Path, tiny_model: Model) -> None:
    found = evaluate(["CCO", "OCC", "C(", "FC(F)F"], str(tiny))
    assert found.summary["novel"]["canonical"] == found.frame["novel"].iloc[[0, 3]].sum()
    assert found.summary["nearest"] is None
    assert "similarity" not in found.summary["scaffolds"]
    assert "nearest" not in found.frame
    assert "need a file of its molecules" in found.summary["notes"][0]
    table = tiny_model.table.properties["qed"]
    qed = oracles.score(["CCO", "CCO", "FC(F)F"], ["qed"])["qed"]
    assert found.summary["properties"]["qed"]["wasserstein"] == pytest.approx(
        wasserstein_distance(qed, table)
    )
    assert "wasserstein" not in found.summary["properties"]["mw"]
    facts = found.summary["reference"]
    assert (facts["molecules"], facts["train"]) == (
        len(tiny_model.reference.hashes),
        tiny_model.reference.in_train.sum(),
    )


def test_counts_agree_with_those_of_generate(tiny: Path, tiny_model: Model) -> None:
    drawn = tiny_model.generate(60, seed=3)
    facts = evaluate(drawn.frame["raw"].tolist(), tiny).summary
    for key in ("requested", "valid", "sane", "unique", "uniqueness", "novel", "novelty", "rejects"):
        assert facts[key] == drawn.summary[key], key


def test_a_molecule_written_in_several_ways_is_one(textbook: Path, tmp_path: Path) -> None:
    modality = registry.build("modality", "molecules")
    for name, options in {"one": {}, "three": {"writings": "all"}}.items():
        modality.prepare(textbook, heldout=0.4, **options).save(tmp_path / f"{name}.safetensors")
    one, three = (known(tmp_path / f"{name}.safetensors") for name in ("one", "three"))
    assert three.smiles == one.smiles
    assert evaluate(SOME, three).summary["novel"] == evaluate(SOME, one).summary["novel"]


@pytest.mark.parametrize("notation", ["smiles", "selfies"])
def test_a_token_file_compares_with_its_training_rows(textbook: Path, tmp_path: Path, notation: str) -> None:
    data = registry.build("modality", "molecules").prepare(textbook, tokenizer=notation, heldout=0.4)
    data.save(tmp_path / "t.safetensors")
    beside = known(tmp_path / "t.safetensors")
    every = pd.read_csv(textbook, sep="\t", header=None)[0].tolist()
    whole = known(every)
    assert beside.smiles is not None
    assert whole.smiles is not None
    assert set(beside.smiles) < set(whole.smiles)
    assert len(beside.smiles) == (~data.heldout).sum()
    facts, alone = evaluate(SOME, beside).summary, evaluate(SOME, list(beside.smiles)).summary
    assert facts["nearest"] == alone["nearest"]
    assert facts["scaffolds"] == alone["scaffolds"]
    for name, each in alone["properties"].items():
        assert facts["properties"][name] == pytest.approx(each, rel=1e-5, abs=1e-6)
    # Held-out rows are known, but not of the training.
    assert facts["novel"]["canonical"] < facts["novel"]["canonical_train"]
    assert facts["novel"]["canonical_train"] == alone["novel"]["canonical"]


def test_a_file_is_what_it_holds(tmp_path: Path) -> None:
    file = tmp_path / "known.csv"
    file.write_text("id,text\n1,OCC\n2,CC.O\n3,C(\n4,CCO\n5,CCN\n", "utf-8")
    beside = known(file, column="text")
    assert beside.smiles == ("CCN", "CCO")
    assert beside.facts["left_out"] == {"fragments": 1, "branch": 1}
    assert (beside.facts["rows"], beside.facts["molecules"]) == (5, 2)
    assert evaluate(["CCO"], beside).summary["nearest"]["snn"] == 1.0
    assert known(beside) is beside


def test_another_rdkit_is_noted(textbook: Path, tmp_path: Path) -> None:
    data = registry.build("modality", "molecules").prepare(textbook)
    data.info["rdkit"] = "2020.01.1"
    data.save(tmp_path / "old.safetensors")
    notes = evaluate(["CCO"], tmp_path / "old.safetensors").summary["notes"]
    assert notes == [
        f"the reference was written by RDKit 2020.01.1, this is {rdkit_version()}: novelty may be off"
    ]


def test_without_a_reference_that_is_what_is_noted() -> None:
    facts = evaluate(["CCO"]).summary
    assert facts["notes"] == ["novelty, distances and nearest neighbours need a reference"]
    assert (facts["novel"], facts["nearest"], facts["reference"]) == (None, None, None)


# How it is called


def test_it_is_a_public_name() -> None:
    assert moldiff.evaluate is evaluate
    assert moldiff.Evaluation is Evaluation


def test_two_processes_find_the_same() -> None:
    alone, shared = evaluate(SOME * 20, KNOWN), evaluate(SOME * 20, KNOWN, workers=2)
    assert shared.summary == alone.summary
    pd.testing.assert_frame_equal(shared.frame, alone.frame)


def test_progress_is_told_stage_by_stage() -> None:
    from contextlib import contextmanager

    told: dict[str, list[int]] = {}
    totals: dict[str, int] = {}

    @contextmanager
    def stages(what, total):
        totals[what] = total
        yield told.setdefault(what, []).append

    evaluate(SOME, KNOWN, stages=stages)
    assert {"checking", "properties", "nearest neighbours", "all pairs"} <= set(totals)
    assert all(done[-1] == totals[what] for what, done in told.items() if done)


def test_the_table_is_written_whole(tmp_path: Path) -> None:
    found = evaluate(SOME, KNOWN)
    found.save(tmp_path / "t.csv")
    again = pd.read_csv(tmp_path / "t.csv")
    assert list(again) == list(found.frame)
    np.testing.assert_allclose(again["similarity"], found.frame["similarity"])
    copy = found.to_pandas()
    copy.loc[0, "raw"] = "changed"
    assert found.frame["raw"][0] == "CCO"
    with pytest.raises(MoldiffError, match=r"ends in \.csv"):
        found.save(tmp_path / "t.xlsx")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: evaluate("CCO"), "got one string 'CCO'"),
        (lambda: evaluate(["C"], exact=1), "exact: got 1"),
        (lambda: evaluate(["C"], workers=0), "workers must be at least 1: got 0"),
        (lambda: evaluate(["C"], "qm10"), "unknown reference: got 'qm10', choose from qm9, qm9-study-ar"),
        (lambda: evaluate(["C"], "none.smi"), "cannot read none.smi"),
        (lambda: evaluate(["C"], "none.safetensors"), "token file none.safetensors: cannot be read"),
        (lambda: evaluate(["C"], []), "it holds no molecule"),
        (lambda: evaluate(["C"], ["C("]), "it holds no molecule"),
        (lambda: known("qm9", column="x"), "got column 'x', which only a table has"),
    ],
)
def test_what_cannot_be_done_is_refused(call, message: str) -> None:
    with pytest.raises(MoldiffError, match=message):
        call()
