"""Batches of training: functions of (seed, step), of one length, shared out among ranks."""

import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from moldiff import registry
from moldiff.assembly import build_network, build_process
from moldiff.conditions import fit_all
from moldiff.config import TrainConfig
from moldiff.diffusion.objective import Batch
from moldiff.training import intake
from moldiff.training.trainee import Trainee

Small = Callable[..., TrainConfig]


@pytest.fixture(scope="module")
def tokens(textbook: Path) -> Any:
    return registry.build("modality", "molecules").prepare(textbook, heldout=0.2)


@pytest.fixture
def module(tokens: Any, small: Small) -> Any:
    settings = small("batch_tokens=64", "max_steps=1000")
    conditions = fit_all(settings.conditions, intake.properties(tokens), ~tokens.heldout)
    return intake.data_module(tokens, settings, conditions)


def items(data: Any, flags: Any) -> set[tuple[int, ...]]:
    return {tuple(data.item(i)) for i in np.flatnonzero(flags)}


def rows(batches: Iterator[Batch]) -> list[tuple[int, ...]]:
    return [tuple(row) for batch in batches for row in batch.tokens.tolist()]


def test_an_epoch_visits_each_training_row_and_no_held_out_one(tokens: Any, module: Any) -> None:
    epoch = module.steps_per_epoch
    for number in range(3):
        batches = itertools.islice(module.train_dataloader(), number * epoch, (number + 1) * epoch)
        seen = rows(batches)
        assert len(seen) == len(set(seen))
        assert set(seen) == items(tokens, ~tokens.heldout)
    held = rows(iter(module.val_dataloader()))
    assert len(held) == len(set(held))
    assert set(held) == items(tokens, tokens.heldout)
    assert not items(tokens, tokens.heldout) & items(tokens, ~tokens.heldout)


def test_a_batch_has_one_length_and_about_the_tokens_asked(tokens: Any, module: Any) -> None:
    lengths = {tuple(tokens.item(i)): int(tokens.lengths[i]) for i in range(len(tokens))}
    sizes = set()
    for batch in itertools.islice(module.train_dataloader(), 2 * module.steps_per_epoch):
        assert {lengths[tuple(row)] for row in batch.tokens.tolist()} == {batch.tokens.shape[1]}
        assert batch.tokens.numel() <= max(64, batch.tokens.shape[1]) == batch.whole
        assert batch.size == len(batch.tokens)
        sizes.add(batch.size)
    assert len(sizes) > 3


def test_a_batch_is_a_function_of_the_seed_and_the_step(tokens: Any, small: Small) -> None:
    def steps(seed: int, start: int, stop: int) -> list[Batch]:
        settings = small("batch_tokens=64", "max_steps=200", f"seed={seed}")
        conditions = fit_all(settings.conditions, intake.properties(tokens), ~tokens.heldout)
        return list(
            itertools.islice(intake.data_module(tokens, settings, conditions).train_dataloader(), start, stop)
        )

    all_of_them, later = steps(0, 0, 200), steps(0, 150, 200)
    for first, second in zip(all_of_them[150:], later, strict=True):
        assert first.step == second.step
        assert torch.equal(first.tokens, second.tokens)
        assert first.cond is not None
        assert second.cond is not None
        torch.testing.assert_close(first.cond, second.cond, rtol=0, atol=0, equal_nan=True)
    other = steps(1, 0, 200)
    assert sum(torch.equal(a.tokens, b.tokens) for a, b in zip(all_of_them, other, strict=True)) < 20
    epoch = len({tuple(map(tuple, b.tokens.tolist())) for b in all_of_them})
    assert epoch > 150  # a second epoch is shuffled anew


