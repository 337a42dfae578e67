"""What pushes samples towards their targets: the guidance of a request, and the plan that goes with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, final

import numpy as np
import torch
from torch import nn

from moldiff import registry
from moldiff.assembly import build_guidance
from moldiff.checkpoint import Card
from moldiff.conditions import ConditionSpec, numbers_of, unasked
from moldiff.config import Setting
from moldiff.diffusion.process import Formulation, Level, Process
from moldiff.errors import MoldiffError
from moldiff.generation.classifiers import NoisyClassifier, load_classifier
from moldiff.generation.plan import Alike, ByLine, Drawn, Ids, Plan
from moldiff.generation.request import Request
from moldiff.targets import Goals, Table, usual
from moldiff.types import Guidance, Modality


class Loaded(Protocol):
    """A model ready to generate."""

    card: Card
    device: torch.device
    tokenizer: Any
    process: Formulation
    network: nn.Module
    table: Table

    @property
    def modality(self) -> Modality:
        """What its rows are."""
        ...

    @property
    def reference(self) -> Any:
        """The modality's data set to be novel to."""
        ...


@final
@dataclass(frozen=True)
class Guided:
    """What a request asks of each row, and how the rows are pushed there.

    Args:
        plan: what is asked.
        table: the training rows that it looks at.
        conditions: the slots that it asks by.
        guidance: transforms the network's predictions.
        level: where it acts; None where the process says.
        classifier: that is asked too; None without.
        facts: what a summary says of a guidance that is not the usual one; JSON.
    """

    plan: Plan
    table: Table
    conditions: Sequence[ConditionSpec]
    guidance: Guidance
    level: Level | None
    classifier: NoisyClassifier | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def resolved(model: Loaded, request: Request) -> Request:
    """The request with its classifier loaded; MoldiffError where it is none, or not one for this model."""
    guide = request.guide
    if guide.name == "cfg":
        return request
    found = guide.classifier
    if not isinstance(found, NoisyClassifier):
        found = load_classifier(str(found), str(model.device))
    if found.device != model.device:
        where = f"it is on {found.device}, the model on {model.device}"
        raise MoldiffError(f"classifier {found.card.name}: {where}")
    found.check(model)
    return replace(request, guide=replace(guide, classifier=found))


def plan_of(model: Loaded, request: Request) -> Plan:
    """What a request asks of each row; MoldiffError where the model does not know it."""
    if request.guide.name == "cfg":
        return _plan(model.table, model.card.conditions, request)
    classifier = _classifier(request)
    classes = classifier.card.conditions
    told = None
    if request.guide.cfg_scale:
        told = _plan(model.table, model.card.conditions, request)
    try:
        asked = _plan(table_for(model, request), classes, request)
    except MoldiffError as error:
        raise MoldiffError(f"classifier {classifier.card.name}: {error}") from None
    return Both(asked, told, model.card.conditions)


def table_for(model: Loaded, request: Request) -> Table:
    """The training rows that a plan looks at: the model's, or the classifier's where those lack something."""
    if request.guide.name == "cfg":
        return model.table
    classifier = _classifier(request)
    if all(condition.name in model.table.properties for condition in classifier.card.conditions):
        return usual(model.table, model.card.conditions)
    longest, most = int(classifier.table.lengths.max()), model.card.max_length
    if longest > most:
        raise MoldiffError(
            f"classifier {classifier.card.name}: it was trained on rows up to {longest} tokens, "
            f"the model makes {most} at most; train one with the data of the model"
        )
    return classifier.table


