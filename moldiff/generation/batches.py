"""Batches: the rows of a request drawn in batches of one length, with what they cost."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any, Self, final

import numpy as np
import torch
from torch import Tensor

from moldiff.assembly import build_sampler
from moldiff.config import Setting
from moldiff.diffusion.process import Level
from moldiff.diffusion.restriction import Restricted
from moldiff.diffusion.steering import Found
from moldiff.errors import MoldiffError
from moldiff.generation.guided import Loaded as Loaded
from moldiff.generation.guided import guided, resolved
from moldiff.generation.plan import Drawn, Ids
from moldiff.generation.repair import Repair
from moldiff.generation.request import Request
from moldiff.generation.search import Reward
from moldiff.nn.cost import Cost, count_forwards
from moldiff.nn.precision import autocast
from moldiff.types import Given, Kept, Rows, Template

#: Tokens a batch when the caller does not say: enough to keep the device busy, little enough for its memory.
AUTO_TOKENS = {"cpu": 8192, "cuda": 262144, "mps": 32768}
#: Probabilities a batch, so that a large vocabulary does not fill the memory: tokens times their kinds.
AUTO_PROBABILITIES = 2**26


@final
@dataclass(frozen=True)
class Spent:
    """What rows cost.

    Args:
        drawn: the rows.
        rows: rows the network was asked about.
        tokens: the same times their length.
        seconds: by the clock, sampling alone.
        distance: the sum of the rows' distances from their targets, as ``Drawn`` has them.
        asked: readable rows whose reward a search asked for, repeats too.
        classifier_rows: rows that a classifier was asked about.
        classifier_tokens: the same times their length.
        classifier_gradients: of these rows, those by which a gradient was taken, twice as dear again.
        repair_rows: of ``rows``, those that a repair asked about.
    """

    drawn: int = 0
    rows: int = 0
    tokens: int = 0
    seconds: float = 0.0
    distance: float = 0.0
    asked: int = 0
    classifier_rows: int = 0
    classifier_tokens: int = 0
    classifier_gradients: int = 0
    repair_rows: int = 0

    def __add__(self, other: Spent) -> Self:
        """Both together."""
        theirs = asdict(other)
        return type(self)(**{name: value + theirs[name] for name, value in asdict(self).items()})

    def facts(self, noun: str) -> dict[str, float]:
        """What a summary says of it; ``noun`` is what a row is called."""
        n, seconds = self.drawn, self.seconds
        return {
            f"forwards_per_{noun}": round(self.rows / n, 3) if n else 0.0,
            f"token_forwards_per_{noun}": round(self.tokens / n, 2) if n else 0.0,
            "seconds": round(seconds, 3),
            f"{noun}s_per_second": round(n / seconds, 2) if seconds else 0.0,
        }

    def redrawn(self) -> float:
        """Forwards that a repair took, per sample."""
        return round(self.repair_rows / self.drawn, 3) if self.drawn else 0.0

    def asked_besides(self, noun: str) -> dict[str, float]:
        """What a summary says of a classifier's share, and of both networks together."""
        n, rows, tokens = max(1, self.drawn), self.classifier_rows, self.classifier_tokens
        return {
            f"classifier_forwards_per_{noun}": round(rows / n, 3),
            f"classifier_token_forwards_per_{noun}": round(tokens / n, 2),
            f"classifier_gradients_per_{noun}": round(self.classifier_gradients / n, 3),
            f"all_forwards_per_{noun}": round((self.rows + rows) / n, 3),
            f"all_token_forwards_per_{noun}": round((self.tokens + tokens) / n, 2),
        }


