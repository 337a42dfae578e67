"""`moldiff models` and `moldiff show`: what there is to generate from, and what is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from moldiff.cli import output

if TYPE_CHECKING:
    from moldiff.checkpoint import Accuracy, Card, Reliability

#: What a model of each kind is for.
KINDS = {
    "denoiser": "denoiser, to generate from",
    "classifier": "classifier of noisy rows, to guide a denoiser: generate --guidance cbg --classifier",
}

Name = Annotated[str, typer.Argument(help="A bundled model's name, or a folder with card.json.")]
Json = Annotated[bool, typer.Option("--json", help="Print the card as JSON.")]


def models() -> int:
    """List the models that come with the package."""
    from moldiff.checkpoint import bundled, read_card

    cards = [read_card(folder) for folder in bundled().values()]
    rows = [(card.name, card.kind, f"{card.parameters:,}", card.description) for card in cards]
    output.table(rows, ("model", "kind", "parameters", ""))
    return 0


def show(model: Name = "qm9", json: Json = False) -> int:
    """Show a model's card: what it was trained on, what it can be asked, how well it does."""
    from moldiff.checkpoint import find, read_card

    card = read_card(find(model))
    if json:
        print(card.model_dump_json(indent=1))
        return 0
    facts = [
        ("kind", KINDS[card.kind]),
        ("description", card.description),
        ("parameters", f"{card.parameters:,}"),
        (
            "process",
            f"{card.config.process.name}, {card.length} length, at most {card.max_length} tokens",
        ),
        ("training", ", ".join(f"{key} {value}" for key, value in card.training.items())),
        ("versions", ", ".join(f"{key} {value}" for key, value in card.versions.items())),
        (
            "default",
            ", ".join(f"{key} {value}" for key, value in card.default.model_dump().items()),
        ),
    ]
    if card.origin is not None:
        facts.append(("origin", _origin(card)))
    if card.shared is not None:
        facts.append(("table, reference", f"those of {card.shared.of}"))
    if card.guided_by is not None:
        named = ", ".join(f"{key} {value}" for key, value in card.guided_by.model_dump().items())
        facts.append(("guided by", named))
    output.table(facts, (card.name, ""))
    output.table([_condition(c) for c in card.conditions], ("target", "form", "known from training"))
    if card.reliability:
        _show_reliability(card.reliability)
    if card.accuracy:
        _show_accuracy(card.accuracy)
    if card.metrics:
        rows = [
            (
                m.name,
                m.setting,
                f"{m.mean:.4g}" + ("" if m.se is None else f" ± {m.se:.2g}"),
                str(m.samples),
            )
            for m in card.metrics
        ]
        output.table(rows, ("measured", "setting", "mean ± s.e.", "samples a seed"))
        print("measured by: " + "; ".join(dict.fromkeys(m.command for m in card.metrics)))
    return 0


def _origin(card: Card) -> str:
    """What a model was made from."""
    assert card.origin is not None
    source = f"{card.origin.name} (sha256 {card.origin.sha256[:12]})"
    if card.kind == "classifier":
        return f"to guide {source}"
    return f"fine-tuned from {source}, tokens added: {' '.join(card.origin.tokens_added) or 'none'}"


def _show_reliability(entries: Sequence[Reliability]) -> None:
    """Prints how a classifier does by noise level, and what its chances are worth over all levels."""
    rows = [
        (
            entry.name,
            f"{entry.t:g}",
            output.number(entry.auc),
            output.number(entry.calibration_error, 2),
            output.number(entry.cross_entropy),
            str(entry.rows),
        )
        for entry in entries
    ]
    output.table(rows, ("label", "noise t", "ROC-AUC", "calibration error", "cross-entropy", "rows"))
    seen = []
    for name in dict.fromkeys(entry.name for entry in entries):
        bins: dict[int, list[tuple[int, float, float]]] = {}
        for each in (each for entry in entries if entry.name == name for each in entry.bins):
            bins.setdefault(min(int(each[1] * 10), 9), []).append(each)
        for _, held in sorted(bins.items()):
            count = sum(each[0] for each in held)
            chance, share = (sum(each[0] * each[part] for each in held) / count for part in (1, 2))
            seen.append((name, output.percent(chance), output.percent(share), str(count)))
    output.table(seen, ("label", "chance of high, told", "share of high, seen", "rows, all t"))


def _show_accuracy(entries: Sequence[Accuracy]) -> None:
    """Prints how near a classifier comes to numbers by noise level."""
    rows = [
        (
            entry.name,
            f"{entry.t:g}",
            output.number(entry.error),
            output.number(entry.spread),
            output.percent(entry.within),
            str(entry.rows),
        )
        for entry in entries
    ]
    output.table(rows, ("number", "noise t", "error", "s.d.", "within the s.d. told", "rows"))


def _condition(condition: object) -> tuple[str, str, str]:
    from moldiff.conditions import CategoryCondition, ClassCondition, NumericCondition

    if isinstance(condition, ClassCondition):
        known = f"high is above {condition.threshold:.4g}, {100 * (condition.base_rate or 0):.1f} % of rows"
        return condition.name, "high, low", known
    if isinstance(condition, CategoryCondition):
        return condition.name, f"0 to {condition.classes - 1}", f"{condition.classes} categories"
    assert isinstance(condition, NumericCondition)
    known = (
        f"{condition.minimum:.4g}..{condition.maximum:.4g}, mean {condition.mean:.4g}, sd {condition.std:.4g}"
    )
    return condition.name, "number, a..b, top5%", known
