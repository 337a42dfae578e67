"""Streams: the same rows as at once, gone on with after any piece, and only so many held."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from moldiff import Model
from moldiff.errors import MoldiffError
from moldiff.generation import stream
from moldiff.generation.request import asked_for
from moldiff.generation.stream import Stream

#: What depends on the clock.
TIMES = ("seconds", "molecules_per_second")
#: A setting at which the small model draws a molecule now and then.
EASY: dict[str, Any] = {"steps": 12, "complete": True, "temperature": 0.5}


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of a few dozen rows, scored a few at a time, so that little work has many pieces."""
    monkeypatch.setattr(stream, "GROUP", {"cpu": 30})
    monkeypatch.setattr(stream, "SCORED", 8)


def facts(found: Stream) -> dict[str, Any]:
    """The summary as it is saved, without what depends on the clock."""
    known = json.loads(found.outcome().to_json())
    return {name: value for name, value in known.items() if name not in TIMES}


def start(model: Model, n: int | None, **asked: Any) -> Stream:
    return model.start(asked_for(n, **asked))


def test_a_stream_has_the_rows_and_the_summary_of_a_call(tiny_model: Model) -> None:
    whole = tiny_model.generate(70, targets="qed=0.5", seed=3)
    told: list[int] = []
    found = tiny_model.stream(70, targets="qed=0.5", seed=3, progress=told.append)
    frames = list(found)
    assert [len(frame) for frame in frames] == [8, 8, 8, 6, 8, 8, 8, 6, 8, 2]
    together = pd.concat(frames)
    assert together.index.tolist() == list(range(70))
    assert_frame_equal(together.reset_index(drop=True), whole.frame, check_dtype=False)
    assert facts(found) == {k: v for k, v in json.loads(whole.to_json()).items() if k not in TIMES}
    assert told == sorted(told)
    assert told[-1] == 70
    assert list(found) == []  # once


