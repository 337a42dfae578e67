"""The command line leaves cores to other programs."""

import os
import subprocess
import sys

import pytest

#: Runs the program for its version, and prints what torch's threads are told on the way out.
PROGRAM = """
import atexit, os, sys
from moldiff.cli.app import main
assert "torch" not in sys.modules
atexit.register(lambda: print(os.environ.get("GOMP_SPINCOUNT")))
sys.argv = ["moldiff", "--version"]
main()
"""


@pytest.mark.parametrize(
    ("given", "told"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_waiting_threads_sleep_soon_unless_told_otherwise(given: dict[str, str], told: str) -> None:
    bare = {
        key: value for key, value in os.environ.items() if key not in {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**bare, **given}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-1] == told
