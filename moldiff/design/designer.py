"""The designer: draws rows around what a verb keeps, checks every one, and counts why one is no answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import pandas as pd
from rdkit import Chem

from moldiff.chem.molecule import parse
from moldiff.chem.notation import WRITING, WRITINGS
from moldiff.chem.sketches import Sketch
from moldiff.conditions import CategoryCondition
from moldiff.design.lengths import Lengths
from moldiff.design.verbs import Verb
from moldiff.errors import MoldiffError
from moldiff.generation.batches import Loaded, Spent, strings
from moldiff.generation.plan import Alike
from moldiff.generation.request import asked_for
from moldiff.generation.totals import Achieved
from moldiff.types import Given, Template

#: Draws at most for each molecule that is wanted.
DRAWS = 20
#: Seeds are whole numbers of any sign, and those of numpy are not.
SEEDS = 2**64
#: Rows that are drawn together: the fewest, and the most.
FEW, MANY = 32, 512
#: Rows that keep the same and are drawn at one length.
TOGETHER = 8
#: The share of rows that is expected to be an answer, at least.
SHARE = 0.05

#: Sketches that are tried for one that the model can write.
SKETCHES = 20

Check = Callable[[Sequence[str]], Sequence[str | None]]


@final
@dataclass(frozen=True, eq=False)
class Designed:
    """What a design came to.

    Args:
        frame: the answers, distinct, in the order in which they were drawn.
        drawn: rows drawn.
        sound: rows that are a sane molecule.
        retained: rows that are one, with all that had to stay.
        rejects: by reason, rows that are no answer.
        spent: what they cost.
        interrupted: whether the keyboard ended it.
        achieved: by property that was asked for, what was asked and what the answers have of it.
    """

    frame: pd.DataFrame = field(repr=False)
    drawn: int
    sound: int
    retained: int
    rejects: dict[str, int]
    spent: Spent
    interrupted: bool = False
    achieved: dict[str, dict[str, Any]] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """Counts and shares; JSON."""
        return {
            "kept": len(self.frame),
            "drawn": self.drawn,
            "sane": self.sound,
            "retained": self.retained,
            "retention": self.retained / self.sound if self.sound else None,
            "retained_of_drawn": self.retained / self.drawn if self.drawn else None,
            "rejects": dict(sorted(self.rejects.items(), key=lambda item: -item[1])),
            "properties": self.achieved,
            **self.spent.facts("molecule"),
        }


@final
class Designer:
    """Draws molecules around what a verb keeps.

    Args:
        model: one that knows the fragment writing.
        verb: what is kept.
        targets: properties asked for, as ``name=value``.
        seed: of all draws.
        asked: more keywords of ``Model.generate``: sampler, steps, scale, ...

    Raises:
        MoldiffError: a model without the writing, or what it cannot be asked.
    """

    def __init__(
        self, model: Loaded, verb: Verb, targets: Sequence[str] = (), seed: int = 0, **asked: Any
    ) -> None:
        self._model, self._verb, self._seed, self._asked = model, verb, seed, asked
        self._targets = (*targets, f"{WRITING}={_fragments(model)}")
        self._lengths = Lengths(model.table, model.card.conditions, self._targets, model.card.max_length)
        #: What the draws have cost.
        self.spent = Spent()
        self._drawn = 0

    def draw(self, n: int) -> list[str]:
        """The next n rows as they come, valid or not, in the fragment writing."""
        random = np.random.default_rng([self._seed % SEEDS, self._drawn])
        templates: list[Template] = []
        while len(templates) < n:
            template = self._drawn_template(random)
            # Rows that keep the same may share their length, and so a batch.
            templates += [template] * (min(TOGETHER, n - len(templates)) if self._verb.alike else 1)
        seed = int(random.integers(2**62))
        self._drawn += n
        asked = asked_for(None, templates=templates, targets=self._targets, seed=seed, **self._asked)
        found, spent = strings(self._model, asked)
        self.spent += spent
        return found

    def run(
        self,
        n: int,
        budget: int | None = None,
        check: Check | None = None,
        progress: Callable[[int], None] = lambda done: None,
    ) -> Designed:
        """Draws until n distinct answers are found or the budget is met.

        Args:
            n: how many are wanted.
            budget: rows drawn at most; ``DRAWS`` n by default.
            check: gives for canonical SMILES the reason against each, or None.
            progress: is told how many are found.
        """
        most = DRAWS * n if budget is None else budget
        if n < 1:
            raise MoldiffError(f"n: got {n}, must be at least 1")
        if most < n:
            raise MoldiffError(f"budget: got {most} draws for {n} molecules, must be at least as many")
        found = _Found(n)
        interrupted = False
        try:
            while len(found.answers) < n and found.drawn < most:
                raw = self.draw(min(most - found.drawn, found.wanted()))
                found.add(raw, self._verdicts(raw), check)
                progress(len(found.answers))
        except KeyboardInterrupt:
            interrupted = True
        frame = self._model.modality.evaluate(list(found.answers.values()), self._model.reference)
        counts = (found.drawn, found.sound, found.retained, dict(found.rejects))
        return Designed(frame, *counts, self.spent, interrupted, self._achieved(frame))

    def _achieved(self, frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
        """What the answers have of what was asked for, by property."""
        conditions = self._model.card.conditions
        plan, classes = Alike(self._model.table, conditions, self._targets), {c.name: c for c in conditions}
        facts: dict[str, dict[str, Any]] = {}
        for name, goals in plan.goals(np.arange(len(frame))).items():
            condition = classes.get(name)
            met = Achieved(None if condition is None or condition.kind == "numeric" else condition)
            met.add(frame[name].to_numpy(dtype=float), goals, np.ones(len(frame), dtype=bool))
            facts[name] = {"asked": plan.asked[name], **met.facts()}
        return facts

    def _drawn_template(self, random: np.random.Generator) -> Template:
        """The template of a sketch; where each has another one, of one that the model can write."""
        for _ in range(0 if self._verb.alike else SKETCHES):
            try:
                return self._template(self._verb.sketch(random), random)
            except MoldiffError:  # more cuts than the model has ring labels, or more tokens than a row
                continue
        return self._template(self._verb.sketch(random), random)

    def _template(self, sketch: Sketch, random: np.random.Generator) -> Template:
        """A row that keeps what a sketch says: its pieces, a dot, and places to draw."""
        tokenizer, modality = self._model.tokenizer, self._model.modality
        text = f"{sketch.core.text}." if sketch.core.parts else None
        start = modality.kept(tokenizer, Given(prompt=text)).start
        least = len(start) + sketch.least
        if sketch.gap is None:
            length = self._lengths.draw(least, random)
        else:
            length = max(least, self._lengths.cap(len(start) + sketch.gap))
        return (*start, *[None] * (length - len(start)))

    def _verdicts(self, raw: Sequence[str]) -> list[_Verdict]:
        frame = self._model.modality.canonical(raw)
        return [self._verdict(each) for each in frame]

    def _verdict(self, smiles: str | None) -> _Verdict:
        if smiles is None:
            return _Verdict("", "invalid")
        mol = parse(smiles)
        assert isinstance(mol, Chem.Mol)
        return _Verdict(smiles, self._verb.fault(smiles, mol))


@final
@dataclass(frozen=True)
class _Verdict:
    """A row's canonical SMILES, empty where it is no sane molecule, and why it is no answer."""

    smiles: str
    reason: str | None

    @property
    def sane(self) -> bool:
        return bool(self.smiles)

    @property
    def retained(self) -> bool:
        return self.sane and self.reason != "core"


