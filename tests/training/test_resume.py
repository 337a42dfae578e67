"""Resuming at the last step, with other data, and what a checkpoint holds."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from moldiff.checkpoint import CARD, WEIGHTS, Checkpoint
from moldiff.config import TrainConfig
from moldiff.errors import MoldiffError
from moldiff.training import fit
from moldiff.training.intake import TOKENS

Small = Callable[..., TrainConfig]
EVEN = ("max_steps=14", "checkpoint_every=7", "validate_every=14")


def test_a_checkpoint_of_the_last_step_holds_weights_and_average_in_their_places(small: Small) -> None:
    settings = small(*EVEN)
    published = fit.run(settings)
    state = torch.load(settings.out / "checkpoints" / "step=14.ckpt", weights_only=True)
    for name, weights in published.part("network").items():
        if name in state["ema"]:
            torch.testing.assert_close(state["ema"][name].to(torch.bfloat16), weights, rtol=0, atol=0)
    assert any(
        (state["ema"][n] != state["state_dict"][f"network.{n}"]).any() for n in state["ema"] if "." in n
    )


def test_a_run_stopped_before_it_was_published_publishes_the_same(small: Small) -> None:
    settings = small(*EVEN)
    fit.run(settings)
    first = {name: (settings.out / name).read_bytes() for name in (WEIGHTS, CARD)}
    for name in first:
        (settings.out / name).unlink()
    fit.run(settings, resume=True)
    assert {name: (settings.out / name).read_bytes() for name in first} == first


def test_settings_that_a_checkpoint_is_too_old_to_have_are_at_their_defaults(small: Small) -> None:
    settings = small(*EVEN)
    first = fit.run(settings)
    (settings.out / CARD).unlink()
    path = settings.out / "checkpoints" / "step=14.ckpt"
    state = torch.load(path, weights_only=True)
    # As if these had come later.
    del state["shared"]["network"]["dropout"], state["shared"]["process"]["schedule"]
    torch.save(state, path)
    assert fit.run(settings, resume=True).card.sha256 == first.card.sha256
    (settings.out / CARD).unlink()
    state["shared"]["network"]["dropout"] = 0.5
    torch.save(state, path)
    with pytest.raises(MoldiffError, match=r"--resume: got network .* was started with"):
        fit.run(settings, resume=True)


def test_resuming_with_other_data_is_refused(small: Small, textbook: Path) -> None:
    settings = small(*EVEN)
    fit.run(settings)
    fewer = settings.out.parent / "fewer.smi"
    fewer.write_text("\n".join(textbook.read_text("utf-8").splitlines()[:200]))
    (settings.out / TOKENS).unlink()
    with pytest.raises(MoldiffError, match=r"--resume: got data .* was started with"):
        fit.run(small(*EVEN, "max_steps=21", f"data.path={fewer}"), resume=True)
    assert Checkpoint.load(settings.out).card.training["steps"] == 14


def test_a_process_that_depends_on_time_wants_a_network_that_is_told(small: Small) -> None:
    with pytest.raises(MoldiffError, match=r"network\.time: got false"):
        fit.run(small("process.name=uniform"))
