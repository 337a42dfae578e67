"""Generation: load a model, sample rows, decode, check and score them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack, final

import pandas as pd
import torch
from torch import nn

from moldiff import checkpoint, registry
from moldiff.assembly import (
    build_network,
    build_process,
    build_tokenizer,
    misfit,
    network_config,
    pick_device,
)
from moldiff.checkpoint import Card, Checkpoint
from moldiff.diffusion.process import Formulation
from moldiff.errors import MoldiffError
from moldiff.frames import DIVERSE, wanted
from moldiff.generation.batches import AUTO_TOKENS as AUTO_TOKENS
from moldiff.generation.outcome import Outcome
from moldiff.generation.request import Asked, Request, asked_for
from moldiff.generation.stream import Progress as Progress
from moldiff.generation.stream import Stream
from moldiff.generation.totals import missed, ranked
from moldiff.nn.precision import bound_caches
from moldiff.nn.transformer import Transformer
from moldiff.targets import table_of
from moldiff.types import Modality


@final
class Model:
    """A model ready to generate."""

    def __init__(self, source: Checkpoint, device: str = "auto", network: nn.Module | None = None) -> None:
        """Builds the network of a checkpoint on ``device``; MoldiffError where they do not fit.

        ``network`` stands in for it where a model was not made here.
        """
        bound_caches()
        self.card: Card = source.card
        self.device: torch.device = pick_device(device)
        self.tokenizer = build_tokenizer(self.card.config.data.modality, self.card.tokenizer)
        self.process: Formulation = build_process(self.card.config, self.tokenizer.vocab_size)
        self.network: nn.Module = (network or self._network(source)).to(self.device).eval()
        self.table = table_of(source.part("table"), self.card.table, self.card.name)
        self._known = source.part("reference")

    # Both are made when they are first asked for: sampling alone needs no chemistry.
    @cached_property
    def modality(self) -> Modality:
        """What its rows are."""
        modality: Modality = registry.build("modality", self.card.config.data.modality)
        return modality

    @cached_property
    def reference(self) -> Any:
        """The modality's data set to be novel to; MoldiffError where the model's arrays hold none."""
        return self.modality.reference(self._known, self.card.versions)

    def _network(self, source: Checkpoint) -> Transformer:
        card, weights = source.card, source.part("network")
        if card.kind != "denoiser":
            raise MoldiffError(
                f"model {card.name}: it is a {card.kind}; to use it, name a model to generate from, "
                "with guidance cbg and this as its classifier"
            )
        size = network_config(card.config, self.process, card.max_length, card.conditions)
        fault = misfit(size, weights)
        if fault is not None:
            raise MoldiffError(f"model {card.name}: its weights do not fit its card ({fault})")
        network = build_network(card.config, self.process, card.max_length, card.conditions)
        network.load_state_dict(weights)
        return network

    def generate(
        self, n: int | None = None, *, progress: Progress | None = None, **asked: Unpack[Asked]
    ) -> Generation:
        """n samples with their properties; the keywords are those of ``Request``, and ``eta``.

        ``targets`` may be one ``name=value``, a sequence of them, or a mapping name -> value, where a pair of
        values is a range. ``targets_from`` is the path of a CSV file that asks line by line and fixes n.
        """
        return self.run(asked_for(n, **asked), progress)

    def stream(
        self, n: int | None = None, *, progress: Progress | None = None, **asked: Unpack[Asked]
    ) -> Stream:
        """The same samples, to be iterated: frames in order, of which it holds one at a time.

        Its ``outcome()`` has the summary of all rows so far.
        """
        return self.start(asked_for(n, **asked), progress)

    def start(self, request: Request, progress: Progress | None = None) -> Stream:
        """The stream of a request; MoldiffError where the model cannot be asked that."""
        return Stream(self, request, progress)

    def run(self, request: Request, progress: Progress | None = None) -> Generation:
        """The samples of a request. Interrupted from the keyboard, what was drawn and scored so far."""
        stream = self.start(request, progress)
        frames: list[pd.DataFrame] = []
        try:
            for frame in stream:
                frames.append(frame)
        except KeyboardInterrupt:
            stream.interrupted = True
        outcome = stream.outcome()
        frame = stream.ranked(pd.concat(frames)) if frames else outcome.first.head(0)
        best = self._best(frame, stream)
        return Generation(frame.reset_index(drop=True), best, outcome)

    def _best(self, frame: pd.DataFrame, stream: Stream) -> list[int]:
        """Row numbers of distinct sane samples that pass: novel ones first, nearest to the targets first.

        Where diverse ones are asked for, these alone, in the order in which they were picked.
        """
        if DIVERSE in frame:
            ranks = frame[DIVERSE].reset_index(drop=True).dropna()
            return [int(place) for place in ranks.sort_values().index]
        places = pd.Series(range(len(frame)), index=frame.index)
        good = frame[wanted(frame)].drop_duplicates(self.modality.key)
        goals = stream.plan.goals(good.index.to_numpy(dtype="int64"))
        values = {name: good[name].to_numpy(dtype=float) for name in goals}
        order = ranked(good, missed(goals, values, stream.table, len(good)))
        return [int(place) for place in places[good.index[order]]]


@final
@dataclass(frozen=True)
class Generation:
    """Samples in order, one row each, and the summary of the call.

    Args:
        frame: the table.
        best: row numbers of distinct sane samples, the best first.
        outcome: what the run came to.
    """

    frame: pd.DataFrame
    best: list[int] = field(repr=False)
    outcome: Outcome = field(repr=False)

    @property
    def summary(self) -> dict[str, Any]:
        """Facts and figures, all of them JSON but for NaN."""
        return self.outcome.summary

    @property
    def interrupted(self) -> bool:
        """Whether the keyboard stopped the call before its end."""
        return self.outcome.interrupted

    @property
    def modality(self) -> Modality:
        """What the samples are."""
        return self.outcome.modality

    def __len__(self) -> int:
        """The number of samples."""
        return len(self.frame)

    def to_pandas(self) -> pd.DataFrame:
        """One row a sample, in order."""
        return self.frame.copy()

    def to_json(self) -> str:
        """The summary as one JSON object; what is undefined, such as 0/0, is null."""
        return self.outcome.to_json()

    def save(self, path: str | Path) -> None:
        """Writes the samples in the format of the suffix, and the summary to PATH.json."""
        path = Path(path)
        self.modality.write(self.frame, path)
        self.outcome.save_summary(path)

    def picture(self, path: str | Path, count: int = 20) -> None:
        """Draws up to ``count`` of the best samples with what was asked of them."""
        self.outcome.picture(Path(path), count)

    def report(self, path: str | Path) -> None:
        """Writes a page about the call: its summary, its best and its first samples."""
        path = Path(path)
        self.modality.check_report(path)
        self.outcome.report(path)

    def _repr_html_(self) -> str:
        """A table for notebooks: the first samples under the headline figures."""
        keys = ("requested", "valid", "sane", "unique", f"forwards_per_{self.modality.noun}")
        head = ", ".join(f"{key} {self.summary[key]}" for key in keys)
        return f"<p>{head}</p>{self.frame.head(20).to_html(index=False)}"


def load(model: str = "qm9", device: str = "auto") -> Model:
    """The model of a bundled name, in a folder, or of another making: ``hf:ORG/NAME`` (docs/pretrained.md).

    Raises:
        MoldiffError: no such model, a damaged or newer one, or a device that is not there.
    """
    prefix, _, rest = model.partition(":")
    if model != prefix and prefix in registry.SOURCES:
        loaded: Model = registry.resolve("source", prefix)(rest, device)
        return loaded
    found = Model(Checkpoint.load(checkpoint.find(model)), device)
    _ = found.reference  # so that a model without one is refused here
    return found
