"""Plans: the runs of a study, each with its request and a name that changes with what its samples hang on."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, final

from moldiff.assembly import build_process, build_sampler, build_tokenizer
from moldiff.checkpoint import Card, bundled, find, read_card
from moldiff.conditions import ClassCondition
from moldiff.errors import MoldiffError, unknown
from moldiff.generation.request import Request, asked_for
from moldiff.study.grid import Grid
from moldiff.study.settings import Method, Settings

#: The keyword of a kind of guidance that names a second model.
CLASSIFIER = "classifier"
#: Of the layout of token files and scores; in every run's name, so another version's are not taken for these.
FORMAT = 1


@final
@dataclass(frozen=True)
class Run:
    """One point of the grid; steps None where the method has none, scale 1 where nothing is asked."""

    method: str
    guidance: str
    scale: float
    steps: int | None
    seed: int

    def __str__(self) -> str:
        """A short name."""
        steps = "" if self.steps is None else f" T={self.steps}"
        scale = "" if self.guidance == "none" else f" {self.scale:g}"
        return f"{self.method} {self.guidance}{scale}{steps} seed {self.seed}"


@final
@dataclass(frozen=True, eq=False)
class Planned:
    """A run with what it takes.

    Args:
        run: its point of the grid.
        model: the model's name or folder.
        request: what is asked of it.
        identity: what fixes its samples on one machine; JSON.
    """

    run: Run
    model: str
    request: Request
    identity: dict[str, Any]

    @cached_property
    def name(self) -> str:
        """Its name in files: readable, and with a hash of its identity."""
        run, text = self.run, json.dumps(self.identity, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:10]
        steps = "any" if run.steps is None else str(run.steps)
        return f"{run.method}-{run.guidance}-s{run.scale:g}-T{steps}-seed{run.seed}-{digest}"


@final
class Plan:
    """The runs of a study, seed by seed, and what their models know.

    Args:
        settings: of the methods.
        grid: what is varied.

    Raises:
        MoldiffError: a method or a kind of guidance without settings, models that are not there, a property
            that a model does not know, or settings that its sampler does not take.
    """

    def __init__(self, settings: Settings, grid: Grid) -> None:
        self.grid, self.settings = grid, settings.pick(grid.methods)
        self.cards = _cards(self.settings, grid.guidance)
        if grid.property is not None:
            for name in grid.methods:
                _check_property(grid.property, self.settings.methods[name].model, self.cards[name])
        self.runs: tuple[Planned, ...] = tuple(self._planned())

    def label(self, method: str) -> str:
        """A method's name for readers."""
        return self.settings.methods[method].label or method

    def facts(self) -> dict[str, Any]:
        """What was asked, with which settings of which models; JSON."""
        return {
            **{name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self.grid).items()},
            "settings": self.settings.model_dump(exclude_defaults=True)["methods"],
            "models": {
                name: {"model": c.name, "sha256": c.sha256, "parameters": c.parameters}
                for name, c in self.cards.items()
            },
        }

    def _planned(self) -> Iterator[Planned]:
        grid, known = self.grid, set[Run]()
        for seed, name in itertools.product(grid.seeds, grid.methods):
            for kind, steps in itertools.product(grid.guidance, grid.steps):
                for scale in (1.0,) if kind == "none" else grid.scales:
                    each = self._plan(Run(name, kind, scale, steps, seed))
                    # A sampler without steps has one run, whatever T.
                    if each.run not in known:
                        known.add(each.run)
                        yield each

    def _plan(self, run: Run) -> Planned:
        method, card = self.settings.methods[run.method], self.cards[run.method]
        try:
            request = _request(method, run, self.grid)
            setting = request.setting(card.default)
            tokenizer = build_tokenizer(card.config.data.modality, card.tokenizer)
            process = build_process(card.config, tokenizer.vocab_size)
            steps = getattr(build_sampler(process, setting, request.level), "steps", None)
            extra = {**method.also, **method.kinds()[run.guidance]}
            if CLASSIFIER in extra:
                extra[CLASSIFIER] = read_card(find(extra[CLASSIFIER])).sha256
        except MoldiffError as error:
            raise MoldiffError(f"method {run.method}: {error}") from None
        identity = {
            "format": FORMAT,
            "model": card.sha256,
            "setting": setting.model_dump() | {"steps": steps},
            "level": request.level,
            "guidance": extra,
            "targets": list(request.targets),
            "n": request.n,
            "seed": request.seed,
        }
        kept = run if steps is not None else Run(run.method, run.guidance, run.scale, None, run.seed)
        return Planned(kept, method.model, request, identity)


def _request(method: Method, run: Run, grid: Grid) -> Request:
    """What a run asks of its model."""
    if run.guidance not in method.kinds():
        raise unknown("guidance", run.guidance, method.kinds())
    asked: Any = method.asked(property=grid.property, guidance=run.guidance, steps=run.steps)
    targets = () if run.guidance == "none" else (f"{grid.property}=high",)
    fixed: dict[str, Any] = {
        "targets": targets,
        "scale": run.scale if targets else None,
        "steps": run.steps,
        "seed": run.seed,
    }
    for name in fixed.keys() & asked.keys():
        raise MoldiffError(f"guidance {run.guidance}: got {name}, which is the study's to say")
    return asked_for(grid.num, **fixed, **asked)


def _cards(settings: Settings, kinds: Sequence[str]) -> dict[str, Card]:
    """The cards of the methods' models; one error names all models that are not there, classifiers too."""
    cards: dict[str, Card] = {}
    missing = []
    for name, method in settings.methods.items():
        extra = [method.guidance[kind].get(CLASSIFIER) for kind in kinds if kind in method.guidance]
        for model in [method.model, *filter(None, extra)]:
            try:
                card = read_card(find(model))
            except MoldiffError:
                if _there(model):
                    raise
                missing.append(f"{model} ({name})")
                continue
            cards.setdefault(name, card)
    if missing:
        raise MoldiffError(
            f"study: no model {', '.join(missing)}; leave these methods out, or name others with "
            f"--model METHOD=MODEL or --settings FILE (bundled: {', '.join(bundled())})"
        )
    return cards


def _there(model: str) -> bool:
    # os.path's test, unlike pathlib's, is also false for what cannot be a path.
    return model in bundled() or os.path.isdir(model)


def _check_property(name: str, model: str, card: Card) -> None:
    known = [each.name for each in card.conditions if isinstance(each, ClassCondition)]
    if name not in known:
        choices = ", ".join(known) or "none"
        raise MoldiffError(f"property: got {name!r}, model {model} knows the classes of {choices}")
