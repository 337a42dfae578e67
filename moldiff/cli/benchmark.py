"""`moldiff benchmark ...`: published benchmarks, by their protocols."""

from __future__ import annotations

import typer

from moldiff.cli.benchmark_goal import goal

benchmark_app = typer.Typer(help="Run published benchmarks by their protocols.", no_args_is_help=True)
benchmark_app.command()(goal)


@benchmark_app.callback()
def benchmark() -> None:
    """Run published benchmarks by their protocols."""
