"""Generation: load a model, sample rows, decode, check and score them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack, final

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from moldiff import checkpoint, registry
from moldiff.assembly import build_network, build_process, build_sampler, misfit, network_config, pick_device
from moldiff.checkpoint import Card, Checkpoint
from moldiff.config import Setting
from moldiff.diffusion.process import Level, Process
from moldiff.errors import MoldiffError, unknown
from moldiff.files import written
from moldiff.nn.cost import Cost, count_forwards
from moldiff.nn.precision import autocast, resolved
from moldiff.nn.transformer import Transformer
from moldiff.request import Asked, Request, spelt_targets
from moldiff.targets import Table, Target, TargetSampler, misses, parse
from moldiff.types import Guidance, Modality, Rows

#: Tokens a batch when the caller does not say: enough to keep the device busy, little enough for its memory.
AUTO_TOKENS = {"cpu": 8192, "cuda": 262144, "mps": 32768}
#: Rows that are grouped by length together: bounds memory, and what an interrupt leaves unfinished.
GROUP = {"cpu": 2048, "cuda": 65536, "mps": 8192}
#: Samples that are checked and scored between two looks at the keyboard.
SCORED = 1000

Progress = Callable[[int], None]


@final
class Model:
    """A model ready to generate."""

    def __init__(self, source: Checkpoint, device: str = "auto") -> None:
        """Builds the network of a checkpoint on ``device``; MoldiffError where they do not fit."""
        self.card: Card = source.card
        self.device = pick_device(device)
        self.modality: Modality = registry.build("modality", self.card.config.data.modality)
        self.tokenizer = self.modality.tokenizer(self.card.tokenizer)
        self.process: Process = build_process(self.card.config, self.tokenizer.vocab_size)
        self.network = self._network(source).to(self.device).eval()
        self.table = _table(source)
        self.reference: Any = self.modality.reference(source.part("reference"), self.card.versions)

    def _network(self, source: Checkpoint) -> Transformer:
        card, weights = source.card, source.part("network")
        size = network_config(card.config, self.process, card.max_length, card.conditions)
        fault = misfit(size, weights)
        if fault is not None:
            raise MoldiffError(f"model {card.name}: its weights do not fit its card ({fault})")
        network = build_network(card.config, self.process, card.max_length, card.conditions)
        network.load_state_dict(weights)
        return network

    def generate(self, n: int, *, progress: Progress | None = None, **asked: Unpack[Asked]) -> Generation:
        """n samples with their properties; the keywords are those of ``Request``, and ``eta``.

        ``targets`` may be one ``name=value``, a sequence of them, or a mapping name -> value, where a pair of
        values is a range.
        """
        for name in asked:
            if name not in Asked.__annotations__:
                raise unknown("option of generate", name, Asked.__annotations__)
        rest: dict[str, Any] = dict(asked)
        options = {**rest.pop("options", {})}
        if "eta" in rest:
            options["eta"] = rest.pop("eta")
        targets = spelt_targets(rest.pop("targets", ()))
        return self.run(Request(n, targets, options=options, **rest), progress)

    def run(self, request: Request, progress: Progress | None = None) -> Generation:
        """The samples of a request. Interrupted from the keyboard, what was drawn and scored so far."""
        setting = request.setting(self.card.default)
        targets = [parse(text, self.card.conditions, self.table) for text in request.targets]
        plan = TargetSampler(self.table, self.card.conditions, targets)
        sampler = build_sampler(self.process, setting, request.level)
        guidance = self._guidance(setting, request.level or self.process.level)
        drawn: dict[int, list[int]] = {}
        frames: list[pd.DataFrame] = [self.modality.evaluate([], self.reference)]
        started, interrupted = time.perf_counter(), False
        with count_forwards(self.network) as cost, autocast(self.device, request.precision):
            try:
                for ids, tokens in self._sample(request, sampler, guidance, plan):
                    drawn.update(zip(ids.tolist(), tokens.tolist(), strict=True))
                    if progress is not None:
                        progress(len(drawn))
            except KeyboardInterrupt:
                interrupted = True
        seconds = time.perf_counter() - started
        numbers = sorted(drawn)
        try:
            for first in range(0, len(numbers), SCORED):
                raw = [self.tokenizer.decode(drawn[i]) for i in numbers[first : first + SCORED]]
                frames.append(self.modality.evaluate(raw, self.reference))
        except KeyboardInterrupt:
            interrupted = True
        frame = pd.concat(frames[1:] or frames, ignore_index=True)
        facts = {
            **self.modality.summarise(frame, self.reference),
            "requested": request.n,
            "drawn": len(frame),
            "interrupted": interrupted,
            **_cost(cost, len(drawn), seconds),
            "properties": self._properties(frame, targets),
            "nearest_rows_distance": plan.distance,
            "setting": {**setting.model_dump(), "steps": getattr(sampler, "steps", None)},
            "level": request.level or self.process.level,
            "precision": resolved(self.device, request.precision),
            "targets": list(request.targets),
            "seed": request.seed,
            "model": self.card.name,
            "model_sha256": self.card.sha256,
            "device": str(self.device),
            "versions": checkpoint.versions(),
        }
        if interrupted:
            facts["samples"] = numbers[: len(frame)]
        return Generation(frame, facts, self._best(frame, targets), interrupted, self.modality)

    def _guidance(self, setting: Setting, level: Level) -> Guidance:
        """The guidance of a setting; MoldiffError where it does not act at ``level``."""
        guidance: Guidance = registry.build("guidance", "cfg", scale=setting.scale)
        if not setting.complete:
            return guidance
        if level != "x0":
            raise MoldiffError(f"complete: got level {level}, it takes x0 only; leave it off")
        mask, balance = self.process.num_tokens, self.tokenizer.balance()
        restricted: Guidance = registry.build("guidance", "completable", guidance, mask, balance)
        return restricted

    def _best(self, frame: pd.DataFrame, targets: Sequence[Target]) -> list[int]:
        """Row numbers of distinct sane samples: novel ones first, nearest to the targets first."""
        good = frame[frame["sane"]].drop_duplicates(self.modality.key)
        values = {t.name: good[t.name].to_numpy(dtype=float) for t in targets}
        miss = misses(targets, values, self.table) if targets else np.zeros(len(good))
        order = np.lexsort((miss, ~good["novel"].to_numpy(dtype=bool)))
        return [int(i) for i in good.index[order]]

    def _sample(
        self, request: Request, sampler: Any, guidance: Guidance, plan: TargetSampler
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Row numbers and tokens, a batch of one length at a time."""

        def draw(ids: Tensor, length: int, cond: Tensor | None) -> Tensor:
            told = None if cond is None else cond.to(self.device)
            rows = Rows(ids.to(self.device), length, told)
            try:
                tokens: Tensor = sampler(self.network, rows, guidance, request.seed).cpu()
                return tokens
            except torch.OutOfMemoryError:
                if len(ids) == 1:
                    raise MoldiffError(f"device {self.device}: out of memory for a single row") from None
            # Samples do not depend on the batch, so two halves are as good as the whole.
            half = len(ids) // 2
            halves = (slice(None, half), slice(half, None))
            return torch.cat([draw(ids[h], length, None if cond is None else cond[h]) for h in halves])

        group, budget = GROUP[self.device.type], AUTO_TOKENS[self.device.type]
        for first in range(0, request.n, group):
            ids = torch.arange(first, min(first + group, request.n))
            lengths, cond = plan.draw(ids, request.seed)
            for length in np.unique(lengths):
                index = torch.from_numpy(np.flatnonzero(lengths == length))
                for part in torch.split(index, request.batch_size or max(1, budget // int(length))):
                    yield ids[part], draw(ids[part], int(length), None if cond is None else cond[part])

    def _properties(self, frame: pd.DataFrame, targets: Sequence[Target]) -> dict[str, Any]:
        """By asked property: what was asked, what the valid samples have, what the training rows have."""
        thresholds = {c.name: c.threshold for c in self.card.conditions if c.kind == "class"}
        out: dict[str, Any] = {}
        for target in targets:
            values = frame.loc[frame["valid"], target.name].to_numpy(dtype=float)
            values = values[np.isfinite(values)]
            known = self.table.properties[target.name]
            out[target.name] = {
                "asked": target.text + _meaning(target, thresholds.get(target.name)),
                **_achieved(values, target, thresholds.get(target.name)),
                "training_mean": float(np.nanmean(known)),
            }
        return out


@final
@dataclass(frozen=True)
class Generation:
    """Samples in order, one row each, and the summary of the call.

    Args:
        frame: the table.
        summary: facts and figures, all of them JSON.
        best: row numbers of distinct sane samples, the best first.
        interrupted: whether the keyboard stopped the call before its end.
        modality: what the samples are.
    """

    frame: pd.DataFrame
    summary: dict[str, Any]
    best: Sequence[int] = field(repr=False)
    interrupted: bool
    modality: Modality = field(repr=False)

    def __len__(self) -> int:
        """The number of samples."""
        return len(self.frame)

    def to_pandas(self) -> pd.DataFrame:
        """One row a sample, in order."""
        return self.frame.copy()

    def to_json(self) -> str:
        """The summary as one JSON object; what is undefined, such as 0/0, is null."""
        return json.dumps(_plain(self.summary), allow_nan=False)

    def save(self, path: str | Path) -> None:
        """Writes the samples in the format of the suffix, and the summary to PATH.json."""
        path = Path(path)
        self.modality.write(self.frame, path)
        self.save_summary(path)

    def save_summary(self, path: Path) -> None:
        """Writes the summary alone, to PATH.json."""
        with written(path.with_name(path.name + ".json")) as part:
            part.write_text(self.to_json() + "\n", encoding="utf-8")

    def picture(self, path: str | Path, count: int = 20) -> None:
        """Draws up to ``count`` of the best samples with what was asked of them."""
        shown = list(self.summary["properties"]) or list(self.modality.shown)
        chosen = self.frame.loc[list(self.best[:count])]
        self.modality.picture(chosen, shown, Path(path))

    def _repr_html_(self) -> str:
        """A table for notebooks: the first samples under the headline figures."""
        keys = ("requested", "valid", "sane", "unique", "forwards_per_molecule")
        head = ", ".join(f"{key} {self.summary[key]}" for key in keys)
        return f"<p>{head}</p>{self.frame.head(20).to_html(index=False)}"


def load(model: str = "qm9", device: str = "auto") -> Model:
    """The model of a bundled name or in a folder.

    Raises:
        MoldiffError: no such model, a damaged or newer one, or a device that is not there.
    """
    return Model(Checkpoint.load(checkpoint.find(model)), device)


def _table(source: Checkpoint) -> Table:
    arrays = source.part("table")
    missing = [name for name in ("lengths", *source.card.table) if name not in arrays]
    if missing:
        raise MoldiffError(f"model {source.card.name}: its table lacks {', '.join(missing)}")
    properties = {n: arrays[n].to(torch.float64).numpy() for n in source.card.table}
    return Table(arrays["lengths"].to(torch.int64).numpy(), properties)


def _meaning(target: Target, threshold: float | None) -> str:
    """What a class stands for, in brackets; nothing for a value."""
    if target.label is None or threshold is None:
        return ""
    return f" ({'above' if target.label else 'not above'} {threshold:.4g})"


def _achieved(values: np.ndarray[Any, Any], target: Target, threshold: float | None) -> dict[str, Any]:
    """Mean, spread and the error or share that fits the target, over the values (M,) of valid samples."""
    n = len(values)
    if n == 0:
        return {"mean": None, "se": None}
    out: dict[str, Any] = {
        "mean": float(values.mean()),
        "se": float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else None,
    }
    if target.label is not None and threshold is not None:
        above = values > threshold
        out["share_in_class"] = float((above == bool(target.label)).mean())
    elif target.point is not None:
        out["mean_absolute_error"] = float(np.abs(values - target.point).mean())
    else:
        out["share_inside"] = float(((values >= target.low) & (values <= target.high)).mean())
    return out


def _cost(cost: Cost, n: int, seconds: float) -> dict[str, Any]:
    return {
        "forwards_per_molecule": round(cost.rows / n, 3) if n else 0.0,
        "token_forwards_per_molecule": round(cost.tokens / n, 2) if n else 0.0,
        "seconds": round(seconds, 3),
        "molecules_per_second": round(n / seconds, 2) if seconds else 0.0,
    }


def _plain(value: Any) -> Any:
    """The value with NaN as None, all the way down."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
