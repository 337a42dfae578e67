"""Writes the cards of the models that come with the package into docs/models.md, between its markers.

    python benchmarks/cards.py

What stands outside of the markers, `<!-- card: NAME -->` and `<!-- end of card -->`, is written by hand and
kept.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from moldiff import registry
from moldiff.checkpoint import Accuracy, Card, Metric, Reliability, bundled, read_card
from moldiff.conditions import CategoryCondition, ClassCondition, ConditionSpec
from moldiff.files import written

PAGE = Path(__file__).resolve().parent.parent / "docs" / "models.md"
_PART = re.compile(r"(<!-- card: ([\w.-]+) -->\n).*?(\n<!-- end of card -->)", re.DOTALL)
#: Figures that are shares, to be shown in percent.
_SHARES = ("validity", "uniqueness", "novelty", "share")


def filled(page: str) -> str:
    """The page with each marked part made anew from its card; KeyError names a model without a part."""
    cards = {name: read_card(folder) for name, folder in bundled().items()}
    missing = cards.keys() - {match[2] for match in _PART.finditer(page)}
    if missing:
        raise KeyError(f"docs/models.md has no part for {', '.join(sorted(missing))}")
    return _PART.sub(lambda match: match[1] + "\n" + text(cards[match[2]]) + match[3], page)


def text(card: Card) -> str:
    """A card as Markdown; sections of which there is nothing to say are left out."""
    parts = [_table(("fact", "value"), [("name", f"`{card.name}`"), *_facts(card)])]
    if card.conditions:
        header = ("target", "form", "known from training")
        rows = [_condition(each) for each in card.conditions]
        parts += ["### What it can be asked", _table(header, rows)]
    if card.reliability:
        parts += ["### How well it tells the classes, by noise level", _reliability(card.reliability)]
    if card.accuracy:
        parts += ["### How near it comes to the numbers, by noise level", _accuracy(card.accuracy)]
    if card.metrics:
        parts += ["### How well it does", *_figures(card.metrics)]
    return "\n\n".join(parts) + "\n"


def _facts(card: Card) -> list[tuple[str, str]]:
    run, network = card.training, card.config.network
    modality = registry.build("modality", card.config.data.modality)
    kinds, noun = modality.tokenizer(card.tokenizer).vocab_size, modality.noun
    vocabulary = card.tokenizer.get("vocab", [])
    # Spaces and line ends would be lost in a table.
    spelt = f": {_code(vocabulary)}" if vocabulary and not any(map(str.isspace, vocabulary)) else ""
    left_out = _listed(run.get("rejected") or {}) or "none"
    rows = [
        ("licence of the weights", card.license or "not said"),
        ("parameters", f"{card.parameters:,}"),
        ("network", f"transformer, {network.width} wide, {network.depth} blocks, {network.heads} heads"),
        ("process", f"{card.config.process.name}, {card.config.process.schedule} schedule"),
        (f"{noun}s", f"at most {card.max_length} tokens of {kinds} kinds{spelt}"),
        ("lengths", "drawn from the training rows" if card.length == "empirical" else "padded"),
        (
            "data",
            f"{run['source']}: {run['rows']:,} {noun}s, {run['heldout_rows']:,} of them held out; "
            f"{run['duplicates']:,} repeats dropped; left out: {left_out}",
        ),
        ("training", f"{run['steps']:,} steps, {run['tokens']:,} tokens, {run['epochs']:g} epochs"),
    ]
    rows += _losses(card, noun)
    if run.get("notes"):
        rows.append(("notes", str(run["notes"])))
    if card.guided_by is not None:
        named = card.guided_by.model_dump()
        classifier = named.pop("classifier")
        rows.append(("guided by, where numbers are asked", f"`{classifier}`, {_listed(named)}"))
    if card.origin is not None and card.kind == "classifier":
        rows.append(("to guide", f"{card.origin.name} (sha256 {card.origin.sha256[:12]})"))
    elif card.origin is not None:
        added = _code(card.origin.tokens_added) or "none"
        source = f"{card.origin.name} (sha256 {card.origin.sha256[:12]})"
        rows.append(("fine-tuned from", f"{source}, tokens added: {added}"))
    if card.shared is not None:
        rows.append(("table and reference", f"those of `{card.shared.of}`, in whose file they are"))
    if card.kind == "denoiser":
        # The options one by one: what stands in braces, Markdown may take for attributes.
        setting = card.default.model_dump()
        setting |= setting.pop("options")
        rows.append(("its own setting", _listed(setting)))
    rows += [
        ("versions", _listed(card.versions)),
        ("sha256 of the weights", f"`{card.sha256}`"),
    ]
    return rows


def _losses(card: Card, noun: str) -> list[tuple[str, str]]:
    """What was found on held-out rows when training ended."""
    run = card.training
    if run.get("heldout_nats_per_token") is not None:
        bound = f"{run['heldout_nats_per_token']:.4f} nats a token, without the term for the length"
        return [(f"bound on held-out {noun}s", bound)]
    if run.get("heldout_nats_per_row") is not None:
        loss = "surprise" if card.accuracy else "cross-entropy"
        return [(f"{loss} on held-out {noun}s", f"{run['heldout_nats_per_row']:.4f} nats")]
    return []


def _reliability(entries: tuple[Reliability, ...]) -> str:
    """How a classifier does by label and noise level, a column a level."""
    levels = sorted({entry.t for entry in entries})
    found = {(entry.name, entry.t): entry for entry in entries}
    rows = []
    for name in dict.fromkeys(entry.name for entry in entries):
        own = [found.get((name, t)) for t in levels]
        aucs = ["-" if each is None or each.auc is None else f"{each.auc:.3f}" for each in own]
        errors = ["-" if each is None else f"{each.calibration_error:.3f}" for each in own]
        rows += [(f"`{name}`", "ROC-AUC", *aucs), (f"`{name}`", "calibration error", *errors)]
    return _table(("label", "", *(f"t = {t:g}" for t in levels)), rows)


def _accuracy(entries: tuple[Accuracy, ...]) -> str:
    """How near a classifier comes to numbers by noise level, a column a level."""
    levels = sorted({entry.t for entry in entries})
    found = {(entry.name, entry.t): entry for entry in entries}
    rows = []
    for name in dict.fromkeys(entry.name for entry in entries):
        own = [found[name, t] for t in levels]
        rows.append((f"`{name}`", f"{own[0].spread:.3g}", *(f"{each.error:.3g}" for each in own)))
    return _table(("number", "s.d.", *(f"error at t = {t:g}" for t in levels)), rows)


def _condition(condition: ConditionSpec) -> tuple[str, str, str]:
    if isinstance(condition, ClassCondition):
        share = 100 * (condition.base_rate or 0)
        known = f"high is above {condition.threshold:.4g}: {share:.1f} % of the molecules"
        return f"`{condition.name}`", "`high`, `low`", known
    if isinstance(condition, CategoryCondition):
        return f"`{condition.name}`", f"`0` to `{condition.classes - 1}`", f"{condition.classes} categories"
    span = f"{condition.minimum:.4g} to {condition.maximum:.4g}"
    known = f"{span}, mean {condition.mean:.4g}, s.d. {condition.std:.4g}"
    return f"`{condition.name}`", "number, `a..b`, `top5%`, `bottom5%`", known


def _figures(metrics: tuple[Metric, ...]) -> list[str]:
    """A table of the figures by setting, and the command that measured them."""
    runs: dict[str, list[str]] = {}
    for each in metrics:
        runs.setdefault(each.setting, []).append(f"{each.name} {_figure(each)}")
    rows = []
    for name, figures in runs.items():
        run, _, setting = name.partition(": ")
        rows.append((run, setting, "<br>".join(figures)))
    seeds = ", ".join(dict.fromkeys(f"{m.samples:,} samples, seeds {_numbers(m.seeds)}" for m in metrics))
    commands = "\n".join(f"    {command}" for command in dict.fromkeys(m.command for m in metrics))
    return [
        f"Mean ± standard error over seeds ({seeds}); [Metrics](metrics.md) has the definitions. Measured by",
        commands,
        _table(("run", "setting", "mean ± s.e."), rows),
    ]


def _figure(metric: Metric) -> str:
    share = any(word in metric.name for word in _SHARES) and "upstream" not in metric.name
    by, unit = (100, " %") if share else (1, "")
    error = "" if metric.se is None else f" ± {by * metric.se:.2g}"
    return f"{by * metric.mean:.4g}{error}{unit}"


def _listed(facts: dict[str, Any]) -> str:
    shown = {key: f"{value:g}" if isinstance(value, float) else value for key, value in facts.items()}
    return ", ".join(f"{key} {value}" for key, value in shown.items())


def _numbers(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers))


def _code(tokens: Any) -> str:
    return " ".join(f"`{token}`" for token in tokens)


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def main() -> None:
    """Writes the page."""
    page = filled(PAGE.read_text(encoding="utf-8"))
    with written(PAGE) as part:
        part.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