def test_the_shares_of_the_ranks_make_up_the_batch(module: Any) -> None:
    plan = registry.resolve("data", "token-module")
    tokens, lengths, cond = module.rows["train"]
    parts = sys.modules[plan.__module__]
    step_plan = parts.StepPlan(lengths, 64, 0)
    sources = [
        parts.StepBatches(
            torch.from_numpy(tokens), torch.from_numpy(cond), step_plan, (0, 50), parts.Rank(i, n)
        )
        for n in (1, 3)
        for i in range(n)
    ]
    for whole, *shares in zip(*sources, strict=True):
        assert {share.size for share in shares} == {whole.size}
        places = torch.cat([share.rows for share in shares])
        assert sorted(places.tolist()) == whole.rows.tolist() == list(range(whole.size))
        assert torch.equal(torch.cat([share.tokens for share in shares]), whole.tokens[places])


def test_held_out_noise_does_not_depend_on_the_batches(tokens: Any, small: Small) -> None:
    def told(batch_tokens: int) -> dict[tuple[int, ...], int]:
        settings = small(f"batch_tokens={batch_tokens}")
        conditions = fit_all(settings.conditions, intake.properties(tokens), ~tokens.heldout)
        batches = intake.data_module(tokens, settings, conditions).val_dataloader()
        assert {(batch.size, batch.step) for batch in batches} == {(int(tokens.heldout.sum()), 0)}
        return {
            tuple(row): place
            for batch in batches
            for row, place in zip(batch.tokens.tolist(), batch.rows.tolist(), strict=True)
        }

    few, many = told(40), told(4000)
    assert few == many
    assert sorted(few.values()) == list(range(len(few)))


class Recorder(torch.nn.Module):
    """A denoiser that knows nothing and remembers what it was asked."""

    def __init__(self, num_tokens: int) -> None:
        super().__init__()
        self.num_tokens = num_tokens
        self.asked: list[tuple[Tensor, Tensor, Tensor | None]] = []

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        self.asked.append((x_t, t, cond))
        return torch.zeros(*x_t.shape, self.num_tokens).log_softmax(-1)


def asked(settings: TrainConfig, batches: list[Batch]) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Noisy tokens, times and conditions that the network sees in training on each batch."""
    process = build_process(settings, num_tokens=40)
    trainee = Trainee(build_network(settings, process, 64, settings.conditions), process, settings)
    recorder = Recorder(40)
    for batch in batches:
        trainee.objective(recorder, trainee._hide(batch))
    return recorder.asked  # type: ignore[return-value]


def same(first: tuple[Tensor, ...], second: tuple[Tensor, ...]) -> bool:
    return all(
        torch.equal(a.nan_to_num(-9.0), b.nan_to_num(-9.0)) for a, b in zip(first, second, strict=True)
    )


def test_noise_times_and_hidden_conditions_are_functions_of_the_seed_and_the_step(
    module: Any, small: Small
) -> None:
    batches = list(itertools.islice(module.train_dataloader(), 40))
    first = asked(small(), batches)
    torch.manual_seed(99)
    torch.rand(7)
    again = asked(small(), batches[::-1])[::-1]
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    other = asked(small("seed=1"), batches)
    assert not any(same(a, b) for a, b in zip(first, other, strict=True))
    moved = asked(small(), [replace(b, step=b.step + 1) for b in batches])
    assert not any(same(a, b) for a, b in zip(first, moved, strict=True))
    # A rank's rows get what they get in the whole batch.
    shares = [replace(b, tokens=b.tokens[1::2], cond=b.cond[1::2], rows=b.rows[1::2]) for b in batches]
    for whole, share in zip(first, asked(small(), shares), strict=True):
        assert same(tuple(each[1::2] for each in whole), share)


def test_conditions_are_hidden_by_number(module: Any, small: Small) -> None:
    batches = list(itertools.islice(module.train_dataloader(), 400))
    shown = torch.cat([cond for _, _, cond in asked(small(), batches)])
    known = (~shown.isnan()).sum(-1)
    assert len(known) > 1000
    for number in range(3):
        share = (known == number).double().mean()
        assert abs(share - 1 / 3) < 5 * (2 / 9 / len(known)) ** 0.5
