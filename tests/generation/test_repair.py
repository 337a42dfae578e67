"""Repair: only what is to blame is drawn again, every forward counts, and the first draws are told apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pandas.testing import assert_frame_equal
from torch import Tensor

from moldiff import Model
from moldiff.checkpoint import Checkpoint
from moldiff.config import TrainConfig
from moldiff.errors import MoldiffError
from moldiff.generation import repair
from moldiff.generation.batches import Batches
from moldiff.generation.repair import REACH, Repair, round_seed
from moldiff.generation.request import asked_for
from moldiff.training import fit
from moldiff.types import Rows

#: A setting at which the small model draws a molecule now and then.
EASY: dict[str, Any] = {"sampler": "first-hitting", "complete": True, "temperature": 0.5}
#: What depends on the clock, or is the repair's own.
PASSING = {"seconds", "molecules_per_second", "repair", "repaired"}
COST = {"forwards_per_molecule", "token_forwards_per_molecule"}


def known(found: Any) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(found.to_json())
    return facts


class Watched:
    """A real redraw that keeps what it was asked and what it gave."""

    def __init__(self, model: Model, **asked: Any) -> None:
        self.batches = Batches(model, asked_for(1, **asked))
        self.calls: list[tuple[Rows, int, Tensor]] = []

    def __call__(self, rows: Rows, seed: int) -> Tensor:
        tokens = self.batches._sampled(rows, seed)
        self.calls.append((rows, seed, tokens))
        return tokens


def test_only_the_tokens_to_blame_of_rows_that_are_no_molecule_are_drawn_again(tiny_model: Model) -> None:
    watched = Watched(tiny_model, **EASY)
    rows = Rows(torch.arange(100, 140), 9, torch.full((40, len(tiny_model.card.conditions)), torch.nan))
    first = watched.batches._sampled(rows, 5)
    mend = Repair(tiny_model.modality, tiny_model.tokenizer, tiny_model.process, 3)
    after = mend(rows, first, 5, watched)

    def faults(tokens: Tensor, reach: int) -> list[Any]:
        found = (tiny_model.modality.fault(tiny_model.tokenizer, row, reach) for row in tokens.tolist())
        return list(found)

    now = first.clone()
    bad = torch.arange(40)
    assert len(watched.calls) == 3
    assert len({seed for _, seed, _ in watched.calls} | {5}) == 4
    for number, (asked, seed, given) in enumerate(watched.calls, 1):
        assert seed == round_seed(5, number)
        reach = REACH[min(number, len(REACH)) - 1]
        found = faults(now, reach)
        bad = torch.tensor([at for at in bad.tolist() if found[at] is not None])
        assert asked.ids.equal(rows.ids[bad])
        assert asked.frozen is not None
        assert asked.tokens is not None
        assert asked.tokens.equal(now[bad])
        for at, frozen in zip(bad.tolist(), asked.frozen, strict=True):
            assert (~frozen).nonzero().flatten().tolist() == list(found[at].places)
        assert given[asked.frozen].equal(now[bad][asked.frozen])
        now[bad] = given
    assert after.equal(now)
    # In the second round and later the row is drawn as a whole.
    assert not watched.calls[1][0].frozen.any()  # type: ignore[union-attr]
    kinds = faults(first, 0)
    for at, each in enumerate(rows.ids.tolist()):
        told = mend.mended[each]
        assert (told.rounds > 0) == (kinds[at] is not None)
        assert told.fault == getattr(kinds[at], "kind", None)
        if told.rounds:
            assert told.first == tiny_model.tokenizer.decode(first[at].tolist())
        else:
            assert after[at].equal(first[at])


def test_rounds_of_one_run_share_no_seed() -> None:
    seeds = {round_seed(seed, number) for seed in (0, 1, 2**63, -1) for number in range(1, 100)}
    assert len(seeds) == 4 * 99
    assert round_seed(7, 2) == round_seed(7, 2)


def test_no_rounds_is_what_it_was(tiny_model: Model) -> None:
    plain, none = (tiny_model.generate(30, seed=2, **EASY, **more) for more in ({}, {"repair": 0}))
    assert_frame_equal(plain.frame, none.frame)
    assert "repaired" not in plain.frame.columns
    assert not {"repair", "repaired"} & set(none.summary)
    assert {k: v for k, v in known(plain).items() if k not in PASSING} == {
        k: v for k, v in known(none).items() if k not in PASSING
    }


@pytest.mark.parametrize("targets", [(), ("qed=0.5",)])
def test_the_first_draws_are_counted_as_without_a_repair_and_the_rest_apart(
    targets: tuple[str, ...], tiny_model: Model
) -> None:
    plain = tiny_model.generate(40, seed=4, targets=targets, **EASY)
    mended = tiny_model.generate(40, seed=4, targets=targets, repair=2, **EASY)
    frame, before, after = mended.frame, known(plain), known(mended)
    touched = frame["repaired"] > 0
    assert touched.equals(~plain.frame["valid"])
    assert 0 < touched.sum() < 40
    assert frame["first"][touched].tolist() == plain.frame["raw"][touched].tolist()
    assert frame["first"][~touched].isna().all()
    assert frame["fault"].notna().equals(touched)
    shared = list(plain.frame.columns)
    assert_frame_equal(frame.loc[~touched, shared], plain.frame[~touched])
    # Counts of the first draws stand where they always do, those after the repair under a key of their own.
    counts = set(tiny_model.modality.tally(tiny_model.reference).summary())
    for name in counts:
        assert after[name] == before[name], name
    found = after["repaired"]
    assert found["valid"] == frame["valid"].sum() > before["valid"]
    assert found["validity"] == found["valid"] / 40
    assert found["unique"] == frame["smiles"].nunique()
    assert found["redrawn"] == touched.sum()
    assert found["mended"] == (touched & frame["valid"]).sum() == sum(found["by_round"].values())
    by_fault = frame[touched].groupby("fault")["valid"].agg(["size", "sum"])
    expected = {kind: {"rows": int(n), "mended": int(good)} for kind, (n, good) in by_fault.T.items()}
    assert found["by_fault"] == expected
    assert set(found) >= counts
    assert after["repair"] == 2


def test_every_forward_of_a_round_counts(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    masked = []
    sampled = Batches._sampled

    def watched(self: Batches, rows: Rows, seed: int) -> Tensor:
        if rows.frozen is not None:
            masked.append(int((~rows.frozen).sum()))
        return sampled(self, rows, seed)

    plain = tiny_model.generate(20, seed=6, **EASY).summary["forwards_per_molecule"]
    monkeypatch.setattr(Batches, "_sampled", watched)
    facts = tiny_model.generate(20, seed=6, repair=2, **EASY).summary
    assert sum(masked) > 0
    # First-hitting takes a forward a token.
    assert facts["forwards_per_molecule"] == pytest.approx(plain + sum(masked) / 20, abs=1e-3)
    assert facts["repaired"]["forwards_per_molecule"] == pytest.approx(sum(masked) / 20, abs=1e-3)


def test_the_batch_size_changes_nothing(tiny_model: Model) -> None:
    asked: dict[str, Any] = {"seed": 8, "repair": 2, "targets": "qed=0.5", **EASY}
    whole, single = (tiny_model.generate(12, batch_size=size, **asked) for size in (None, 1))
    assert_frame_equal(whole.frame, single.frame)
    assert known(whole)["repaired"] == known(single)["repaired"]
    longer = tiny_model.generate(20, **asked)
    assert_frame_equal(longer.frame.head(12), whole.frame, check_dtype=False)


@pytest.mark.parametrize("sampler", ["mdlm", "remdm-conf", "adaptive-order", "entropy-bound"])
def test_any_sampler_of_masks_can_repair(sampler: str, tiny_model: Model) -> None:
    found = tiny_model.generate(12, sampler=sampler, steps=12, temperature=0.5, repair=2)
    assert known(found)["repaired"]["valid"] >= known(found)["valid"]
    assert (found.frame["repaired"] > 0).any()


def test_distinct_molecules_are_chosen_after_the_repair(tiny_model: Model) -> None:
    found = tiny_model.generate(4, unique=True, repair=2, seed=1, max_samples=400, **EASY)
    assert found.frame["sane"].all()
    assert found.frame["smiles"].is_unique
    assert (found.frame["repaired"] > 0).any()
    assert known(found)["repaired"]["valid"] > known(found)["valid"]


def test_what_cannot_be_repaired_is_refused(tiny_model: Model, small: Callable[..., TrainConfig]) -> None:
    for rounds in (-1, 2.5, True, repair.MOST + 1):
        with pytest.raises(MoldiffError, match=r"repair: got .*, must be a whole number from 0 to"):
            tiny_model.generate(2, repair=rounds)  # type: ignore[arg-type]
    with pytest.raises(MoldiffError, match="leave one off"):
        tiny_model.generate(2, repair=1, best_of=2, reward="qed")
    settings = small("process.name=uniform", "network.time=true", "max_steps=1")
    fit.run(settings)
    uniform = Model(Checkpoint.load(settings.out), "cpu")
    with pytest.raises(MoldiffError, match="repair: got a process without masks, it takes masks only"):
        uniform.generate(2, steps=2, repair=1)
