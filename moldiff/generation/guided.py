"""What pushes samples towards their targets: the guidance of a request, and the plan that goes with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Any, Protocol, final

import numpy as np
import torch
from torch import nn

from moldiff import registry
from moldiff.assembly import build_guidance
from moldiff.checkpoint import Card, GuidedBy, find, read_card
from moldiff.conditions import ConditionSpec, always_told, numbers_of, unasked
from moldiff.config import Setting
from moldiff.diffusion.process import Formulation, Level, Process
from moldiff.errors import MoldiffError
from moldiff.generation.classifiers import NoisyClassifier, load_classifier
from moldiff.generation.plan import Alike, ByLine, Drawn, Ids, Plan
from moldiff.generation.request import GuidanceName, Guide, Request
from moldiff.targets import Goals, Table, as_told, parse
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
    """The request with its guidance in full and its classifier loaded.

    Raises:
        MoldiffError: no classifier where one is needed, or one that is none, or not for this model.
    """
    request = _completed(model.card, request)
    guide = request.guide
    if guide.name == "cfg":
        return request
    found = guide.classifier
    if found is None:
        kind = " process.name=autoregressive" if guide.name == "fudge" else ""
        raise MoldiffError(
            f"guidance {guide.name}: got no classifier; name one that "
            f"moldiff train classifier data.path=FILE{kind} has trained"
        )
    if not isinstance(found, NoisyClassifier):
        found = load_classifier(str(found), str(model.device))
    if found.device != model.device:
        where = f"it is on {found.device}, the model on {model.device}"
        raise MoldiffError(f"classifier {found.card.name}: {where}")
    found.check(model)
    return replace(request, guide=replace(guide, classifier=found))


def _completed(card: Card, request: Request) -> Request:
    """The request with what a model's card says of its guidance, where the request leaves it open.

    A classifier that the card names guides where nothing is said of guidance and it knows all that is asked,
    or where guidance by a classifier is asked for and none is named.
    """
    guide, own = request.guide, card.guided_by
    name: GuidanceName = "fudge" if card.config.process.name == "autoregressive" else "cbg"
    open_ = guide == Guide() and request.scale is None and request.level is None
    takes = guide.name == name and guide.classifier is None
    if own is None or not request.asks or not (takes or (open_ and _knows(own, card, request))):
        return replace(request, guide=replace(guide, name=guide.name or "cfg"))
    left: dict[str, Any] = {"classifier": own.classifier, "cfg_scale": own.cfg_scale}
    if name == "cbg" and guide.form in (None, "token"):
        left["top_p"] = own.top_p
    left = {key: value for key, value in left.items() if getattr(guide, key) is None}
    scale = own.scale if request.scale is None else request.scale
    return replace(request, guide=replace(guide, name=name, **left), scale=scale)


def _knows(own: GuidedBy, card: Card, request: Request) -> bool:
    """Whether a model's own classifier knows every number that is asked for."""
    numbers = {spec.name for spec in read_card(find(own.classifier)).conditions if spec.kind == "numeric"}
    if request.targets_from is not None:
        return set(request.targets_from.cells) <= numbers
    values = dict(text.replace(" ", "").partition("=")[::2] for text in _asked(card, request)[1])
    return bool(values) and set(values) <= numbers and not {"high", "low"} & set(values.values())


def _asked(card: Card, request: Request) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The targets that say what the network is always told, such as how an item is written, and the rest."""
    told = {card.conditions[slot].name for slot in always_told(card.conditions)}
    which = [text.partition("=")[0].strip() in told for text in request.targets]
    others = [not always for always in which]
    return tuple(compress(request.targets, which)), tuple(compress(request.targets, others))


def plan_of(model: Loaded, request: Request) -> Plan:
    """What a request asks of each row; MoldiffError where the model does not know it."""
    if request.guide.name == "cfg":
        return _plan(model.table, model.card.conditions, request, request.targets)
    classifier, card = _classifier(request), model.card
    always, others = _asked(card, request)
    told: Plan | None = None
    if request.guide.cfg_scale:
        told = _plan(model.table, card.conditions, request, request.targets)
    elif always:  # is told without guidance too
        told = Alike(model.table, card.conditions, always)
    try:
        asked = _plan(table_for(model, request), classifier.card.conditions, request, others)
    except MoldiffError as error:
        if card.guided_by is not None and classifier.card.name == card.guided_by.classifier:
            raise  # the caller need not know of it
        raise MoldiffError(f"classifier {classifier.card.name}: {error}") from None
    return Both(asked, told, card.conditions)


def table_for(model: Loaded, request: Request) -> Table:
    """The training rows that a plan looks at: the model's, or the classifier's where those lack something."""
    if request.guide.name == "cfg":
        return model.table
    classifier = _classifier(request)
    if all(condition.name in model.table.properties for condition in classifier.card.conditions):
        always = _asked(model.card, request)[0]
        told = [parse(text, model.card.conditions, model.table) for text in always]
        return as_told(model.table, model.card.conditions, told)
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
        options["top_p"] = guide.top_p or 1.0
    base = _base(model, setting, guide.cfg_scale or 0.0, level)
    labels = len(classifier.card.conditions)
    built: Guidance = registry.build("guidance", f"cbg-{form}", base, classifier.network, labels, **options)
    facts = {
        "guidance": "cbg",
        "cbg_form": form,
        "cbg_top_p": guide.top_p or 1.0,
        "cfg_scale": guide.cfg_scale or 0.0,
        "classifier": classifier.card.name,
        "classifier_sha256": classifier.card.sha256,
    }
    return Guided(plan, table, classifier.card.conditions, built, level, classifier, facts)


def _fudge(model: Loaded, request: Request, setting: Setting, asked: tuple[Plan, Table]) -> Guided:
    """The guidance of a request for fudge; MoldiffError where the model is not autoregressive."""
    classifier, guide, level = _classifier(request), request.guide, request.level
    if not model.process.causal:
        raise MoldiffError("guidance fudge: got a model of noise, it takes autoregressive ones; use cfg, cbg")
    base = _base(model, setting, guide.cfg_scale or 0.0, level)
    conditions = classifier.card.conditions
    fixed = base, classifier.network, len(conditions), model.process.num_tokens
    options = {"scale": setting.scale, "top_k": guide.top_k, "numbers": numbers_of(conditions)}
    built: Guidance = registry.build("guidance", "fudge", *fixed, **options)
    facts = {
        "guidance": "fudge",
        "fudge_top_k": guide.top_k,
        "cfg_scale": guide.cfg_scale or 0.0,
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


def _plan(
    table: Table, conditions: Sequence[ConditionSpec], request: Request, targets: Sequence[str]
) -> Plan:
    if request.targets_from is not None:
        return ByLine(table, conditions, request.targets_from)
    return Alike(table, conditions, targets)


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
