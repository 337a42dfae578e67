"""What a run reads: the token file that is given or made, kept for a resumed run, and batches of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from moldiff import registry
from moldiff.assembly import build_tokenizer
from moldiff.conditions import ConditionSpec, always_told, encode_all, unasked
from moldiff.config import DataConfig, TrainConfig
from moldiff.errors import MoldiffError
from moldiff.types import Modality

#: The token file that a run makes of its data and keeps in its folder.
TOKENS = "tokens.safetensors"
#: Settings of ``data`` that say how items are read, which a token file keeps.
READING = ("stereo", "fragments")
#: Settings of ``data`` that are options of a modality's reader, as all of ``data.options`` are.
OPTIONS = {"column", "stereo", "fragments", "workers"}


def read_tokens(config: TrainConfig, resume: bool = False) -> Any:
    """The token file of a run: the one given, or one made of the data, which a resumed run finds kept."""
    path, token_file = config.data.path, registry.resolve("data", "token-file")
    if path is None:
        raise MoldiffError("data.path: got nothing, name a data file or a token file: data.path=FILE")
    kept = config.out / TOKENS
    if path.suffix == kept.suffix:
        return _checked(_told(token_file.load(path), config), config)
    if (resume or launched()) and kept.exists():
        return _checked(_told(token_file.load(kept), config), config)
    modality = registry.build("modality", config.data.modality)
    made = modality.prepare(
        path,
        tokenizer=registry.tokenizer_name(config.data.modality, config.data.tokenizer),
        pad_to=config.data.pad_to,
        heldout=config.data.heldout,
        **reading(modality, config.data),
    )
    return _told(made, config)


def _told(data: Any, config: TrainConfig) -> Any:
    """A token file with what the network is always told, the same of every row, where it lacks that."""
    told = unasked(config.conditions, len(data)).astype(np.float32)
    named = {config.conditions[slot].name: told[:, slot] for slot in always_told(config.conditions)}
    return replace(data, properties={**named, **data.properties}) if named else data


def reading(modality: Modality, data: DataConfig) -> dict[str, Any]:
    """The options of the modality's reader that were set; MoldiffError for one that it does not take."""
    asked = data.model_dump(include=data.model_fields_set & OPTIONS) | data.options
    return {name: value for name, value in asked.items() if takes(modality, f"data: got {name}", name)}


def takes(modality: Modality, got: str, name: str) -> bool:
    """True where the modality's reader has that option; MoldiffError, which begins with ``got``, else."""
    if name not in modality.reading:
        raise MoldiffError(f"{got}, but {modality.name} are read with {', '.join(modality.reading)}")
    return True


def _checked(data: Any, config: TrainConfig) -> Any:
    """A token file; MoldiffError where it was made otherwise than the run asks for, or is damaged."""
    tokenizer = build_tokenizer(data.info["modality"], data.info["tokenizer"])
    asked = config.data.model_dump(include=config.data.model_fields_set, exclude_none=True)
    for key, theirs in settings(data).items():
        if asked.get(key, theirs) != theirs:
            raise MoldiffError(f"data.{key}: got {asked[key]}, but the token file has {theirs}")
    for name, theirs in data.info.get("options", {}).items():
        if config.data.options.get(name, theirs) != theirs:
            got = f"got {config.data.options[name]}, but the token file has {theirs}"
            raise MoldiffError(f"data.options.{name}: {got}")
    padded = tokenizer.state().get("pad_to")
    if padded != config.data.pad_to:
        raise MoldiffError(f"data.pad_to: got {config.data.pad_to}, but the token file has {padded}")
    largest = int(data.tokens.max())
    if data.tokens.dtype != np.uint16 or largest >= tokenizer.vocab_size:
        raise MoldiffError(
            f"token file: got {data.tokens.dtype} ids up to {largest}, "
            f"needs uint16 below {tokenizer.vocab_size}: damaged"
        )
    return data


def settings(data: Any) -> dict[str, str]:
    """The settings of a configuration's ``data`` that a token file was made with."""
    modality, state = data.info["modality"], data.info["tokenizer"]
    made = {"tokenizer": registry.tokenizer_name(modality, state.get("name"))}
    reading = data.info.get("reading", {})
    return made | {key: reading[key] for key in READING if key in reading}


def properties(data: Any) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    """The properties of a token file in float64."""
    return {name: column.astype(np.float64) for name, column in data.properties.items()}


def data_module(data: Any, config: TrainConfig, conditions: Sequence[ConditionSpec]) -> Any:
    """Batches over a token file, its properties encoded as conditions."""
    tokens = data.padded()
    cond = encode_all(conditions, properties(data), len(data))
    rows = {
        part: (tokens[chosen], data.lengths[chosen], cond[chosen])
        for part, chosen in {"train": ~data.heldout, "heldout": data.heldout}.items()
    }
    return registry.build(
        "data",
        "token-module",
        rows=rows,
        batch_tokens=config.batch_tokens,
        seed=config.seed,
        max_steps=config.max_steps,
    )


def keep(data: Any, config: TrainConfig) -> None:
    """Keeps the tokens in the run's folder, for a resumed run; MoldiffError where it cannot be written."""
    given = config.data.path is not None and config.data.path.suffix == Path(TOKENS).suffix
    try:
        config.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MoldiffError(f"out: got {config.out}, cannot write there ({error.strerror})") from None
    if not given and not launched():
        data.save(config.out / TOKENS)


def summary(data: Any) -> str:
    """One line on the data of a run: rows, tokens, what was left out and what was changed."""
    changed = ", ".join(f"{what} {count}" for what, count in data.info.get("altered", {}).items())
    reasons = ", ".join(f"{reason} {count}" for reason, count in data.info.get("rejected", {}).items())
    return (
        f"{len(data):,} items, {int(data.heldout.sum()):,} held out, {int(data.lengths.sum()):,} tokens; "
        f"left out: {reasons or 'none'}; repeats: {data.info.get('duplicates', 0)}"
        + (f"; changed: {changed}" if changed else "")
    )


def launched() -> bool:
    """Whether another process of this run, which goes first, has started this one."""
    return os.environ.get("LOCAL_RANK", "0") != "0"
