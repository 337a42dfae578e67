"""`moldiff benchmark`: published protocols, one file a verb."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from moldiff.cli.benchmark_denovo import denovo
from moldiff.cli.benchmark_distribution import distribution
from moldiff.cli.benchmark_fragments import verb
from moldiff.cli.benchmark_goal import goal

if TYPE_CHECKING:
    from moldiff.benchmarks.fragments import Draw

benchmark_app = typer.Typer(help="Published benchmarks, each with a manifest.", rich_markup_mode=None)


@benchmark_app.callback()
def benchmark() -> None:
    """Published benchmarks, each with a manifest."""


def _drawer(name: str, device: str) -> tuple[Draw, Mapping[str, Any]]:
    """What draws from a model, and what fixes its draws."""
    from moldiff.design.benchmark import drawer
    from moldiff.generation.model import load

    model = load(name, device)
    card = model.card
    facts = {"model": card.name, "sha256": card.sha256, "setting": card.default.model_dump(mode="json")}
    return drawer(model), facts


benchmark_app.command()(denovo)
benchmark_app.command()(distribution)
benchmark_app.command("fragments")(verb(_drawer))
benchmark_app.command()(goal)
