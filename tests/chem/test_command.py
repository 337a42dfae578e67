"""A program as an oracle: every way in which it can fail costs one molecule and is told."""

import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from moldiff.chem.scoring import Scorer, score
from moldiff.errors import MoldiffError

from .test_pool import gone

SMILES = ["C", "CC", "CCO", "N", "CCN"]
LENGTHS = [1, 2, 3, 1, 3]
LOOP = """
import json, os, sys, time
for line in sys.stdin:
    smiles = json.loads(line)["smiles"]
    if smiles == "CCO":
        {}
    print(json.dumps({{"value": len(smiles)}}))
"""
BAD = {
    "error": ("print(json.dumps({'error': 'no  ethanol'})); continue", "error: no ethanol"),
    "both": ("print(json.dumps({'error': 'none', 'value': 3})); continue", "error: none"),
    "text": ("print(json.dumps({'value': 'three'})); continue", "returned text: 'three'"),
    "null": ("print(json.dumps({'value': None})); continue", "returned None"),
    "nan": ("print('{\"value\": NaN}'); continue", "returned nan"),
    "neither": (
        "print(json.dumps({'result': 3})); continue",
        'answered no JSON object with a value or an error: {"result": 3}',
    ),
    "no object": ("print([3]); continue", "answered no JSON object with a value or an error: [3]"),
    "no json": ("print('x' * 1000)", "answered no JSON object with a value or an error: " + "x" * 77 + "..."),
    "other": (
        "print(json.dumps({'value': 3, 'smiles': 'C'})); continue",
        'answered for another molecule: {"value": 3, "smiles": "C"}',
    ),
    "ends": ("sys.exit(4)", "the process ended with exit code 4"),
    "closes": (
        "sys.stdout.flush(); os.close(1); time.sleep(3600)",
        "the process closed its output",
    ),
    "is killed": ("os.kill(os.getpid(), 9)", "the process ended by signal SIGKILL"),
}


@pytest.mark.parametrize("name", BAD)
def test_only_the_molecule_to_blame_has_no_value(name: str, program: Callable[[str], str]) -> None:
    body, reason = BAD[name]
    found = score(SMILES, {"size": program(LOOP.format(body))})
    expected = [math.nan if text == "CCO" else length for text, length in zip(SMILES, LENGTHS, strict=True)]
    np.testing.assert_array_equal(found.values["size"], expected)
    assert found.reasons["size"] == [None, None, reason, None, None]


def test_a_program_that_hangs_is_ended_with_what_it_started(program: Callable[[str], str]) -> None:
    body = (
        "import subprocess; child = subprocess.Popen(['sleep', '3600']); "
        "open('child', 'w').write(str(child.pid)); time.sleep(3600)"
    )
    found = score(SMILES, {"size": program(LOOP.format(body))}, workers=2, timeout=2.0)
    assert found.reasons["size"] == [None, None, "no answer in 2 s", None, None]
    assert gone(int(Path("child").read_text()))


def test_a_program_may_end_after_each_answer(program: Callable[[str], str]) -> None:
    spec = program("import json, sys; print(json.dumps({'value': len(json.loads(input())['smiles'])}))")
    found = score(SMILES, [f"size={spec}"])
    assert found.values["size"].tolist() == LENGTHS


def test_a_program_that_answers_unasked_is_refused_with_all_its_values(program: Callable[[str], str]) -> None:
    twice = program('import sys\nfor line in sys.stdin: print(\'{"value": 1}\\n{"value": 2}\')')
    with pytest.raises(MoldiffError, match="answered unasked, so its values are not known"):
        score(["C" * n for n in range(1, 60)], [twice])


def test_it_gets_canonical_smiles_one_object_a_line(program: Callable[[str], str]) -> None:
    spec = program(
        "import sys\nfor line in sys.stdin:\n    open('seen', 'a').write(line)\n    print('{\"value\": 1}')"
    )
    score(["OCC", "C(C)O", "C(", "F/C=C/F"], [spec])
    assert Path("seen").read_text() == '{"smiles": "CCO"}\n{"smiles": "F/C=C/F"}\n'


def test_what_it_says_on_stderr_is_heard(
    program: Callable[[str], str], capfd: pytest.CaptureFixture[str]
) -> None:
    spec = program(LOOP.format("print('ethanol!', file=sys.stderr)"))
    assert score(SMILES, {"size": spec}).values["size"].tolist() == LENGTHS
    out, err = capfd.readouterr()
    assert (out, err) == ("", "ethanol!\n")


def test_it_runs_on_until_the_scorer_is_closed(program: Callable[[str], str]) -> None:
    spec = program(
        LOOP.format("pass").replace("for line", "open('pid', 'a').write(f'{os.getpid()} ')\nfor line")
    )
    with Scorer({"size": spec}) as scorer:
        scorer(SMILES)
        scorer(["O", "OO"])
        (pid,) = Path("pid").read_text().split()
        os.kill(int(pid), 0)
    assert gone(int(pid))


def test_a_file_that_is_no_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "torn"
    path.write_bytes(b"\0\0\0")
    path.chmod(0o755)
    with pytest.raises(MoldiffError, match="oracle cmd: cannot start"):
        score(["C"], [f"cmd:{path}"])
