"""Training on two processes: the same run as on one."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from moldiff.checkpoint import Checkpoint
from moldiff.config import TrainConfig
from moldiff.training import fit


def test_two_processes_train_what_one_does(
    small: Callable[..., TrainConfig], textbook: Path, tmp_path: Path
) -> None:
    # Lengths with one row leave the second process with nothing to do in their steps.
    given = ["precision=fp32", "max_steps=30", "validate_every=30"]
    one = small(*given, f"out={tmp_path / 'one'}")
    network = [f"network.{key}={value}" for key, value in one.network if key in ("width", "depth", "heads")]
    alone = fit.run(one)
    command = [sys.executable, "-m", "moldiff", "train", "tiny", *given, *network, "devices=2", "device=cpu"]
    command += ["logger=none", f"batch_tokens={one.batch_tokens}", f"data.path={textbook}", "out=two"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("wrote two") == 1
    together = Checkpoint.load(tmp_path / "two")
    pairs = [(together.part("network")[name], weights) for name, weights in alone.part("network").items()]
    # Adam turns the rounding of a slope that is nearly zero into a step, so a few weights may differ.
    same = torch.cat([torch.isclose(a, b, rtol=2**-6, atol=2e-3).flatten() for a, b in pairs])
    assert same.double().mean() > 0.99
    nll = [model.card.training["heldout_nats_per_token"] for model in (alone, together)]
    assert abs(nll[0] - nll[1]) < 1e-3
