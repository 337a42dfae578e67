"""Selections: rows that filters reject, tokens that are never drawn, and the diverse few, from end to end."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import moldiff
from moldiff import Model, config
from moldiff.assembly import build_sampler
from moldiff.chem.diversity import Picker
from moldiff.chem.filters import Filters
from moldiff.diffusion.restriction import Restricted
from moldiff.errors import MoldiffError
from moldiff.generation import stream
from moldiff.generation.request import asked_for
from moldiff.training import fit
from moldiff.types import Rows

load = cache(moldiff.load)

#: A setting at which the small model draws a molecule now and then.
EASY: dict[str, Any] = {"steps": 12, "complete": True, "temperature": 0.5}
#: Of what the small models draw, these reject some and let some pass.
FILTERS = ["brenk,veber", "logp<=1.5"]
SMALL = ("device=cpu", "network.width=16", "network.depth=1", "network.heads=2", "batch_tokens=512")
KINDS = {
    "uniform": ("process.name=uniform", "network.time=true"),
    "autoregressive": ("process.name=autoregressive",),
    "selfies": ("data.tokenizer=selfies",),
    "padded": ("data.length=padded", "data.pad_to=40"),
}


@pytest.fixture(scope="module", params=KINDS)
def another(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, textbook: Path
) -> Model:
    """A small model of another process or in other tokens."""
    folder = tmp_path_factory.mktemp(request.param) / "model"
    given = [*SMALL, *KINDS[request.param], f"data.path={textbook}", f"out={folder}"]
    fit.run(config.load("tiny", [*given, "max_steps=40", "logger=none"]))
    return load(str(folder), "cpu")


def tokens_of(model: Model, **asked: Any) -> Counter[str]:
    """The tokens that rows are drawn with, as they leave the sampler."""
    started = model.start(asked_for(asked.pop("n", 24), **asked))
    drawn = started._drawn(torch.arange(started._request.n).numpy())
    return Counter(text for row in drawn.values() for text in model.tokenizer.tokens(row))


def named(model: Model, *names: str) -> set[str]:
    return {model.tokenizer.vocab[each] for each in model.tokenizer.forbidden(names)}


@pytest.mark.parametrize("asked", [{}, {"targets": "qed=0.55", "scale": 3.0, "repair": 2}], ids=str)
def test_no_row_of_the_bundled_model_has_a_forbidden_token(asked: dict[str, Any]) -> None:
    model = load("qm9", "cpu")
    barred = named(model, "O", "charges", "#")
    assert tokens_of(model, forbid="O,charges,#", seed=1, **asked).keys().isdisjoint(barred)
    assert tokens_of(model, seed=1, **asked).keys() & barred


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"targets": "qed=0.5", "scale": 4.0},
        {"repair": 2, "temperature": 1.5},
        {"repair": 2, "complete": True, "targets": ["qed=0.5", "ring_count=high"], "scale": 2.0},
        {"sampler": "remdm-conf", "eta": 0.9},
        {"best_of": 2, "reward": "qed"},
        {"particles": 2, "reward": "qed", "sampler": "first-hitting"},
        {"prompt": "CC", "ending": "C"},
    ],
    ids=lambda asked: "-".join(asked) or "plain",
)
def test_no_row_of_a_masked_model_has_a_forbidden_token(asked: dict[str, Any], tiny_model: Model) -> None:
    barred = named(tiny_model, "O", "charges", "#")
    found = tokens_of(tiny_model, forbid="O,charges,#", seed=1, steps=8, **asked)
    assert found.keys().isdisjoint(barred)
    assert tokens_of(tiny_model, seed=1, steps=8, **asked).keys() & barred


def test_no_row_of_another_model_has_a_forbidden_token(another: Model) -> None:
    barred, free = named(another, "O", "charges"), set()
    for asked in ({}, {"targets": "qed=0.5", "scale": 3.0}):
        steps = {} if another.process.causal else {"steps": 8}
        found = tokens_of(another, forbid=["O", "charges"], **steps, **asked)
        assert found.keys().isdisjoint(barred)
        free |= tokens_of(another, n=60, **steps, **asked).keys()
    assert free & barred


@pytest.mark.parametrize("name", ["digits", "digits-uniform", "digits-ar", "text-uniform", "text-ar"])
def test_no_row_of_a_bundled_model_of_anything_has_a_forbidden_token(name: str) -> None:
    model = load(name, "cpu")
    setting = model.card.default.model_copy(update={"steps": 4} if not model.process.causal else {})
    sampler = build_sampler(model.process, setting)
    length = min(32, model.card.max_length)
    slots = len(model.card.conditions)
    rows = Rows(torch.arange(4), length, torch.full((4, slots), torch.nan) if slots else None)
    common = torch.bincount(sampler(model.network, rows, seed=0).flatten(), minlength=1).argsort()
    ids = tuple(each for each in common[-3:].tolist() if each < model.process.num_tokens)
    x = sampler(Restricted(model.network, ids, model.process.num_tokens), rows, seed=0)
    assert not torch.isin(x, torch.tensor(ids)).any()


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"forbid": "Xx"}, "forbid: got 'Xx', which is in no token of this model; it has the elements"),
        ({"forbid": [""]}, "forbid: got ''"),
        ({"forbid": "Br,Xx"}, "got 'Xx'"),
        ({"forbid": "O", "prompt": "CO"}, "forbid: got O, but the prompt or the ending has it"),
        ({"forbid": ["C", "O"], "ending": "O"}, "forbid: got O, but the prompt or the ending has it"),
        ({"filters": "pain"}, "unknown filter: got 'pain'"),
        ({"max_sa": 0.5}, "filter: got sa<=0.5, which nothing passes: sa is 1 to 10"),
        ({"min_qed": 0.8, "filters": "qed<0.5"}, "filter: got qed>=0.8 and qed<0.5, which nothing passes"),
        ({"filter_smarts": "missing.smarts"}, "cannot read missing.smarts"),
        ({"diverse": 0}, "diverse: got 0, must be a whole number of at least 1"),
        ({"diverse": 6}, "diverse: got 6, must be at most n, 5"),
        ({"diverse": 1.5}, "diverse: got 1.5"),
    ],
    ids=str,
)
def test_contradictions_are_refused(asked: dict[str, Any], says: str, tiny_model: Model) -> None:
    with pytest.raises(MoldiffError) as caught:
        tiny_model.generate(5, **asked)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_that_atoms_are_made_of_cannot_be_forbidden(tiny_model: Model) -> None:
    atoms = {tiny_model.tokenizer.atom(token) for token in tiny_model.tokenizer.vocab} - {None}
    with pytest.raises(MoldiffError, match="which leaves no atom to build of"):
        tiny_model.generate(5, forbid=sorted({atom.element for atom in atoms}))


@pytest.mark.parametrize("name", ["digits", "text"])
@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"filters": "pains"}, "filter: got pains, but there are none for"),
        ({"filter_smarts": "a.smarts"}, "filter: got a.smarts, but there are none for"),
        ({"max_sa": 4}, "filter: got sa<=4, but there are none for"),
        ({"forbid": "Br"}, "forbid: got Br, but it takes molecules only, not"),
        ({"diverse": 1}, "diverse: it takes molecules only, not"),
    ],
    ids=str,
)
def test_other_modalities_refuse_all_of_it(name: str, asked: dict[str, Any], says: str) -> None:
    with pytest.raises(MoldiffError, match=says):
        load(name, "cpu").generate(1, **asked)


def test_rejected_rows_keep_their_row_and_say_why(tiny_model: Model) -> None:
    plain = tiny_model.generate(150, **EASY)
    found = tiny_model.generate(150, **EASY, filters=FILTERS)
    frame = found.frame
    unchanged = [name for name in plain.frame if name != "reason"]
    pd.testing.assert_frame_equal(frame[unchanged], plain.frame[unchanged])
    sane = frame["sane"].to_numpy(dtype=bool)
    pd.testing.assert_series_equal(frame["reason"][~sane], plain.frame["reason"][~sane])
    assert not frame["passes"][~sane].any()
    verdicts = Filters.of(FILTERS)(frame["smiles"][sane].tolist())
    assert [why is None for why in verdicts] == frame["passes"][sane].tolist()
    told = [None if pd.isna(why) else why for why in frame["reason"][sane]]
    assert told == [None if why is None else f"filtered: {why}" for why in verdicts]
    filtered = found.summary["filtered"]
    assert filtered["passed"] == frame["passes"].sum() > 0
    assert list(filtered["rejected"]) == ["logp<=1.5", "brenk", "veber"]
    assert sum(filtered["rejected"].values()) == sane.sum() - filtered["passed"] > 0
    # What filters say is not what was drawn: every other count stays.
    same = ("valid", "sane", "unique", "rejects", "novel", "validity", "histograms")
    assert {name: found.summary[name] for name in same} == {name: plain.summary[name] for name in same}
    assert set(found.best) <= set(frame.index[frame["passes"]])
    assert set(found.outcome.best.index) <= set(frame.index[frame["passes"]])


def test_distinct_rows_are_drawn_until_so_many_pass(tiny_model: Model) -> None:
    found = tiny_model.generate(4, **EASY, unique=True, max_samples=400, filters=FILTERS)
    assert found.outcome.whole
    assert len(found) == 4
    assert found.frame["passes"].all()
    assert found.frame["smiles"].is_unique
    assert Filters.of(FILTERS)(found.frame["smiles"].tolist()) == [None] * 4
    short = tiny_model.generate(4, **EASY, unique=True, max_samples=5, filters=FILTERS)
    assert not short.outcome.whole
    assert short.frame["smiles"].tolist() == found.frame["smiles"].tolist()[: len(short)]


@pytest.mark.parametrize("more", [{}, {"filters": FILTERS}, {"unique": True, "max_samples": 400}], ids=str)
def test_the_diverse_are_picked_from_distinct_rows_that_are_wanted(
    more: dict[str, Any], tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "SCORED", 16)
    found = tiny_model.generate(200, **EASY, **more, diverse=3)
    frame = found.frame
    wanted = frame[frame["passes"] if "passes" in frame else frame["sane"]].drop_duplicates("smiles")
    picker = Picker()
    picker.add(wanted["smiles"].tolist())
    picks = wanted.index[picker.picks(3)]
    assert frame["diverse"].dropna().sort_values().index.tolist() == picks.tolist() == found.best
    assert frame.loc[picks, "diverse"].tolist() == [1, 2, 3]
    assert found.outcome.best["smiles"].tolist() == wanted.loc[picks, "smiles"].tolist()
    assert found.summary["diverse"] == {
        "asked": 3,
        "candidates": len(wanted),
        "picked": 3,
        "least_distance": picker.apart(picker.picks(3)),
    }


def test_too_few_candidates_are_no_error(tiny_model: Model) -> None:
    found = tiny_model.generate(20, **EASY, filters="logp<=-3", diverse=20)
    facts = found.summary["diverse"]
    assert facts["picked"] == facts["candidates"] < 20
    none = tiny_model.generate(3, **EASY, filters="mw>=9999", diverse=2)
    assert none.summary["diverse"] == {"asked": 2, "candidates": 0, "picked": 0, "least_distance": None}
    assert none.best == []
    assert none.frame["diverse"].isna().all()
    json.loads(none.to_json())


def test_a_stream_goes_on_after_any_piece(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "GROUP", {"cpu": 30})
    monkeypatch.setattr(stream, "SCORED", 8)
    asked: dict[str, Any] = {**EASY, "filters": FILTERS, "forbid": "N", "diverse": 4}
    whole = tiny_model.start(asked_for(40, **asked))
    pieces = list(whole.pieces())
    for done in (1, 3, len(pieces)):
        again = tiny_model.start(asked_for(40, **asked))
        for piece in pieces[:done]:
            assert piece.state is not None
            again.replay(piece.frame.reset_index(drop=True), piece.state)
        for ours, theirs in zip(again.pieces(), pieces[done:], strict=True):
            pd.testing.assert_frame_equal(ours.frame, theirs.frame)
        for name in ("filtered", "diverse", "rejects"):
            assert again.outcome().summary[name] == whole.outcome().summary[name]
        pd.testing.assert_frame_equal(again.outcome().best, whole.outcome().best)


def test_what_is_asked_is_part_of_what_fixes_a_run(tiny_model: Model, tmp_path: Path) -> None:
    path = tmp_path / "a.smarts"
    path.write_text("C#N\n", "utf-8")
    ways: list[dict[str, Any]] = [
        {},
        {"filters": "pains"},
        {"filters": ["pains", "brenk"]},
        {"max_sa": 4},
        {"filter_smarts": path},
        {"forbid": "N"},
        {"forbid": "charges"},
        {"diverse": 3},
        {"diverse": 4},
    ]
    known = [json.dumps(tiny_model.start(asked_for(9, **way)).identity(), sort_keys=True) for way in ways]
    path.write_text("C=O\n", "utf-8")
    known.append(json.dumps(tiny_model.start(asked_for(9, filter_smarts=path)).identity(), sort_keys=True))
    assert len(set(known)) == len(known)