@final
@dataclass
class _Found:
    """What a design has drawn so far, of n wanted: answers, canonical SMILES -> string, and counts."""

    n: int
    answers: dict[str, str] = field(default_factory=dict)
    rejects: Counter[str] = field(default_factory=Counter)
    drawn: int = 0
    sound: int = 0
    retained: int = 0

    def wanted(self) -> int:
        """How many rows to draw next, by the share of answers so far."""
        share = max(SHARE, len(self.answers) / self.drawn if self.drawn else 1.0)
        return min(MANY, max(FEW, round((self.n - len(self.answers)) / share)))

    def add(self, raw: Sequence[str], verdicts: Sequence[_Verdict], check: Check | None) -> None:
        """Counts rows, and keeps those that are answers; ``check`` has a say about them."""
        good = [each.smiles for each in verdicts if each.reason is None]
        against = dict(zip(good, check(good) if check else [None] * len(good), strict=True))
        self.drawn += len(raw)
        for text, each in zip(raw, verdicts, strict=True):
            self.sound += each.sane
            self.retained += each.retained
            reason = each.reason or against.get(each.smiles)
            reason = reason or ("repeated" if each.smiles in self.answers else None)
            if reason is not None:
                self.rejects[reason.split(" (")[0]] += 1
            elif len(self.answers) < self.n:
                self.answers[each.smiles] = text


def _fragments(model: Loaded) -> int:
    """The number of the fragment writing; MoldiffError where the model does not know it."""
    number = WRITINGS.index("fragments")
    for condition in model.card.conditions:
        told = isinstance(condition, CategoryCondition) and condition.name == WRITING
        if told and condition.classes > number:
            return number
    raise MoldiffError(
        f"model {model.card.name}: it does not know the fragment writing; choose zinc250k-ar, zinc250k, or "
        "one trained with data.options.writings=all"
    )