def guided(model: Loaded, request: Request, setting: Setting) -> Guided:
    """The guidance of a request; MoldiffError where it does not act on such a model or at such a level."""
    plan, table, level = plan_of(model, request), table_for(model, request), request.level
    if request.guide.name == "cfg":
        # With or without what is always told both halves are the same.
        base = _base(model, setting, setting.scale if plan.asked else 1.0, level)
        return Guided(plan, table, model.card.conditions, base, level)
    classifier, guide = _classifier(request), request.guide
    if guide.name == "fudge":
        return _fudge(model, request, setting, (plan, table))
    form = guide.form or ("token" if model.process.level == "x0" else "exact")
    level = level or ("x0" if form == "token" else "posterior")
    _check_form(model.process, form, level)
    options: dict[str, Any] = {"scale": setting.scale, "numbers": numbers_of(classifier.card.conditions)}
    if form == "first-order":
        options["states"] = model.process.num_states
    if form == "token":
        options["top_p"] = guide.top_p
    base = _base(model, setting, guide.cfg_scale, level)
    labels = len(classifier.card.conditions)
    built: Guidance = registry.build("guidance", f"cbg-{form}", base, classifier.network, labels, **options)
    facts = {
        "guidance": "cbg",
        "cbg_form": form,
        "cbg_top_p": guide.top_p,
        "cfg_scale": guide.cfg_scale,
        "classifier": classifier.card.name,
        "classifier_sha256": classifier.card.sha256,
    }
    return Guided(plan, table, classifier.card.conditions, built, level, classifier, facts)


def _fudge(model: Loaded, request: Request, setting: Setting, asked: tuple[Plan, Table]) -> Guided:
    """The guidance of a request for fudge; MoldiffError where the model is not autoregressive."""
    classifier, guide, level = _classifier(request), request.guide, request.level
    if not model.process.causal:
        raise MoldiffError("guidance fudge: got a model of noise, it takes autoregressive ones; use cfg, cbg")
    base = _base(model, setting, guide.cfg_scale, level)
    conditions = classifier.card.conditions
    fixed = base, classifier.network, len(conditions), model.process.num_tokens
    options = {"scale": setting.scale, "top_k": guide.top_k, "numbers": numbers_of(conditions)}
    built: Guidance = registry.build("guidance", "fudge", *fixed, **options)
    facts = {
        "guidance": "fudge",
        "fudge_top_k": guide.top_k,
        "cfg_scale": guide.cfg_scale,
        "classifier": classifier.card.name,
        "classifier_sha256": classifier.card.sha256,
    }
    return Guided(*asked, conditions, built, level, classifier, facts)


def _check_form(process: Formulation, form: str, level: Level) -> None:
    """Refuses a form that does not go with the process or the level."""
    if not isinstance(process, Process):
        raise MoldiffError("guidance cbg: got an autoregressive model, it takes noise only; use cfg, fudge")
    if form == "token" and not process.events_first:
        raise MoldiffError("cbg form: got token for a model without masks, choose exact or first-order")
    if form == "token" and level != "x0":
        raise MoldiffError(f"cbg form token: got level {level}, it takes x0 only; leave it off")


def _base(model: Loaded, setting: Setting, scale: float, level: Level | None) -> Guidance:
    """Classifier-free guidance, restricted to completable rows where that is asked for."""
    made = (model.process, model.tokenizer, model.card.conditions)
    return build_guidance(*made, scale=scale, complete=setting.complete, level=level)


def _plan(table: Table, conditions: Sequence[ConditionSpec], request: Request) -> Plan:
    if request.targets_from is not None:
        return ByLine(table, conditions, request.targets_from)
    return Alike(table, conditions, request.targets)


def _classifier(request: Request) -> NoisyClassifier:
    found = request.guide.classifier
    assert isinstance(found, NoisyClassifier)
    return found


@final
class Both:
    """A plan of which a classifier is asked, behind the conditions that the network is told.

    Args:
        asked: the classes; lengths, goals and columns are its.
        told: what the network is told of the same targets; None for nothing.
        conditions: the network's.
    """

    def __init__(self, asked: Plan, told: Plan | None, conditions: Sequence[ConditionSpec]) -> None:
        self._asked, self._told, self._conditions = asked, told, conditions
        self.asked = asked.asked

    def draw(self, ids: Ids, seed: int) -> Drawn:
        drawn = self._asked.draw(ids, seed)
        assert drawn.cond is not None
        told = None if self._told is None else self._told.draw(ids, seed).cond
        if told is None:
            told = torch.from_numpy(unasked(self._conditions, len(ids))).float()
        return replace(drawn, cond=torch.cat([told, drawn.cond], dim=1), distance=np.asarray(drawn.distance))

    def goals(self, ids: Ids) -> dict[str, Goals]:
        return self._asked.goals(ids)

    def columns(self, ids: Ids) -> dict[str, list[str | None]]:
        return self._asked.columns(ids)
