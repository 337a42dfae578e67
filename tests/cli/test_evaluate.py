"""`moldiff evaluate`: what it prints and writes, and what it refuses."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rdkit import Chem

from moldiff.evaluation.evaluate import evaluate

Command = Callable[..., Any]

ROWS = ["CCO", "OCC", "C(", "CC.O", "Cc1ccccc1", "c1ccc2ccccc2c1"]
REFERENCE = ["CCO", "CCN", "Clc1ccc2ccccc2c1"]


@pytest.fixture
def files(moldiff: Command) -> Command:
    """The command line in a folder with molecules (m.smi, m.csv) and a reference (r.smi)."""
    Path("m.smi").write_text("# made by hand\n" + "\n".join(ROWS) + "\n", "utf-8")
    Path("m.csv").write_text("id,text\n" + "".join(f"{i},{s}\n" for i, s in enumerate(ROWS)), "utf-8")
    Path("r.smi").write_text("\n".join(REFERENCE) + "\n", "utf-8")
    return moldiff


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from moldiff.cli.app import run; code = run(['evaluate', '--help'])\n"
        "print([m for m in ('torch', 'rdkit', 'pandas', 'numpy', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")
    assert all(
        option in done.stdout for option in ("--reference", "--column", "--json", "--out", "--workers")
    )


def test_a_file_needs_no_torch(files: Command) -> None:
    script = (
        "import sys; from moldiff.cli.app import run\n"
        "code = run(['evaluate', 'm.smi', '--reference', 'r.smi', '-q'])\n"
        "print(code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("0 False\n")


def test_the_summary_is_that_of_the_function(files: Command) -> None:
    found = files("evaluate", "m.smi", "--reference", "r.smi", "--json")
    assert (found.code, found.err) == (0, "")
    expected = evaluate(ROWS, REFERENCE).summary
    assert found.json == expected | {"file": "m.smi", "reference": expected["reference"] | {"name": "r.smi"}}
    table = files("evaluate", "m.csv", "--column", "text", "--reference", "r.smi", "--json")
    assert table.json == found.json | {"file": "m.csv"}


def test_tables_say_what_was_found(files: Command) -> None:
    found = files("evaluate", "m.smi", "--reference", "r.smi")
    assert (found.code, found.err) == (0, "")
    rows = {line.split("  ")[1].strip(): line for line in found.out.splitlines() if line.startswith("  ")}
    assert "83.3 % ± 15" in rows["valid"]
    assert "75.0 % ± 22" in rows["novel"]
    assert "novel (train)" not in rows
    assert {"IntDiv", "IntDiv2", "diversity", "scaffolds", "Scaf", "SNN", "qed", "mw"} <= set(rows)
    assert "not sane: branch 1, fragments 1" in found.out
    assert "reference r.smi: 3 molecules, 3 in training" in found.out
    alone = files("evaluate", "m.smi").out
    assert "need a reference" in alone
    assert not any(word in alone for word in ("SNN", "novel ", "Wasserstein"))


def test_a_model_as_reference_says_what_needs_structures(files: Command, tiny: Path) -> None:
    found = files("evaluate", "m.smi", "--reference", tiny)
    assert found.code == 0
    assert "need a file of its molecules" in found.out
    assert "novel (train)" in found.out
    assert "SNN " not in found.out.replace("SNN, nearest", "")


def test_the_table_has_a_row_a_line_with_its_nearest_neighbour(files: Command) -> None:
    found = files("evaluate", "m.smi", "--reference", "r.smi", "--out", "t.csv")
    assert found.code == 0
    assert "wrote t.csv" in found.out
    table = pd.read_csv("t.csv")
    assert table["line"].tolist() == [2, 3, 4, 5, 6, 7]
    assert table["raw"].tolist() == ROWS
    assert table["similarity"][:2].tolist() == [1.0, 1.0]
    assert table["nearest"].fillna("").tolist()[2] == ""
    assert table["nearest"][5] == "Clc1ccc2ccccc2c1"


def test_what_generate_wrote_gives_what_generate_said(moldiff: Command, tiny: Path) -> None:
    said = moldiff("generate", tiny, "-n", 40, "--out", "s.csv", "--json", "--device", "cpu").json
    found = moldiff("evaluate", "s.csv", "--column", "raw", "--reference", tiny, "--json").json
    for key in ("requested", "valid", "sane", "unique", "novel", "rejects"):
        assert found[key] == said[key]


def test_none_valid_is_a_result(moldiff: Command) -> None:
    Path("bad.smi").write_text("C(\nC1CC\n", "utf-8")
    found = moldiff("evaluate", "bad.smi")
    assert found.code == 0
    assert "0.0 %" in found.out
    assert "not sane: branch 1, ring 1" in found.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.smi"], "cannot read none.smi"),
        (["m.csv", "--column", "x"], "column of m.csv: got 'x', choose from id, text"),
        (["m.csv"], "no SMILES column in m.csv"),
        (["m.smi", "--reference", "none.smi"], "cannot read none.smi"),
        (["m.smi", "--reference", "nothing"], "unknown reference: got 'nothing', choose from qm9"),
        (["m.smi", "--reference", "m.csv", "--reference-column", "x"], "got 'x', choose from id, text"),
        (["m.smi", "--reference-column", "x"], "--reference-column: got 'x' without --reference"),
        (["m.smi", "--reference", "."], "card.json"),
        (["m.smi", "--out", "t.txt"], "got t.txt, a table of an evaluation ends in .csv"),
        (["m.smi", "--out", "none/t.csv"], "there is no folder none"),
        (["m.smi", "--workers", "0"], "workers must be at least 1"),
        (["m.smi", "--exact", "1"], "exact: got 1"),
        (["m.smi", "--seed", "-1"], "seed: got -1"),
        (["m.xyz"], "kind of molecule file"),
        (["."], "molecule file"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_line(files: Command, arguments: list[str], message: str) -> None:
    found = files("evaluate", *arguments)
    assert found.code == 2
    assert found.out == ""
    assert message in found.err
    assert found.err.count("\n") == 1
    assert sorted(path.name for path in Path().iterdir()) == ["m.csv", "m.smi", "r.smi"]


def test_records_of_an_sdf_file_count_whether_readable_or_not(moldiff: Command) -> None:
    blocks = [Chem.MolToMolBlock(Chem.MolFromSmiles(text)) for text in ("CCO", "c1ccccc1")]
    broken = blocks[0].replace(" 1 2 1", " 1 9 1", 1).replace("  1  2  1", "  1  9  1", 1)
    Path("m.sdf").write_text("".join(f"{block}$$$$\n" for block in (*blocks, broken)), "utf-8")
    assert moldiff("evaluate", "m.sdf", "--out", "t.csv").code == 0
    table = pd.read_csv("t.csv")
    assert table["line"].tolist() == [1, 2, 3]
    assert table["smiles"].fillna("").tolist() == ["CCO", "c1ccccc1", ""]
    assert table["reason"].fillna("").tolist() == ["", "", "empty"]
