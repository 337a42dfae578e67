"""Put a trained model into the package, its table and novelty reference shared with another one's.

    python benchmarks/bundle.py runs/qm9-study-ar --like qm9-study-masked

Models of one data set have the same table and reference, which weigh as much as the weights of a small one.
With --like, the name of a bundled model, they stay in that model's file alone.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from moldiff.checkpoint import Checkpoint, bundled
from moldiff.errors import MoldiffError, unknown

HOUSE = Path(__file__).resolve().parent.parent / "moldiff" / "weights"


def bundle(run: Path, licence: str, like: str | None, house: Path = HOUSE) -> Path:
    """Writes the model of a run below ``house``, under the run's name; MoldiffError where it is not whole."""
    source = Checkpoint.load(run)
    config = source.card.config.model_copy(update={"license": licence})
    card = source.card.model_copy(update={"license": licence, "config": config})
    if like is not None and not (house / like).is_dir():
        raise unknown("model", like, bundled())
    Checkpoint(card, source.arrays).save(house / card.name, None if like is None else house / like)
    return house / card.name


def main() -> None:
    """Writes the folder and says what it weighs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--license", default="Apache-2.0")
    parser.add_argument("--like")
    asked = parser.parse_args()
    try:
        folder = bundle(asked.run, asked.license, asked.like)
    except MoldiffError as error:
        sys.exit(f"bundle: {error}")
    print(f"{folder}: {sum(path.stat().st_size for path in folder.iterdir()):,} bytes")


if __name__ == "__main__":
    main()