def test_how_rows_are_cut_changes_no_figure(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {"targets": ["qed=0.4..0.6", "ring_count=high"], "scale": 2.0}
    fine = tiny_model.generate(64, **asked)
    monkeypatch.setattr(stream, "GROUP", {"cpu": 1000})
    monkeypatch.setattr(stream, "SCORED", 1000)
    coarse = tiny_model.generate(64, **asked)
    assert_frame_equal(fine.frame, coarse.frame, check_dtype=False)
    assert fine.best == coarse.best
    for (name, one), (_, other) in zip(leaves(fine.summary), leaves(coarse.summary), strict=True):
        if name[-1] not in TIMES:
            assert one == (
                pytest.approx(other, rel=1e-12, nan_ok=True) if isinstance(other, float) else other
            )


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every entry of a summary, with the names on the way to it."""
    if isinstance(value, dict):
        for name in sorted(value):
            yield from leaves(value[name], (*path, name))
    else:
        yield path, value


@pytest.mark.parametrize(
    "asked",
    [{"n": 36}, {"n": 36, "targets": "qed=0.4..0.6"}, {"n": 12, "unique": True, "max_samples": 60}],
    ids=["plain", "targets", "unique"],
)
def test_a_stream_goes_on_after_any_piece(
    asked: dict[str, Any], tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "FEW", 20)
    whole = start(tiny_model, **EASY, **asked)
    pieces = list(whole.pieces())
    assert len(pieces) > 4
    for done in range(len(pieces) + 1):
        again = start(tiny_model, **EASY, **asked)
        for piece in pieces[:done]:
            assert piece.state is not None
            state = json.loads(json.dumps(piece.state))
            kept = again.replay(piece.frame.reset_index(drop=True), state).keep
            np.testing.assert_array_equal(kept, piece.keep)
        rest = list(again.pieces())
        assert [piece.ids.tolist() for piece in rest] == [piece.ids.tolist() for piece in pieces[done:]]
        for ours, theirs in zip(rest, pieces[done:], strict=True):
            assert_frame_equal(ours.frame, theirs.frame)
            assert ours.state is not None
            assert theirs.state is not None
            assert ours.state["group"] == theirs.state["group"]
            np.testing.assert_array_equal(ours.keep, theirs.keep)
        assert facts(again) == facts(whole)


def test_a_stream_lets_go_of_its_frames(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moldiff.generation.totals.KEPT", 5)
    alive: list[weakref.ref[pd.DataFrame]] = []
    most = 0
    for frame in tiny_model.stream(120, steps=2):
        alive.append(weakref.ref(frame))
        gc.collect()
        most = max(most, sum(each() is not None for each in alive))
    assert len(alive) == 16
    assert most <= 2


def test_totals_keep_no_more_rows_than_they_say(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moldiff.generation.totals.KEPT", 5)
    found = start(tiny_model, 120, **EASY)
    whole = pd.concat(list(found))
    outcome = found.outcome()
    assert outcome.first.index.tolist() == [0, 1, 2, 3, 4]
    good = whole[whole["sane"]].drop_duplicates("smiles")
    assert len(good) > 5
    order = good.sort_values("novel", ascending=False, kind="stable").index[:5]
    assert outcome.best.index.tolist() == list(order)


def test_distinct_rows_are_drawn_until_there_are_enough(tiny_model: Model) -> None:
    found = tiny_model.generate(8, unique=True, max_samples=400, **EASY)
    assert len(found) == found.summary["kept"] == found.summary["requested"] == 8
    assert found.outcome.whole
    assert found.frame["sane"].all()
    assert found.frame["smiles"].is_unique
    drawn = found.summary["drawn"]
    assert 8 < drawn < 400
    # They are the first distinct sane ones of all rows, and the figures are over all rows.
    plain = tiny_model.generate(drawn, **EASY)
    distinct = plain.frame[plain.frame["sane"]].drop_duplicates("smiles").head(8)
    assert found.frame["raw"].tolist() == distinct["raw"].tolist()
    for name in ("valid", "sane", "unique", "validity", "rejects", "forwards_per_molecule"):
        assert found.summary[name] == plain.summary[name]
    assert set(found.outcome.best["smiles"]) == set(found.frame["smiles"])


def test_a_budget_ends_the_search(tiny_model: Model) -> None:
    found = tiny_model.generate(50, unique=True, max_samples=64)
    assert found.summary["drawn"] == found.summary["max_samples"] == 64
    assert len(found) == found.summary["kept"] < 50
    assert not found.outcome.whole
    assert not found.interrupted
    assert tiny_model.stream(3, unique=True).outcome().summary["max_samples"] == 60


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"n": 5, "max_samples": 10}, "max samples: got 10, it goes with unique only"),
        ({"n": 5, "unique": True, "max_samples": 4}, "max samples: got 4, must be at least n, 5"),
        ({"n": 5, "unique": True, "max_samples": 0}, "max samples: got 0"),
        ({"n": None}, "n: got nothing"),
        ({"n": 5, "per_target": 2}, "per target: got 2, it goes with targets from a file only"),
        ({"n": 5, "workers": 0}, "workers: got 0"),
        ({"n": 5, "oracles": "nonsense"}, "nonsense"),
    ],
)
def test_what_does_not_go_together_is_refused(asked: dict[str, Any], message: str, tiny_model: Model) -> None:
    with pytest.raises(MoldiffError, match=message) as caught:
        tiny_model.generate(**asked)
    assert len(str(caught.value).splitlines()) == 1


def test_an_interrupt_leaves_rows_out_and_says_which(tiny_model: Model) -> None:
    def stop(done: int) -> None:
        if done >= 40:
            raise KeyboardInterrupt

    found = tiny_model.stream(100, batch_size=3, progress=stop)
    frames: list[pd.DataFrame] = []
    with pytest.raises(KeyboardInterrupt):
        frames.extend(found)
    rows = pd.concat(frames)
    assert found.interrupted
    runs = found.outcome().summary["samples"]
    assert runs[0][0] == 0
    assert runs[0][1] >= 29  # the first group is whole
    assert [i for first, last in runs for i in range(first, last + 1)] == rows.index.tolist()
    whole = tiny_model.generate(60)
    assert rows["raw"].tolist() == whole.frame.loc[rows.index, "raw"].tolist()
    assert found.outcome().summary["drawn"] == len(rows) < 60


def test_oracles_add_columns_and_figures(tiny_model: Model) -> None:
    found = tiny_model.generate(40, oracles=["rotatable_bonds", "carbons=smarts:[#6]"], **EASY)
    frame = found.frame
    assert list(frame.columns[-3:]) == ["rotatable_bonds", "carbons", "oracle_reason"]
    valid = frame[frame["valid"]]
    assert len(valid) > 1
    assert valid["carbons"].tolist() == [sum(c in "Cc" for c in text) for text in valid["smiles"]]
    assert frame.loc[~frame["valid"], "carbons"].isna().all()
    measured = found.summary["measured"]["carbons"]
    assert measured["count"] == len(valid)
    assert measured["missing"] == 0
    assert measured["mean"] == pytest.approx(valid["carbons"].mean())
    assert found.summary["oracles"] == ["rotatable_bonds", "carbons=smarts:[#6]"]
    plain = tiny_model.generate(40, **EASY).frame
    assert_frame_equal(frame[plain.columns], plain)
