"""What the correction term teaches: the best guess of the data given the network's own, by enumeration."""

from typing import Any

import torch
from torch import Tensor, nn

from moldiff.diffusion.objective import Batch, DiffusionObjective
from moldiff.diffusion.process import Masked
from moldiff.diffusion.random import RowRandom
from moldiff.diffusion.self_correction import SelfCorrection
from moldiff.nn.transformer import Transformer, TransformerConfig


def completions(toy: Any, process: Masked) -> Tensor:
    """Weights of every clean row (K**L,) beside every completion (K**L,) of it that the exact network makes.

    The mask of a set of n positions has the chance t^n (1 - t)^(L - n) at t, and counts w(t) = 1 / t.
    """
    length, kinds = toy.length, toy.tokens
    denoiser = toy.denoiser(process)
    weights = torch.zeros(kinds**length, kinds**length, dtype=torch.float64)
    grid = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000 * 0.9 + 0.1
    for hidden in toy.states(2).bool():
        n = int(hidden.sum())
        weight = (grid**n * (1 - grid) ** (length - n) / grid).mean()
        x_t = toy.clean.masked_fill(hidden, process.num_tokens)
        best = denoiser(x_t, torch.ones(len(x_t))).argmax(-1)
        y = torch.where(hidden, best, toy.clean)
        weights[torch.arange(len(y)), toy.code(y, kinds)] += weight * toy.law
    return weights


class Tabular(nn.Module):
    """The exact network where it reads masks, and a table of free entries where it reads none."""

    def __init__(self, toy: Any, process: Masked) -> None:
        super().__init__()
        self.toy, self.exact, self.mask = toy, toy.denoiser(process), process.num_tokens
        self.table = nn.Parameter(torch.zeros(toy.tokens**toy.length, toy.length, toy.tokens))
        self.second = False

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        self.second = not self.second
        if self.second:
            return torch.as_tensor(self.exact(x_t, t)).float()
        return self.table[self.toy.code(x_t, self.toy.tokens)].log_softmax(-1)


def test_what_is_learnt_is_the_best_guess_of_the_data_given_the_guess(triple: Any) -> None:
    # The slope of the loss at an even table is what the closed form says, so its optimum is Bayes' rule.
    process = triple.masked()
    weights = completions(triple, process)
    objective = SelfCorrection(DiffusionObjective(process, RowRandom(0)), denoise=0.0)
    table, rows, steps = Tabular(triple, process), 20000, 20
    for step in range(steps):
        drawn = torch.multinomial(
            triple.law, rows, replacement=True, generator=torch.Generator().manual_seed(step)
        )
        batch = Batch(triple.clean[drawn], None, torch.arange(rows), rows, step, rows)
        (objective(table, batch).total / steps).backward()  # type: ignore[no-untyped-call]
        table.second = False
    assert table.table.grad is not None
    clean = nn.functional.one_hot(triple.clean, triple.tokens).double()
    right = torch.einsum("xy,xlv->ylv", weights, clean)
    wanted = weights.sum(0)[:, None, None] / triple.tokens - right
    found = table.table.grad.double()
    assert float((found - wanted).abs().sum() / wanted.abs().sum()) < 0.02


def mended(objective: Any, steps: int) -> float:
    """The share of the wrong tokens, one to three a row, that a network trained on four rows sets right."""
    source = torch.Generator().manual_seed(4)
    kinds, length = 8, 12
    four = torch.randint(kinds, (4, length), generator=source)
    torch.manual_seed(1)
    net = Transformer(TransformerConfig(kinds, kinds + 1, length, 32, 2, 2))
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    for step in range(steps):
        batch = Batch(four.repeat(8, 1), None, torch.arange(32), 32, step, 32 * length)
        optimizer.zero_grad()
        objective(net, batch).total.backward()
        optimizer.step()
    right = asked = 0
    net.eval()
    for wrong in (1, 2, 3):
        x = four.repeat(50, 1)
        places = torch.rand(x.shape, generator=source).argsort(-1).argsort(-1) < wrong
        other = (x + 1 + torch.randint(kinds - 1, x.shape, generator=source)) % kinds
        y = torch.where(places, other, x)
        with torch.no_grad():
            found = net(y, torch.zeros(len(y))).argmax(-1) == x
        right, asked = right + int(found[places].sum()), asked + int(places.sum())
    return right / asked


def test_four_rows_are_mended_after_the_term_and_not_without() -> None:
    process = Masked(8)
    plain = DiffusionObjective(process, RowRandom(0))
    assert mended(SelfCorrection(plain, input="sampled"), 100) > 0.97
    assert mended(plain, 100) < 0.95
