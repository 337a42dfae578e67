"""`moldiff benchmark`: published protocols, one file a verb."""

from __future__ import annotations

import typer

from moldiff.cli.benchmark_denovo import denovo
from moldiff.cli.benchmark_distribution import distribution
from moldiff.cli.benchmark_goal import goal

benchmark_app = typer.Typer(help="Published benchmarks, each with a manifest.", rich_markup_mode=None)


@benchmark_app.callback()
def benchmark() -> None:
    """Published benchmarks, each with a manifest."""


benchmark_app.command()(denovo)
benchmark_app.command()(distribution)
benchmark_app.command()(goal)
