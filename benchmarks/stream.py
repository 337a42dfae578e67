"""Memory of `moldiff generate` over the number of samples: peak resident size, each in a process of its own.

    python benchmarks/stream.py --n 1000 10000 --format csv

Prints a table; --json prints one object a line. The setting is quick and rough by default: memory does not
depend on how good the molecules are.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

#: Runs a command line, then prints its peak resident size before sampling and at the end, in MiB.
SCRIPT = """
import json, resource, sys
from moldiff.generation.model import load
from moldiff.generation import stream
from moldiff.cli.app import run
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = []
pieces = stream.Stream._pieces
def noted(self):
    for piece in pieces(self):
        before or before.append(peak())
        yield piece
stream.Stream._pieces = noted
code = run(sys.argv[1:])
print(json.dumps({"first": before[0], "peak": peak(), "code": code}), file=sys.stderr)
"""


def measure(n: int, suffix: str, model: str, more: list[str]) -> dict[str, Any]:
    """One run of n samples: MiB at the first piece of rows and at the peak, and seconds."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / f"mols.{suffix}"
        command = ["generate", model, "-n", str(n), "--out", str(out), "--quiet", *more]
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, *command], capture_output=True, text=True, check=True
        )
        seconds = time.perf_counter() - started
        size = out.stat().st_size / 2**20
    found = json.loads(done.stderr.splitlines()[-1])
    return {
        "n": n,
        "format": suffix,
        **found,
        "grown": found["peak"] - found["first"],
        "seconds": seconds,
        "file": size,
    }


def main() -> None:
    """Reads the command line and measures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--format", nargs="+", default=["csv"])
    parser.add_argument("--model", default="qm9")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "more", nargs="*", default=["--sampler", "mdlm", "--steps", "4"], help="after --, flags of generate"
    )
    asked = parser.parse_args()
    if not asked.json:
        names = ("n", "format", "first MiB", "peak MiB", "grown MiB", "file MiB", "s")
        print("".join(f"{name:>11}" for name in names))
    for suffix in asked.format:
        for n in asked.n:
            row = measure(n, suffix, asked.model, asked.more)
            if asked.json:
                print(json.dumps(row), flush=True)
                continue
            figures = (row["first"], row["peak"], row["grown"], row["file"], row["seconds"])
            print(f"{n:11d}{suffix:>11}" + "".join(f"{figure:11.1f}" for figure in figures), flush=True)


if __name__ == "__main__":
    main()
