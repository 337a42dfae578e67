"""The method moldiff: parts of good molecules are masked again and drawn anew, beside fresh samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, final

from moldiff.batches import Batches, strings
from moldiff.chem.crossover import crossover
from moldiff.errors import MoldiffError
from moldiff.generation import Model
from moldiff.optimization.address import address
from moldiff.optimization.population import by_rank
from moldiff.optimization.spans import spans
from moldiff.request import Request
from moldiff.types import Template

#: How many tokens more than were taken out are drawn in their place, each as often as it stands here.
_CHANGES = (-2, -1, -1, 0, 0, 0, 0, 1, 1, 2)
#: The longest piece that is put in where nothing is taken out.
_INSERTED = 4


@final
@dataclass(frozen=True)
class Remasking:
    """Proposals of a model: good molecules redrawn in part, and fresh samples.

    A part is a span of a molecule's tokens in which rings and branches close. The model sees all the rest and
    draws the span anew, with about as many tokens. Parents are chosen by rank; some molecules are made of
    parts of two before a span is masked, as GenMol (Lee et al. 2025) makes them of fragments.

    Args:
        model: gives the model, when it is first needed.
        facts: what fixes the model; JSON.
        population: how many of the best molecules may be parents.
        offspring: strings a generation.
        alike: how many of the parents may share a Murcko scaffold.
        fresh: the share of proposals that are samples of the model, of no parents.
        crossed: of the others, the share that comes of two parents.
        largest: the longest span, as a share of the tokens.
        targets: what the model is asked for in all that it draws, as ``Model.generate`` spells it.
    """

    model: Callable[[], Model]
    facts: tuple[tuple[str, str], ...]
    population: int = 120
    offspring: int = 70
    alike: int | None = 20
    fresh: float = 0.1
    crossed: float = 0.5
    largest: float = 0.5
    targets: tuple[str, ...] = ()

    def identity(self) -> dict[str, Any]:
        names = ("population", "offspring", "alike", "fresh", "crossed", "largest")
        told = {"targets": list(self.targets)} if self.targets else {}
        return {**dict(self.facts), **{name: getattr(self, name) for name in names}, **told}

    def propose(self, parents: Sequence[str], scores: Sequence[float], n: int, seed: int) -> list[str]:
        rows, fresh = [], 0
        for number in range(n):
            random = Random(address(seed, number))
            row = None if random.random() < self.fresh else self._masked(parents, random)
            fresh += row is None
            rows += [] if row is None else [row]
        model = self.model()
        drawn = redrawn(model, rows, address(seed, "redrawn"), self.targets)
        return drawn + sampled(model, fresh, address(seed, "fresh"), self.targets)

    def _masked(self, parents: Sequence[str], random: Random) -> Template | None:
        """A molecule of one or two parents with a span masked; None where the model cannot spell it."""
        one, other = (parents[place] for place in by_rank(len(parents), 2, random))
        child = crossover(one, other, random) if random.random() < self.crossed else None
        model = self.model()
        try:
            ids = [each for each in model.tokenizer.encode(child or one) if each != _pad(model)]
        except MoldiffError:
            return None
        tokens = tuple(model.tokenizer.tokens(ids))
        choices = spans(tokens, max(1, round(self.largest * len(tokens))))
        length = random.choice(list(choices))
        start = random.choice(choices[length])
        drawn = max(1, length + random.choice(_CHANGES)) if length else random.randint(1, _INSERTED)
        row = (*ids[:start], *[None] * drawn, *ids[start + length :])
        return row if len(row) <= model.card.max_length else None


def redrawn(model: Model, rows: Sequence[Template], seed: int, targets: tuple[str, ...] = ()) -> list[str]:
    """What the model makes of N rows, as strings: where a token is None it draws one, the rest stays.

    Row i depends on (seed, i) alone. Only here does the method ask a model to keep tokens.
    """
    if not rows:
        return []
    pad, most = _pad(model), model.card.max_length
    full = [row if pad is None else (*row, *[pad] * (most - len(row))) for row in rows]
    return strings(model, Request(len(full), targets, seed=seed, templates=tuple(full)))[0]


def sampled(model: Model, n: int, seed: int, targets: tuple[str, ...] = ()) -> list[str]:
    """n samples of the model as strings; row i depends on (seed, i) alone."""
    return strings(model, Request(n, targets, seed=seed))[0] if n else []


def check_targets(model: Model, targets: tuple[str, ...]) -> None:
    """Refuses what the model cannot be asked for."""
    Batches(model, Request(1, targets))


def _pad(model: Model) -> int | None:
    pad: int | None = model.tokenizer.pad_id
    return pad