@final
class Batches:
    """Draws rows of a request; row i depends on (seed, i) alone.

    Raises:
        MoldiffError: a setting, a target or a level that does not go with the model.
    """

    def __init__(self, model: Loaded, request: Request) -> None:
        request = resolved(model, request)
        self._model, self._request = model, request
        self.setting: Setting = request.setting(model.card.default)
        #: What pushes the rows, with the plan and the training rows that it goes by.
        self.guided = guided(model, request, self.setting)
        self.plan, level = self.guided.plan, self.guided.level
        self.level: Level = level or model.process.level
        self._sampler = self._correcting(build_sampler(model.process, self.setting, level))
        #: Reverse steps; None for a sampler without.
        self.steps: int | None = getattr(self._sampler, "steps", None)
        #: Whether the sampler says how long a row is, and not the plan.
        self._own_length: bool = getattr(self._sampler, "own_length", False)
        if self._own_length and self.setting.complete:
            raise MoldiffError("complete: got rows of their own length, it takes length=drawn only")
        #: What has been spent so far.
        self.spent = Spent()
        #: By row of a search, the reward of what was kept and of the sample without the search.
        self.rewards: dict[int, tuple[float, float]] = {}
        self._reward = self._searched()
        #: What draws rows again that are no items; None where they are left as they are.
        self.repair: Repair | None = None
        #: What every row keeps.
        self.kept = Kept()
        if request.given != Given():
            self.kept = model.modality.kept(model.tokenizer, request.given)
        self._check_templates()
        #: What predicts: the network, or what it says without the forbidden tokens.
        self._network: Any = model.network if not request.forbid else self._restricted(request.forbid)
        if request.repair:
            self.repair = Repair(model.modality, model.tokenizer, model.process, request.repair)

    def draw(self, ids: Ids) -> Iterator[tuple[Ids, list[list[int]]]]:
        """Rows ids (B,) in parts of one length: their numbers and tokens. The cost is counted on the way."""
        drawn = self.plan.draw(ids, self._request.seed)
        if self._own_length:
            longest = np.full_like(drawn.lengths, self._model.card.max_length)
            drawn = replace(drawn, lengths=longest)
        if self._request.templates:
            lengths = [self._room(self._request.templates[i]) for i in ids]
            drawn = replace(drawn, lengths=np.array(lengths))
        drawn = replace(drawn, lengths=self._long_enough(drawn.lengths))
        kinds = max(1, self._model.process.num_tokens)
        budget = min(AUTO_TOKENS[self._model.device.type], AUTO_PROBABILITIES // kinds)
        for length in np.unique(drawn.lengths):
            index = np.flatnonzero(drawn.lengths == length)
            size = self._request.batch_size or max(1, budget // int(length))
            size = max(1, size // self.particles)
            for part in np.split(index, range(size, len(index), size)):
                yield ids[part], self._counted(ids, drawn, part)

    def _long_enough(self, lengths: Ids) -> Ids:
        """Lengths (B,), those too short for what every row keeps raised; MoldiffError where none will do."""
        most = self._model.card.max_length
        if self.kept.least > most:
            got = f"got {self.kept.least} tokens to keep, the model's rows have {most} at most"
            raise MoldiffError(f"prompt and ending: {got}")
        return np.maximum(lengths, self.kept.least)

    def _room(self, template: Template) -> int:
        """Places of a template's row: as many, or more where the sampler ends it and it may go on."""
        goes_on = self._own_length and template[-1] is None
        return self._model.card.max_length if goes_on else len(template)

    def _check_templates(self) -> None:
        """Refuses templates that are no rows of the model."""
        most, kinds = self._model.card.max_length, self._model.process.num_tokens
        for number, template in enumerate(self._request.templates):
            got = f"templates: got number {number} with {len(template)} places"
            if not 1 <= len(template) <= most:
                raise MoldiffError(f"{got}, the model's rows have 1 to {most}")
            if any(each is not None and not 0 <= each < kinds for each in template):
                raise MoldiffError(f"{got} and a token that is none of 0 to {kinds - 1}")

    @property
    def particles(self) -> int:
        """How many rows are walked for each that is drawn."""
        return 1 if self._request.search is None else self._request.search.size

    @property
    def sought(self) -> list[str]:
        """What a search seeks, in words."""
        return [] if self._reward is None else self._reward.texts

    def close(self) -> None:
        """Ends what the search has started."""
        if self._reward is not None:
            self._reward.close()

    def _counted(self, ids: Ids, drawn: Drawn, part: Ids) -> list[list[int]]:
        """The tokens of a part of what was drawn, of one length."""
        told = None if drawn.cond is None else drawn.cond[torch.from_numpy(part)]
        length, precision = int(drawn.lengths[part[0]]), self._request.precision
        rows = Rows(torch.from_numpy(ids[part]), length, told, *self._frozen(ids[part], length))
        started, whole, again = time.perf_counter(), 0, 0
        asked = 0 if self._reward is None else self._reward.asked
        network, classifier = self._model.network, self.guided.classifier
        besides = nullcontext(Cost()) if classifier is None else count_forwards(classifier.network)
        with count_forwards(network) as cost, besides as more, autocast(self._model.device, precision):
            try:
                tokens = self._sampled(rows, self._request.seed)
                if self.repair is not None:
                    first = cost.rows
                    tokens = self.repair(rows, tokens, self._request.seed, self._sampled)
                    again = cost.rows - first
                whole = len(part)
                # Rows of their own length are filled up with what is no token.
                sizes = (tokens < self._model.process.num_tokens).sum(1).tolist()
                return [row[:size] for row, size in zip(tokens.tolist(), sizes, strict=True)]
            finally:
                # Of a part that an interrupt ends, the rows are lost but not what they cost.
                seconds = time.perf_counter() - started
                away = float(drawn.distance[part].sum()) if whole else 0.0
                calls = 0 if self._reward is None else self._reward.asked - asked
                classified = more.rows, more.tokens, more.gradients
                self.spent += Spent(whole, cost.rows, cost.tokens, seconds, away, calls, *classified, again)

    def _frozen(self, ids: Ids, length: int) -> tuple[Tensor, Tensor] | tuple[None, None]:
        """The tokens (B, L) that rows ids (B,) keep, and where; None where they keep none."""
        if self._request.templates:
            given = [self._request.templates[each] for each in ids]
            rows = [(*row, *[None] * (length - len(row))) for row in given]
        elif self.kept.least:
            rows = [self.kept.places(length)] * len(ids)
        else:
            return None, None
        tokens = torch.tensor([[0 if each is None else each for each in row] for row in rows])
        return tokens, torch.tensor([[each is not None for each in row] for row in rows])

    def _sampled(self, rows: Rows, seed: int) -> Tensor:
        """The tokens (B, L) of rows on the CPU, there too."""
        device = self._model.device
        there = _of(rows, lambda each: each.to(device))
        try:
            tokens: Tensor = self._sampler(self._network, there, self.guided.guidance, seed).cpu()
            return tokens
        except torch.OutOfMemoryError:
            if len(rows.ids) == 1:
                raise MoldiffError(f"device {device}: out of memory for a single row") from None
        # Samples do not depend on the batch, so two halves are as good as the whole.
        half = len(rows.ids) // 2
        halves = (_of(rows, lambda each: each[:half]), _of(rows, lambda each: each[half:]))
        return torch.cat([self._sampled(part, seed) for part in halves])

    def _restricted(self, names: Sequence[str]) -> Restricted:
        """The network under which tokens are never drawn; MoldiffError where every row keeps one of them."""
        model = self._model
        held = {*self.kept.start, *self.kept.end, *self.kept.whole}
        for name in names:
            if held & set(model.modality.forbidden(model.tokenizer, [name])):
                raise MoldiffError(f"forbid: got {name}, but the prompt or the ending has it; leave one off")
        ids = model.modality.forbidden(model.tokenizer, names)
        return Restricted(model.network, ids, model.process.num_tokens)

    def _correcting(self, sampler: Any) -> Any:
        """A sampler whose corrections may ask what is sane; MoldiffError where the model makes none."""
        corrector, model = getattr(sampler, "corrector", None), self._model
        if corrector is None or not corrector.active:
            return sampler
        name = f"sampler {self.setting.sampler}"
        if not model.card.corrects:
            raise MoldiffError(
                f"{name}: got {model.card.name}, which was not trained to correct itself; choose mdlm, "
                "remdm-conf, or a model trained with correction.weight=1"
            )
        if corrector.guidance == "none" and self.guided.classifier is not None:
            raise MoldiffError(f"{name}: got guidance=none with a classifier, it takes guidance=full then")

        def sane(tokens: Tensor) -> Tensor:
            raw = [model.tokenizer.decode(row) for row in tokens.tolist()]
            found = [item is not None for item in model.modality.canonical(raw)]
            return torch.tensor(found, dtype=torch.bool, device=tokens.device)

        return replace(sampler, corrector=replace(corrector, well_formed=sane))

    def _searched(self) -> Reward | None:
        """Puts the search, where there is one, on top of the sampler; the reward that it asks for."""
        model, request = self._model, self._request
        if request.search is None:
            return None
        wanted, limits = request.search.rewards, (request.workers, request.oracle_timeout)
        reward = Reward(model.modality, model.tokenizer, wanted, *limits)
        self._sampler = request.search.on(self._sampler, reward, self._told)
        return reward

    def _told(self, found: Found) -> None:
        """Notes the rewards of rows that a search has drawn."""
        kept = found.rewards.gather(-1, found.kept[:, None])[:, 0]
        first = found.rewards[:, 0].tolist()
        if self._request.search is None or not self._request.search.shows_plain:
            first = [math.nan] * len(first)
        self.rewards.update(zip(found.ids.tolist(), zip(kept.tolist(), first, strict=True), strict=True))


def strings(model: Loaded, request: Request) -> tuple[list[str], Spent]:
    """The rows of a request as the model's tokenizer spells them, in order, and what they cost; unchecked."""
    batches = Batches(model, request)
    found = [""] * request.n
    for ids, rows in batches.draw(np.arange(request.n)):
        for place, row in zip(ids, rows, strict=True):
            found[place] = model.tokenizer.decode(row)
    return found, batches.spent


def _of(rows: Rows, change: Callable[[Tensor], Tensor]) -> Rows:
    """Rows of which all that there is was changed."""
    cond, tokens, frozen = (
        None if each is None else change(each) for each in (rows.cond, rows.tokens, rows.frozen)
    )
    return Rows(change(rows.ids), rows.length, cond, tokens, frozen)
