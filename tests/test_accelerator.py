"""Sampling and training on a pretended accelerator: nothing mixes devices, and the results are the CPU's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import torch

import moldiff
from moldiff import registry
from moldiff.assembly import samplers_of
from moldiff.conditions import fit_all
from moldiff.config import TrainConfig
from moldiff.diffusion.objective import Batch
from moldiff.errors import MoldiffError
from moldiff.generation.classifiers import load_classifier
from moldiff.training import finetuning, fit
from moldiff.training.intake import data_module, properties, read_tokens
from moldiff.training.reward import policy_of
from moldiff.training.trainee import Trainee
from tests.accelerator import AWAY, PretendedAccelerator, is_away, send_away

#: By process, a bundled model of molecules.
MODELS = {"masked": "qm9-study-corrected", "uniform": "qm9-study-uniform", "autoregressive": "qm9-study-ar"}
GUIDED: dict[str, dict[str, Any]] = {
    "posterior": {"process": "masked", "sampler": "mdlm", "level": "posterior"},
    "token": {"process": "masked", "guidance": "cbg", "sampler": "mdlm", "cbg_form": "token"},
    "exact": {"process": "masked", "guidance": "cbg", "sampler": "mdlm", "cbg_form": "exact"},
    "first-order": {"process": "uniform", "guidance": "cbg", "cbg_form": "first-order"},
    "fudge": {"process": "autoregressive", "guidance": "fudge"},
}
CLASSIFIERS = {"masked": "masked", "uniform": "uniform", "autoregressive": "ar"}


def test_what_a_gpu_refuses_is_refused() -> None:
    here, numbers = torch.arange(3), torch.arange(3.0)
    with PretendedAccelerator():
        away = here.to("cuda")
        made = torch.ones(3, device=away.device)
        assert is_away(made + away)
        assert is_away(away[here > 0] * 2)
        assert (away.device, away.cpu().device) == (AWAY, here.device)
        assert is_away(torch.as_tensor(here, device="cuda"))
        assert not is_away(here)
        for refused in (lambda: away + here, lambda: numbers[away], lambda: torch.cat([away, here])):
            with pytest.raises(RuntimeError, match="on an accelerator and"):
                refused()
        with pytest.raises(TypeError, match="numpy"):
            away.numpy()


def drawn_there_as_here(model: moldiff.Model, classifier: str | None = None, **asked: Any) -> None:
    """Draws the same samples on the CPU and on the pretended accelerator."""
    asked |= {"precision": "fp32", "seed": 5}
    guide = None if classifier is None else load_classifier(classifier, "cpu")
    known = {} if guide is None else {"classifier": guide}
    here = model.generate(4, **asked, **known)
    with PretendedAccelerator() as accelerator:
        for each in filter(None, (model, guide)):
            each.device = AWAY
            send_away(each.network)
        there = model.generate(4, **asked, **known)
    assert accelerator.operations > 100
    assert list(there.frame["raw"]) == list(here.frame["raw"])


CASES = [(process, sampler) for process in registry.PROCESSES for sampler in registry.SAMPLERS]


@pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda'")
@pytest.mark.parametrize(("process", "sampler"), CASES)
def test_samplers(process: str, sampler: str) -> None:
    model = moldiff.load(MODELS[process], "cpu")
    asked = {"sampler": sampler, "steps": 12, "targets": ["qed=high"], "scale": 2.0}
    if sampler in samplers_of(model.process):
        drawn_there_as_here(model, **asked)
    else:
        with pytest.raises(MoldiffError, match=f"sampler {sampler}: got an? {process} model"):
            model.generate(1, **asked)


@pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda'")
@pytest.mark.parametrize("name", ["qm9", "digits", "text"])
def test_the_default_settings_of_models(name: str) -> None:
    drawn_there_as_here(moldiff.load(name, "cpu"), **({"steps": 8} if name == "text" else {}))


@pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda'")
@pytest.mark.parametrize("name", GUIDED)
def test_guidances(name: str) -> None:
    asked = {"targets": ["qed=high"], "scale": 2.0, "steps": 4, **GUIDED[name]}
    process = asked.pop("process")
    classifier = f"qm9-study-classifier-{CLASSIFIERS[process]}" if "guidance" in asked else None
    drawn_there_as_here(moldiff.load(MODELS[process], "cpu"), classifier, **asked)


@pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda'")
@pytest.mark.parametrize("asked", [{"repair": 2}, {"particles": 3, "reward": ["qed"]}], ids=list)
def test_repair_and_particles(asked: dict[str, Any]) -> None:
    drawn_there_as_here(moldiff.load("qm9", "cpu"), sampler="mdlm", steps=6, complete=False, **asked)


TRAINED = [
    ["process.name=masked"],
    ["correction.weight=1"],
    ["reward.weight=1", "reward.novel=1", "reward.setting.steps=4"],
    ["process.name=uniform", "network.time=true"],
    ["process.name=autoregressive"],
    ["task=classifier", "network.time=true", "conditions=[{kind: class, name: qed, quantile: 0.5}]"],
]


@pytest.mark.parametrize("overrides", TRAINED, ids=lambda each: each[0])
def test_training_steps(small: Callable[..., TrainConfig], overrides: list[str], monkeypatch: Any) -> None:
    config = small(*overrides, "compile=false")
    data = read_tokens(config)
    conditions = fit_all(config.conditions, properties(data), ~data.heldout)
    network = fit._network(config, finetuning.start(None), data, conditions)
    process = fit.build_process(config, fit._tokens(data))
    policy = policy_of(data, config, process, conditions)
    trainee = Trainee(network, process, config, policy=policy)
    for name in ("log", "log_dict"):
        monkeypatch.setattr(trainee, name, lambda *_, **__: None)
    monkeypatch.setattr(Trainee, "trainer", type("One", (), {"world_size": 1}))
    batch = next(iter(data_module(data, config, conditions).train_dataloader()))
    here = trainee.training_step(batch, 0)
    with PretendedAccelerator() as accelerator:
        send_away(network)
        parts = {field.name: getattr(batch, field.name) for field in fields(Batch)}
        moved = {
            key: part.to("cuda") if isinstance(part, torch.Tensor) else part for key, part in parts.items()
        }
        there = trainee.training_step(Batch(**moved), 0)
        trainee.validation_step(Batch(**moved), 0)
        assert is_away(there)
    assert accelerator.operations > 100
    assert there.item() == here.item()
