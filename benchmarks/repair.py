"""Measures what repair gains and costs: first draws, after rounds of it, and whole rows drawn again instead.

    python benchmarks/repair.py qm9 [--samples 1024] [--seeds 0,1,2] [--rounds 1,2,3]

Prints a Markdown table of means over the seeds with their standard errors, from the model's own setting. The
share of more forwards is beside the forwards of the same run's first draws. The last two rows begin with the
tokens to blame and their neighbours alone, and with the whole row: that is drawing again whatever is invalid.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from typing import Any

import moldiff
from moldiff.generation import repair
from moldiff.generation.model import Model

COLUMNS = ("validity", "uniqueness", "novelty", "novel molecules", "more forwards")


def figures(found: dict[str, Any], forwards: float, again: float) -> dict[str, float]:
    """The columns of one run, shares in percent."""
    return {
        **{name: 100 * found[name] for name in COLUMNS[:3]},
        "novel molecules": found["novel"]["canonical"],
        "more forwards": 100 * again / (forwards - again),
    }


def measure(model: Model, samples: int, seed: int, rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """The figures of the first draws and of those after the repair."""
    facts = model.generate(samples, seed=seed, repair=rounds).summary
    found, forwards = facts["repaired"], facts["forwards_per_molecule"]
    return figures(facts, forwards, 0.0), figures(found, forwards, found["forwards_per_molecule"])


def cell(values: Sequence[float]) -> str:
    """Mean and standard error."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return f"{mean:.2f}"
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))
    return f"{mean:.2f} ± {spread:.2f}"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", default="qm9")
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--rounds", default="1,2,3")
    asked = parser.parse_args()
    model = moldiff.load(asked.model)
    rounds = [int(number) for number in asked.rounds.split(",")]
    runs: dict[str, list[dict[str, float]]] = {}
    reaches = {"": repair.REACH, ", neighbours first": (1, 3), ", whole rows": (3,)}
    for seed in map(int, asked.seeds.split(",")):
        for which, reach in reaches.items():
            repair.REACH = reach
            for number in rounds if not which else rounds[-1:]:
                first, after = measure(model, asked.samples, seed, number)
                if not which and number == rounds[0]:
                    runs.setdefault("first draws", []).append(first)
                runs.setdefault(f"after {number} round{'s' * (number > 1)}{which}", []).append(after)
                print(seed, number, which, after, file=sys.stderr, flush=True)
    print("| | " + " | ".join(COLUMNS) + " |")
    print("|---" * (len(COLUMNS) + 1) + "|")
    for name, found in runs.items():
        print(
            f"| {name} | " + " | ".join(cell([each[column] for each in found]) for column in COLUMNS) + " |"
        )


if __name__ == "__main__":
    main()
