"""`moldiff benchmark`: what it prints and leaves, how it goes on, and what it refuses."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import typer

from moldiff.benchmarks import chemnet, denovo
from moldiff.benchmarks.fragments import TASKS, drugs
from moldiff.checkpoint import versions
from moldiff.cli.benchmark_fragments import verb
from moldiff.evaluation.evaluate import evaluate
from moldiff.generation.model import load
from moldiff.moments import frechet

Command = Callable[..., Any]

#: Without the network, which takes seconds to load.
GENERATED = ["CCO", "OCC", "C(", "Cc1ccccc1", "c1ccc(-c2ccccc2)cc1", "CC(=O)OCC", "CC(=O)[O-]"]
TEST = ["CC(=O)OCC", "c1ccc(-c2ccccc2)cc1", "c1ccc2ccccc2c1", "CCCC"]


@pytest.fixture
def files(moldiff: Command) -> Command:
    """The command line in a folder with generated molecules (g), a test (t) and a training set (r)."""
    Path("g.smi").write_text("\n".join(GENERATED) + "\n", "utf-8")
    Path("t.smi").write_text("\n".join(TEST) + "\n", "utf-8")
    Path("r.smi").write_text("CCO\nCC\n", "utf-8")
    return moldiff


def manifest(folder: str) -> Any:
    return json.loads((Path(folder) / "manifest.json").read_text("utf-8"))


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from moldiff.cli.app import run; run(['benchmark', 'denovo', '--help'])\n"
        "print([m for m in ('torch', 'rdkit', 'pandas', 'numpy', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


def test_denovo_counts_first_draws_and_repaired_ones_apart(moldiff: Command) -> None:
    found = moldiff("benchmark", "denovo", "-n", 24, "--seeds", 2, "--out", "o", "-q", "--temperature", 1.2)
    assert (found.code, found.err) == (0, "")
    lines = found.out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:7]] == [
        "qm9, first draws",
        "qm9, repaired, 3 rounds",
        *(each.name for each in denovo.PUBLISHED),
    ]
    assert all("published" in line for line in lines[4:7])
    assert not any("published" in line for line in lines[:4])
    facts = manifest("o")
    assert facts["seeds"] == [0, 1]
    assert facts["versions"] == versions()
    assert {"moldiff", "rdkit", "torch", "python"} <= facts["versions"].keys()
    assert facts["command"].startswith("moldiff benchmark denovo")
    assert facts["config"]["setting"]["temperature"] == 1.2
    first, last = (facts["metrics"]["measured"]["by_seed"][row] for row in list_rows(facts))
    table = pd.read_csv("o/seed-1.csv", keep_default_na=False)
    again = table["repaired"] > 0
    assert again.any()
    raw = table["first"].where(again, table["raw"])
    for figures, strings in ((first["1"], raw), (last["1"], table["raw"])):
        known = evaluate(strings.tolist()).summary
        assert figures["validity"] == known["validity"]
        assert figures["quality"] == known["quality"]
        assert figures["diversity"] == known["diversity"]["tdc"]
    assert first["1"]["validity"] < last["1"]["validity"]
    assert first["1"]["forwards"] < last["1"]["forwards"]
    assert first["1"]["seconds"] is None
    rows = pd.read_csv("o/table.csv").set_index("molecules")
    mean = (first["0"]["validity"] + first["1"]["validity"]) / 2
    assert rows.loc["qm9, first draws", "validity"] == pytest.approx(mean)
    assert rows.loc["GenMol V2", "quality"] == 0.897


def list_rows(facts: Any) -> list[str]:
    return list(facts["metrics"]["measured"]["by_seed"])


def test_denovo_goes_on_with_the_seeds_that_are_missing(moldiff: Command, tiny: Path) -> None:
    asked = ("benchmark", "denovo", tiny, "-n", 8, "--out", "o", "--repair", 0, "-q", "--device", "cpu")
    assert moldiff(*asked, "--seeds", 1).code == 0
    before = Path("o/seed-0.csv").stat().st_mtime_ns
    one = manifest("o")["metrics"]["measured"]
    assert list(one["by_seed"]) == ["first draws"]
    assert moldiff(*asked, "--seeds", 2).code == 0
    assert Path("o/seed-0.csv").stat().st_mtime_ns == before
    two = manifest("o")["metrics"]["measured"]
    assert two["by_seed"]["first draws"]["0"] == one["by_seed"]["first draws"]["0"]
    assert list(two["by_seed"]["first draws"]) == ["0", "1"]
    refused = moldiff(*asked, "--seeds", 1, "--temperature", 0.7)
    assert refused.code == 2
    assert "which holds runs with setting" in refused.err
    # A seed that was cut short is drawn to its end.
    Path("o/seed-1.csv.json").unlink()
    assert moldiff(*asked, "--seeds", 2).code == 0
    again = manifest("o")["metrics"]["measured"]["by_seed"]["first draws"]["1"]
    wanted = two["by_seed"]["first draws"]["1"]
    assert {**again, "seconds": 0} == {**wanted, "seconds": 0}


def test_models_without_masks_are_not_repaired_unless_that_is_asked() -> None:
    masked, uniform = load("digits", "cpu"), load("digits-uniform", "cpu")
    assert [denovo.rounds(each, None) for each in (masked, uniform)] == [denovo.REPAIR, 0]
    assert [denovo.rounds(each, 2) for each in (masked, uniform)] == [2, 2]


def test_denovo_is_of_molecules(moldiff: Command) -> None:
    found = moldiff("benchmark", "denovo", "text", "-n", 4, "--seeds", 1, "--out", "o")
    assert found.code == 2
    assert "got text, a model of text; name one of molecules" in found.err
    assert not Path("o").exists()


def test_denovo_of_a_file(files: Command) -> None:
    found = files("benchmark", "denovo", "--file", "g.smi", "--train", "r.smi", "--out", "o", "--json")
    assert found.code == 0
    facts = found.json
    assert facts == manifest("o")
    known = evaluate(GENERATED, ["CCO", "CC"]).summary
    measured = facts["metrics"]["measured"]
    assert measured["validity"] == known["validity"] == 6 / 7
    assert measured["novelty"] == known["novelty"] == 4 / 5
    assert measured["uniqueness"] == pytest.approx(5 / 6)
    assert "forwards" not in measured
    row = pd.read_csv("o/table.csv").iloc[0]
    assert row["validity_se"] == pytest.approx(known["validity_se"])
    assert row["diversity_se"] == pytest.approx(known["diversity"]["tdc_se"])


def test_distribution_by_hand(files: Command) -> None:
    found = files(
        "benchmark", "distribution", "g.smi", "--test", "t.smi", "--train", "r.smi", "--no-fcd", "--out", "o"
    )
    assert (found.code, found.err) == (0, "")
    figures = {name: each["value"] for name, each in manifest("o")["metrics"].items()}
    known = evaluate(GENERATED, TEST).summary
    assert figures["valid"] == 6 / 7
    assert figures["novelty"] == 4 / 5
    assert figures["SNN"] == known["nearest"]["snn"]
    assert figures["IntDiv2"] == known["diversity"]["intdiv2"]
    # Of scaffolds with two rings and more: biphenyl alone, beside biphenyl and naphthalene.
    assert figures["Scaf"] == pytest.approx(1 / 2**0.5)
    # Five of six pass, the ion does not.
    assert figures["Filters"] == pytest.approx(5 / 6)
    # Ours: ethanol 2, toluene, 2 phenyls, the ester's three, the ion.
    # Theirs: the ester's three, 2 phenyls, naphthalene, butane.
    assert figures["Frag"] == pytest.approx((4 + 3) / ((4 + 1 + 4 + 3 + 1) * (3 + 4 + 1 + 1)) ** 0.5)
    assert figures["W1 QED"] == known["properties"]["qed"]["wasserstein"]
    assert figures["FCD"] is None
    assert figures["unique@1k"] is None
    assert "unique@1k: there are only 6 valid" in found.out
    assert "FCD: left out" in found.out


def test_unique_at_1000(moldiff: Command) -> None:
    Path("g.smi").write_text("C\n" * 600 + "CC\n" * 500, "utf-8")
    Path("t.smi").write_text("C\n", "utf-8")
    found = moldiff(
        "benchmark", "distribution", "g.smi", "--test", "t.smi", "--no-fcd", "--out", "o", "--json"
    )
    assert found.json["metrics"]["unique@1k"]["value"] == 2 / 1000
    assert found.json["metrics"]["unique@10k"]["value"] is None
    assert "novelty" not in found.json["metrics"]


@pytest.mark.skipif(not chemnet.installed(), reason="the extra fcd is not installed")
def test_fcd_is_the_distance_in_chemnets_features(files: Command) -> None:
    found = files("benchmark", "distribution", "g.smi", "--test", "t.smi", "--fcd", "--out", "o", "--json")
    assert found.code == 0
    ours, theirs = (chemnet.activations(canonical(each), "cpu") for each in (GENERATED, TEST))
    assert ours.shape == (6, 512)
    # Repeats count.
    assert found.json["metrics"]["FCD"]["value"] == pytest.approx(frechet(ours, theirs), rel=1e-5)
    Path("long.smi").write_text("C" * 400 + "\nCC\nCCC\nCCO\n", "utf-8")
    found = files("benchmark", "distribution", "long.smi", "--test", "t.smi", "--out", "p")
    assert "FCD: 1 molecules are longer than the network takes" in found.out
    same = files("benchmark", "distribution", "t.smi", "--test", "t.smi", "--out", "q", "--json")
    assert same.json["metrics"]["FCD"]["value"] == pytest.approx(0, abs=1e-9)


@pytest.mark.skipif(not chemnet.installed(), reason="the extra fcd is not installed")
def test_chemnet_sees_what_its_package_shows_it() -> None:
    import fcd
    from fcd.utils import SmilesDataset

    smiles = canonical(GENERATED)
    rows = torch.tensor(
        np.stack(list(map(SmilesDataset(smiles).__getitem__, range(len(smiles))))), dtype=torch.float32
    )
    network = fcd.load_ref_model(str(Path(fcd.__file__).with_name("ChemNet_v0.13_pretrained.pt")))
    with torch.inference_mode():
        expected = network(rows.transpose(1, 2)).numpy()
    np.testing.assert_allclose(chemnet.activations(smiles, "cpu"), expected, rtol=1e-5, atol=1e-6)


def canonical(smiles: list[str]) -> list[str]:
    return [text for text in evaluate(smiles).frame["smiles"] if isinstance(text, str)]


def test_without_the_package_fcd_is_a_line_or_refused(files: Command) -> None:
    script = (
        "import sys; sys.modules['fcd'] = None\n"
        "from moldiff.cli.app import run\n"
        "for more in ([], ['--fcd']):\n"
        "    print(run(['benchmark', 'distribution', 'g.smi', '--test', 't.smi', '--out', 'o', '-q', *more]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert "FCD: needs the package fcd, not installed: pip install 'moldiff[fcd]'" in lines
    assert (lines[-2], lines[-1]) == ("0", "2")
    assert done.stderr.count("\n") == 1
    assert "moldiff: --fcd: it needs the package fcd" in done.stderr


def test_fragments_with_a_draw_of_real_molecules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    known = drugs()

    def drawer(model: str, device: str) -> Any:
        def draw(verb: str, core: str, n: int, seed: int) -> list[str]:
            return [each.smiles for each in known][:n]

        return draw, {"model": model}

    app = typer.Typer()
    app.command("fragments")(verb(drawer))
    app.command("other")(lambda: None)
    arguments = ["fragments", "-n", "10", "--out", "o", "-q"]
    app(arguments, standalone_mode=False, obj=arguments)
    printed = capsys.readouterr().out
    table = pd.read_csv("o/table.csv").set_index("task")
    assert table.index.tolist() == [task.name for task in TASKS]
    assert (table["validity"] == 1).all()
    # Each drug keeps its own core, and hardly another's.
    assert (table["retained"] >= 0.1).all()
    assert (table["retained"] < 0.3).all()
    assert "| linker design" in printed
    facts = manifest("o")
    assert facts["benchmark"] == "fragments"
    assert len(facts["metrics"]) == 50
    assert facts["config"]["model"] == "zinc250k-ar"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["denovo"], "Missing option '--out'"),
        (["denovo", "nothing", "--out", "o"], "unknown model: got 'nothing'"),
        (["denovo", "-n", "0", "--out", "o"], "n: got 0"),
        (["denovo", "--seeds", "0", "--out", "o"], "--seeds: got '0'"),
        (["denovo", "--repair", "-1", "--out", "o"], "repair: got -1"),
        (["denovo", "--sampler", "no", "--out", "o"], "'no'"),
        (["denovo", "--scale", "2", "--out", "o"], "scale: got 2.0 but no target"),
        (["denovo", "--nucleus", "no", "--out", "o"], "--nucleus: got 'no'"),
        (["denovo", "--batch-size", "no", "--out", "o"], "--batch-size: got 'no'"),
        (["denovo", "--target", "qed=9", "--out", "o"], "qed"),
        (["denovo", "--out", "g.smi"], "out: got g.smi, which is no folder"),
        (["denovo", "qm9", "--file", "g.smi", "--out", "o"], "--file: got g.smi and a model"),
        (["denovo", "--file", "g.smi", "--steps", "8", "--out", "o"], "--file: got g.smi and steps"),
        (["denovo", "--file", "none.smi", "--out", "o"], "cannot read none.smi"),
        (["denovo", "--train", "qm9", "--out", "o"], "--train: got qm9, it goes with --file only"),
        (["denovo", "--column", "raw", "--out", "o"], "--column: got raw, it goes with --file only"),
        (["distribution", "g.smi", "--out", "o"], "Missing option '--test'"),
        (["distribution", "g.smi", "--test", "none.smi", "--out", "o"], "cannot read none.smi"),
        (["distribution", "none.smi", "--test", "t.smi", "--out", "o"], "cannot read none.smi"),
        (["distribution", "g.smi", "--test", "qm9", "--out", "o"], "known by hashes alone"),
        (["distribution", "g.smi", "--test", "t.smi", "--out", "g.smi"], "which is no folder"),
        (["distribution", "g.smi", "--test", "t.smi", "--exact", "1", "--out", "o"], "exact: got 1"),
        (
            ["distribution", "g.smi", "--test", "t.smi", "--train-column", "x", "--out", "o"],
            "--train-column: got 'x' without --train",
        ),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], message: str, files: Command) -> None:
    found = files("benchmark", *arguments)
    assert found.code == 2
    assert message in found.err
    assert found.err.count("\n") == 1
    assert not Path("o/manifest.json").exists()
