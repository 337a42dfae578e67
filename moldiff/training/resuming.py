"""Resuming: the newest whole checkpoint of a run, and whether a checkpoint is one of this run."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from moldiff.assembly import difference
from moldiff.config import TrainConfig
from moldiff.errors import MoldiffError

#: What every checkpoint of ours holds; a file without is none.
HELD = {"state_dict", "optimizer_states", "lr_schedulers", "loops", "global_step", "ema", "shared"}


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint in ``folder``; a run killed while writing leaves a torn last one."""
    if not os.path.isdir(folder):  # false, too, for what cannot be a path
        return None
    steps = {p: p.stem.removeprefix("step=") for p in folder.glob("step=*.ckpt")}
    found = sorted((p for p, step in steps.items() if step.isdecimal()), key=lambda p: -int(steps[p]))
    return next((path for path in found if _whole(path)), None)


def read_state(path: Path) -> dict[str, Any]:
    """What a checkpoint holds, its arrays left on disk until they are used; nothing in it is run."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return state


def check_state(
    checkpoint: Path,
    shared: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    average: Mapping[str, Tensor],
) -> None:
    """Refuses a checkpoint that is not of this run: set up otherwise, of another step, of other shapes."""
    state = read_state(checkpoint)
    theirs = state["shared"]
    if not isinstance(theirs, dict):
        raise MoldiffError(f"--resume: {checkpoint} does not say how its run was set up")
    theirs = _read_now(theirs)
    for key, ours in shared.items():
        if ours != theirs.get(key):
            raise MoldiffError(f"--resume: got {key} {ours}, but this run was started with {theirs.get(key)}")
    if checkpoint.stem != f"step={state['global_step']}":
        raise MoldiffError(f"--resume: {checkpoint} is of step {state['global_step']!r}")
    for what in ("optimizer_states", "lr_schedulers"):
        if not isinstance(state[what], list) or len(state[what]) != 1:
            raise MoldiffError(f"--resume: {checkpoint} does not hold one of {what}")
    for what, expected in {"state_dict": weights, "ema": average}.items():
        fault = difference({name: value.shape for name, value in expected.items()}, state[what])
        if fault is not None:
            raise MoldiffError(f"--resume: {checkpoint}: its {what} is not of this network ({fault})")


def _read_now(shared: dict[str, Any]) -> dict[str, Any]:
    """Settings of a run as this version reads them: what it has added since is at its default."""
    # By this name a checkpoint has the fingerprint of the rows.
    told = {key: value for key, value in shared.items() if key in TrainConfig.model_fields and key != "data"}
    try:
        read = TrainConfig.model_validate(told).model_dump(mode="json", include=set(told))
    except ValidationError:  # not settings of any version: compared as they are
        return shared
    return {**shared, **read}


def _whole(path: Path) -> bool:
    """Whether a file is a checkpoint of ours, every byte as it was written."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                return False
        state: Any = read_state(path)
    # torch's reader, given bytes that anyone may have written, raises whatever its parts raise.
    except Exception:
        return False
    return isinstance(state, dict) and state.keys() >= HELD
