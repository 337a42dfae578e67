"""`moldiff score` and `moldiff oracle`: tables, files, and what an oracle of one's own can do to them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from moldiff.chem.oracles import BUILT_IN, FAMILIES, ORACLES

Command = Callable[..., Any]
LINES = "smiles\nCCO\nOCC\nC(\nc1ccccc1\nCC.O\n"


@pytest.fixture
def molecules(tmp_path: Path) -> Path:
    path = tmp_path / "molecules.csv"
    path.write_text(LINES, encoding="utf-8")
    return path


def test_every_row_of_the_file_has_a_value_or_a_reason(moldiff: Command, molecules: Path) -> None:
    spec = "similarity:CCO"
    ran = moldiff("score", molecules, "--oracle", spec, "--oracle", "m=mw", "--scaffold", "--out", "t.csv")
    assert ran.code == 0, ran.err
    table = pd.read_csv("t.csv", keep_default_na=False)
    assert list(table) == ["line", "raw", "smiles", "valid", "scaffold", spec, "m", "reason"]
    assert table["line"].tolist() == [2, 3, 4, 5, 6]
    assert table["raw"].tolist() == LINES.split()[1:]
    assert table["smiles"].tolist() == ["CCO", "CCO", "", "c1ccccc1", ""]
    assert table["reason"].tolist() == ["", "", "branch", "", "fragments"]
    assert table["scaffold"].tolist() == ["", "", "", "c1ccccc1", ""]
    assert table[spec].tolist() == ["1.0", "1.0", "", "0.0", ""]
    assert "rows: 5; no molecule: branch 1, fragments 1" in ran.out
    assert "wrote t.csv" in ran.out
    assert ran.err == ""


def test_the_default_is_what_generate_computes(moldiff: Command, molecules: Path) -> None:
    ran = moldiff("score", molecules, "--json")
    assert list(ran.json["oracles"]) == list(ORACLES)
    assert ran.json["rejects"] == {"branch": 1, "fragments": 1}
    assert ran.json["molecules"] == 5
    assert ran.json["oracles"]["mw"]["count"] == 3


@pytest.mark.parametrize("suffix", [".jsonl", ".smi", ".sdf", ".parquet"])
def test_tables_of_other_kinds(suffix: str, moldiff: Command, molecules: Path) -> None:
    assert moldiff("score", molecules, "--oracle", "mw", "--out", f"t{suffix}").code == 0
    assert Path(f"t{suffix}").stat().st_size > 0


def test_one_molecule_that_hangs_leaves_every_other_its_value(moldiff: Command, molecules: Path) -> None:
    Path("patient.py").write_text(
        "import time\ndef f(s): return [time.sleep(3600) if x == 'CCO' else len(x) for x in s]"
    )
    ran = moldiff(
        "score", molecules, "--oracle", "patient:f", "--oracle", "mw", "--timeout", 2, "--out", "t.csv"
    )
    assert ran.code == 0
    table = pd.read_csv("t.csv")
    assert table["patient:f"].isna().tolist() == [True, True, True, False, True]
    assert table["mw"].isna().tolist() == [False, False, True, False, True]
    assert table["reason"].tolist()[0] == "patient:f: no answer in 2 s"
    assert "no answer in 2 s 2" in ran.out


def test_notes_are_printed(moldiff: Command, molecules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit(moldiff)
    monkeypatch.setattr("moldiff.chem.fitted.rdkit_version", lambda: "2099.1")
    for ran in (
        moldiff("score", molecules, "--oracle", "y.safetensors"),
        moldiff("oracle", "show", "y.safetensors"),
    ):
        assert "this is 2099.1; fingerprints may differ" in ran.out


def test_an_interrupt_keeps_what_is_scored_and_leaves_no_process(tmp_path: Path) -> None:
    (tmp_path / "m.smi").write_text("C\nCC\nCCC\n")
    (tmp_path / "endless.py").write_text(
        "import os, time\nfrom pathlib import Path\n"
        "def f(s):\n    Path(f'{os.getpid()}.started').touch()\n    time.sleep(3600)\n"
    )
    command = "score m.smi --oracle mw --oracle endless:f --workers 2 --out t.csv"
    run = subprocess.Popen(
        [sys.executable, "-m", "moldiff", *command.split()],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("*.started"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGINT)  # the workers get it too, as from a terminal
    _, err = run.communicate(timeout=60)
    assert (run.returncode, err) == (130, "moldiff: interrupted\n")
    table = pd.read_csv(tmp_path / "t.csv")
    assert table["mw"].notna().all()
    assert table["reason"].tolist() == ["endless:f: interrupted"] * 3
    started = [int(each.stem) for each in tmp_path.glob("*.started")]
    assert len(started) == 2
    for pid in started:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def fit(moldiff: Command, *options: object) -> Any:
    rows = [("C" * a + "O" * b, a + 3 * b, f"note {a}") for a in range(1, 12) for b in (0, 1)]
    table = pd.DataFrame(rows, columns=["smiles", "y", "note"])
    table.to_csv("data.csv", index=False)
    table.to_parquet("data.parquet")
    return moldiff("oracle", "fit", "data.csv", "--column", "y", "--out", "y.safetensors", *options)


def test_an_oracle_is_fitted_shown_and_used(moldiff: Command) -> None:
    ran = fit(moldiff, "--unit", "units", "--estimator", "ridge", "--size", 128)
    assert ran.code == 0, ran.err
    assert "22 of data.csv" in ran.out
    assert "mean absolute error" in ran.out
    assert "5-fold cross-validation" in ran.out
    card = moldiff("oracle", "show", "y.safetensors", "--json").json
    assert (card["name"], card["unit"], card["molecules"], card["estimator"]) == ("y", "units", 22, "ridge")
    assert card["errors"]["mae"] < card["errors"]["mae_of_mean"]
    used = moldiff("score", "data.csv", "--oracle", "y.safetensors", "--json").json["oracles"]["y"]
    assert (used["count"], used["unit"]) == (22, "units")
    assert used["mean"] == pytest.approx(card["mean"], abs=0.1)


def test_parquet_gives_the_same_oracle(moldiff: Command) -> None:
    fit(moldiff, "--estimator", "ridge")
    ran = moldiff(
        "oracle",
        "fit",
        "data.parquet",
        "--column",
        "y",
        "--out",
        "p.safetensors",
        "--estimator",
        "ridge",
        "--json",
    )
    assert ran.json["errors"] == moldiff("oracle", "show", "y.safetensors", "--json").json["errors"]


def test_a_column_of_words_has_no_values(moldiff: Command) -> None:
    fit(moldiff)
    ran = moldiff("oracle", "fit", "data.csv", "--column", "note", "--out", "n.safetensors")
    assert ran.code == 2
    assert "got 0 molecules with values" in ran.err
    assert not Path("n.safetensors").exists()


def test_every_oracle_is_listed_and_shown(moldiff: Command) -> None:
    out = moldiff("oracle", "list").out
    for name in (*BUILT_IN, *FAMILIES, "package.module:function", "cmd:PROGRAM", "FILE.safetensors"):
        assert f" {name}" in out
    for name in (*BUILT_IN, "similarity:CCO"):
        assert name in moldiff("oracle", "show", name).out
    assert moldiff("oracle", "show", "mw", "--json").json["unit"] == "g/mol"


BAD: dict[str, list[object]] = {
    "unknown oracle": ["score", "molecules.csv", "--oracle", "magic"],
    "one name twice": ["score", "molecules.csv", "--oracle", "a=mw", "--oracle", "a=qed"],
    "the name of another column": ["score", "molecules.csv", "--oracle", "reason=mw"],
    "similarity to nothing": ["score", "molecules.csv", "--oracle", "similarity:"],
    "similarity to no molecule": ["score", "molecules.csv", "--oracle", "similarity:C("],
    "smarts that is none": ["score", "molecules.csv", "--oracle", "smarts:[["],
    "scaffold without a ring": ["score", "molecules.csv", "--oracle", "scaffold:CC"],
    "no such module": ["score", "molecules.csv", "--oracle", "no.such:f"],
    "no such function": ["score", "molecules.csv", "--oracle", "math:no_such"],
    "no function": ["score", "molecules.csv", "--oracle", "math:pi"],
    "no such program": ["score", "molecules.csv", "--oracle", "cmd:no-such-program"],
    "no program": ["score", "molecules.csv", "--oracle", "cmd:"],
    "no such fitted oracle": ["score", "molecules.csv", "--oracle", "no.safetensors"],
    "a fitted oracle that is none": ["score", "molecules.csv", "--oracle", "torn.safetensors"],
    "an empty name": ["score", "molecules.csv", "--oracle", ""],
    "no workers": ["score", "molecules.csv", "--workers", 0],
    "timeout below 0": ["score", "molecules.csv", "--timeout", -1],
    "timeout nan": ["score", "molecules.csv", "--timeout", "nan"],
    "timeout inf": ["score", "molecules.csv", "--timeout", "inf"],
    "no such file": ["score", "missing.csv"],
    "no such column": ["score", "molecules.csv", "--column", "structure"],
    "table of another kind": ["score", "molecules.csv", "--out", "t.xlsx"],
    "table into a missing folder": ["score", "molecules.csv", "--out", "missing/t.csv"],
    "oracle without a verb": ["oracle"],
    "show of nothing": ["oracle", "show", "magic"],
    "show of a torn one": ["oracle", "show", "torn.safetensors"],
    "fit without a column": ["oracle", "fit", "molecules.csv", "--out", "o.safetensors"],
    "fit to no such column": ["oracle", "fit", "molecules.csv", "--column", "y", "--out", "o.safetensors"],
    "fit to a column of SMILES": [
        "oracle",
        "fit",
        "molecules.csv",
        "--column",
        "smiles",
        "--out",
        "o.safetensors",
    ],
    "fit into another kind": ["oracle", "fit", "molecules.csv", "--column", "y", "--out", "o.pkl"],
    "fit of an unknown kind": [
        "oracle",
        "fit",
        "y.csv",
        "--column",
        "y",
        "--out",
        "o.safetensors",
        "--estimator",
        "x",
    ],
    "fit with one fold": ["oracle", "fit", "y.csv", "--column", "y", "--out", "o.safetensors", "--folds", 1],
    "fit with no bits": ["oracle", "fit", "y.csv", "--column", "y", "--out", "o.safetensors", "--size", 0],
    "fit with a seed below 0": [
        "oracle",
        "fit",
        "y.csv",
        "--column",
        "y",
        "--out",
        "o.safetensors",
        "--seed",
        -1,
    ],
    "fit to a parquet that is none": [
        "oracle",
        "fit",
        "p.parquet",
        "--column",
        "y",
        "--out",
        "o.safetensors",
    ],
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_in_one_line(name: str, moldiff: Command, molecules: Path) -> None:
    Path("torn.safetensors").write_bytes(b"\0" * 9)
    Path("p.parquet").write_bytes(b"\0" * 9)
    Path("y.csv").write_text("smiles,y\n" + "".join(f"{'C' * n},{n}\n" for n in range(1, 20)))
    before = {str(path) for path in Path().rglob("*")}
    ran = moldiff(*BAD[name])
    assert ran.code == 2, (ran.out, ran.err)
    assert ran.err.count("\n") == 1
    assert ran.err.startswith("moldiff: ")
    assert ran.out == ""
    assert {str(path) for path in Path().rglob("*")} == before
