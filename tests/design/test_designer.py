"""The designer: every row keeps what it has to, every answer was checked, every other row is counted."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from rdkit import Chem

from moldiff import config, load
from moldiff.chem.cores import read
from moldiff.chem.molecule import canonical
from moldiff.design.designer import Designer
from moldiff.design.lengths import Lengths
from moldiff.design.verbs import Grow, Morph, Superstructure, infill
from moldiff.errors import MoldiffError
from moldiff.generation.batches import strings
from moldiff.generation.request import asked_for
from moldiff.training import fit

if TYPE_CHECKING:
    from pathlib import Path

    from moldiff import Model
    from moldiff.design.verbs import Verb

BENZYL, BOTH = read("*Cc1ccccc1", "motif"), read("*c1ccccc1.*O", "fragments")
#: A setting at which the small model draws a molecule now and then.
EASY = {"sampler": "first-hitting", "temperature": 0.5, "complete": True}


@pytest.mark.parametrize(
    "verb", [Grow(BENZYL), Grow(BOTH, joined=True), Superstructure(read("c1ccccc1", "core"))]
)
def test_every_row_begins_with_what_stays(writer_model: Model, verb: Verb) -> None:
    designer = Designer(writer_model, verb)
    raw = designer.draw(20)
    starts = {text.split(".")[0] for text in raw}
    if isinstance(verb, Grow):
        assert all(text.startswith(verb.core.text + ".") for text in raw)
    else:
        assert len(starts) > 1
    assert all(len(text) > len(verb.core.text) for text in raw)


def test_every_answer_holds_what_stays_and_every_other_row_is_counted(writer_model: Model) -> None:
    found = Designer(writer_model, Grow(BENZYL), **EASY).run(10, budget=300)
    rows = found.frame
    assert len(rows) > 0
    assert rows["smiles"].is_unique
    for smiles, raw in zip(rows["smiles"], rows["raw"], strict=True):
        assert canonical(raw) == smiles
        assert BENZYL.kept_in(Chem.MolFromSmiles(smiles))
    facts = found.facts()
    if facts["kept"] < 10:
        assert facts["drawn"] == 300
        assert facts["drawn"] == facts["kept"] + sum(facts["rejects"].values())
    assert facts["retained"] <= facts["sane"] <= facts["drawn"]
    assert facts["forwards_per_molecule"] > 0


def test_a_design_is_a_function_of_its_seed(writer_model: Model) -> None:
    first, again, other = (Designer(writer_model, Grow(BENZYL), seed=seed).draw(8) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    # What is drawn later is something else, and the order in which it is asked for does not matter.
    designer = Designer(writer_model, Grow(BENZYL), seed=1)
    assert designer.draw(8) == first
    assert designer.draw(8) != first


def test_a_check_of_the_callers_own_counts_against_answers(writer_model: Model) -> None:
    found = Designer(writer_model, Grow(BENZYL), **EASY).run(
        5, budget=100, check=lambda smiles: ["mine (because)"] * len(smiles)
    )
    assert len(found.frame) == 0
    assert found.rejects["mine"] == found.retained > 0


def test_a_morph_and_an_infill_run(writer_model: Model) -> None:
    for verb in (Morph("Cc1ccccc1O", 0.4), infill("CCCc1ccccc1", [0, 1])):
        assert len(Designer(writer_model, verb).draw(5)) == 5


def test_a_morph_that_the_model_cannot_write_is_sketched_anew(writer_model: Model) -> None:
    lead = "CCCc1ccc(CCC(C)CCN)cc1"
    known = {label for label in writer_model.tokenizer.state()["vocab"] if label.startswith("%")}
    random = np.random.default_rng([0, 0])
    texts = [Morph(lead, 0.4).sketch(random).core.text for _ in range(40)]
    assert any(not set(re.findall("%..", text)) <= known for text in texts), "some need more labels"
    assert len(Designer(writer_model, Morph(lead, 0.4)).draw(40)) == 40


def test_rows_that_keep_everything_but_a_place_keep_it(writer_model: Model) -> None:
    ids = writer_model.tokenizer.encode("CCO")
    templates = [(*ids[:2], None), (None, *ids[1:]), tuple(ids)]
    found, spent = strings(writer_model, asked_for(None, templates=templates))
    assert [text[:2] for text in found][::2] == ["CC", "CC"]
    assert found[1].endswith("CO")
    assert found[2] == "CCO"
    assert spent.drawn == 3


def test_a_row_of_its_own_length_goes_on_behind_an_open_template_and_ends_with_a_closed_one() -> None:
    model = load("qm9-study-ar", device="cpu")
    c, n = model.tokenizer.encode("CN")
    found, _ = strings(model, asked_for(16, templates=[(c, None)] * 8 + [(None, None, n)] * 8))
    assert all(text.startswith("C") for text in found[:8])
    assert max(len(model.tokenizer.encode(text)) for text in found[:8]) > 2
    assert {len(model.tokenizer.encode(text)) for text in found[8:]} == {3}
    assert all(text.endswith("N") for text in found[8:])


def test_a_row_is_as_long_as_training_rows_with_room_for_what_is_kept(writer_model: Model) -> None:
    table, conditions = writer_model.table, writer_model.card.conditions
    lengths = Lengths(table, conditions, ["writing=2"], writer_model.card.max_length)
    random = np.random.default_rng(0)
    written = table.lengths[table.properties["writing"] == 2]
    drawn = [lengths.draw(12, random) for _ in range(2000)]
    assert min(drawn) >= 12
    assert np.mean(drawn) == pytest.approx(written[written >= 12].mean(), rel=0.05)
    with pytest.raises(MoldiffError, match="at most"):
        lengths.draw(writer_model.card.max_length + 1, random)


def test_a_model_without_the_writing_is_refused(tiny_model: Model) -> None:
    with pytest.raises(MoldiffError, match="not know the fragment writing; choose zinc250k-ar, zinc250k"):
        Designer(tiny_model, Grow(BENZYL))


def test_a_core_with_a_token_that_the_model_never_saw_is_refused(writer_model: Model) -> None:
    with pytest.raises(MoldiffError, match=r"\[Se\]"):
        Designer(writer_model, Grow(read("*[Se]C", "motif"))).draw(1)


def test_a_budget_below_what_is_wanted_is_refused(writer_model: Model) -> None:
    with pytest.raises(MoldiffError, match="budget: got 3 draws for 5 molecules"):
        Designer(writer_model, Grow(BENZYL)).run(5, budget=3)


@pytest.mark.parametrize(
    ("templates", "said"),
    [
        ([()], "with 0 places"),
        ([(None,) * 500], "with 500 places"),
        ([(10_000, None)], "a token that is none of"),
    ],
)
def test_templates_that_are_no_rows_are_refused(
    writer_model: Model, templates: list[tuple[int | None, ...]], said: str
) -> None:
    with pytest.raises(MoldiffError, match=said):
        strings(writer_model, asked_for(None, templates=templates))


def test_templates_go_with_their_own_number_alone(writer_model: Model) -> None:
    for asked in ({"n": 3}, {"unique": True}, {"prompt": "C"}):
        with pytest.raises(MoldiffError, match="templates: got 1"):
            writer_model.generate(templates=[(None, None)], **asked)  # type: ignore[arg-type]


def test_how_an_item_is_written_is_no_property_of_it(writer_model: Model) -> None:
    found = writer_model.generate(8, targets=["writing=2", "qed=0.5"])
    assert set(found.summary["properties"]) == {"qed"}
    assert set(found.summary["histograms"]) == {"qed"}


def test_molecules_in_one_writing_fine_tune_a_model_of_several(
    writer: Path, textbook: Path, tmp_path: Path
) -> None:
    overrides = [
        "device=cpu",
        f"data.path={textbook}",
        f"out={tmp_path / 'run'}",
        "max_steps=2",
        "logger=none",
    ]
    fit.run(config.load("finetune", overrides), init_from=str(writer))
    tuned = load(str(tmp_path / "run"), device="cpu")
    assert [condition.name for condition in tuned.card.conditions] == ["writing", "qed"]
    # What it was told of them is the writing that it is always told, and the others are still known.
    assert set(tuned.table.properties["writing"].tolist()) == {0.0}
    assert len(Designer(tuned, Superstructure(read("C", "core"))).draw(2)) == 2
