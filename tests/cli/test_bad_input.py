"""Every kind of bad input on the command line: one line on stderr, exit code 2, no file."""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moldiff import registry
from moldiff.checkpoint import CARD, WEIGHTS, bundled
from moldiff.config import shipped

Command = Callable[..., Any]
TEXTBOOK = str(Path(__file__).parents[1] / "data" / "textbook.smi")
TRAIN = ("train", "tiny", "out=o", "device=cpu", "max_steps=2", "network.width=16", "network.depth=1")


def files() -> set[str]:
    return {str(path) for path in Path().rglob("*")}


Bad = list[object]
SAMPLE: dict[str, Bad] = {
    "unknown model": ["generate", "nope"],
    "model is a file": ["generate", "file.txt"],
    "model is an empty folder": ["generate", "folder.csv"],
    "model name of 5000 letters": ["generate", "x" * 5000],
    "model with a torn card": ["generate", "torn-card"],
    "model with torn weights": ["generate", "torn-weights"],
    "model with a newer card": ["generate", "newer"],
    "second model": ["generate", "MODEL", "MODEL"],
    "unknown option": ["generate", "MODEL", "--colour", "red"],
    "option without a value": ["generate", "MODEL", "-n"],
    "n 0": ["generate", "MODEL", "-n", 0],
    "n below 0": ["generate", "MODEL", "-n", -5],
    "n a fraction": ["generate", "MODEL", "-n", 1.5],
    "n a word": ["generate", "MODEL", "-n", "many"],
    "scale nan": ["generate", "MODEL", "--target", "qed=0.5", "--scale", "nan"],
    "scale inf": ["generate", "MODEL", "--target", "qed=0.5", "--scale", "inf"],
    "scale below 0": ["generate", "MODEL", "--target", "qed=0.5", "--scale", -1],
    "scale without a target": ["generate", "MODEL", "--scale", 2],
    "scale nan without a target": ["generate", "MODEL", "--scale", "nan"],
    "temperature 0": ["generate", "MODEL", "--temperature", 0],
    "temperature below 0": ["generate", "MODEL", "--temperature", -1],
    "temperature nan": ["generate", "MODEL", "--temperature", "nan"],
    "temperature inf": ["generate", "MODEL", "--temperature", "inf"],
    "top-p 0": ["generate", "MODEL", "--top-p", 0],
    "top-p 2": ["generate", "MODEL", "--top-p", 2],
    "top-p nan": ["generate", "MODEL", "--top-p", "nan"],
    "steps 0": ["generate", "MODEL", "--steps", 0],
    "steps below 0": ["generate", "MODEL", "--steps", -8],
    "steps a fraction": ["generate", "MODEL", "--steps", 3.5],
    "unknown sampler": ["generate", "MODEL", "--sampler", "magic"],
    "eta above 1": ["generate", "MODEL", "--sampler", "remdm-cap", "--eta", 1.5],
    "eta below 0": ["generate", "MODEL", "--sampler", "remdm-rescale", "--eta", -0.1],
    "eta nan": ["generate", "MODEL", "--sampler", "remdm-conf", "--eta", "nan"],
    "eta for a sampler without": ["generate", "MODEL", "--eta", 0.1],
    "eta for first-hitting": ["generate", "MODEL", "--sampler", "first-hitting", "--eta", 0.1],
    "loop with too few steps": ["generate", "MODEL", "--sampler", "remdm-loop", "--steps", 1],
    "sampler option without a value": ["generate", "MODEL", "--sampler-option", "on"],
    "unknown sampler option": ["generate", "MODEL", "--sampler-option", "on=0.5"],
    "sampler option that is no option": ["generate", "MODEL", "--sampler-option", "process=1"],
    "sampler option of another kind": [
        "generate",
        "MODEL",
        "--sampler",
        "remdm-loop",
        "--sampler-option",
        "on=x",
    ],
    "unknown level": ["generate", "MODEL", "--level", "deep"],
    "batch size 0": ["generate", "MODEL", "--batch-size", 0],
    "batch size a word": ["generate", "MODEL", "--batch-size", "huge"],
    "seed a word": ["generate", "MODEL", "--seed", "lucky"],
    "seed a fraction": ["generate", "MODEL", "--seed", 0.5],
    "unknown device": ["generate", "MODEL", "--device", "abacus"],
    "missing device": ["generate", "MODEL", "--device", "cuda:99"],
    "unknown precision": ["generate", "MODEL", "--precision", "fp8"],
    "unknown property": ["generate", "MODEL", "--target", "hue=3"],
    "property that this model does not know": ["generate", "MODEL", "--target", "logp=1"],
    "target without a value": ["generate", "MODEL", "--target", "qed"],
    "empty target": ["generate", "MODEL", "--target", ""],
    "target a word": ["generate", "MODEL", "--target", "qed=nice"],
    "target nan": ["generate", "MODEL", "--target", "qed=nan"],
    "target the wrong way round": ["generate", "MODEL", "--target", "qed=0.6..0.2"],
    "open target": ["generate", "MODEL", "--target", "qed=.."],
    "unreachable target": ["generate", "MODEL", "--target", "qed=3"],
    "class for a number": ["generate", "MODEL", "--target", "qed=high"],
    "number for a class": ["generate", "MODEL", "--target", "ring_count=2"],
    "share of nothing": ["generate", "MODEL", "--target", "qed=top0%"],
    "target twice": ["generate", "MODEL", "--target", "qed=0.5", "--target", "qed=0.4"],
    "table without a suffix": ["generate", "MODEL", "--out", "mols"],
    "table of another kind": ["generate", "MODEL", "--out", "mols.xlsx"],
    "table into a missing folder": ["generate", "MODEL", "--out", "missing/mols.csv"],
    "table into a file": ["generate", "MODEL", "--out", "file.txt/mols.csv"],
    "table is a folder": ["generate", "MODEL", "--out", "folder.csv"],
    "table with a name too long": ["generate", "MODEL", "--out", "x" * 300 + ".csv"],
    "table without a name": ["generate", "MODEL", "--out", ""],
    "picture of another kind": ["generate", "MODEL", "--grid", "mols.jpg"],
    "picture into a missing folder": ["generate", "MODEL", "--grid", "missing/mols.png"],
    "picture is a folder": ["generate", "MODEL", "--grid", "folder.png"],
    "two files of one name": ["generate", "MODEL", "--out", "a.svg", "--grid", "./a.svg"],
    "report of another kind": ["generate", "MODEL", "--report", "r.pdf"],
    "report into a missing folder": ["generate", "MODEL", "--report", "missing/r.html"],
    "resume without a table": ["generate", "MODEL", "--resume"],
    "most samples without unique": ["generate", "MODEL", "--max-samples", 50],
    "most samples below n": ["generate", "MODEL", "-n", 9, "--unique", "--max-samples", 5],
    "missing targets": ["generate", "MODEL", "--targets-from", "missing.csv"],
    "targets from a folder": ["generate", "MODEL", "--targets-from", "folder.csv"],
    "targets from an empty file": ["generate", "MODEL", "--targets-from", "empty.smi"],
    "targets from a binary file": ["generate", "MODEL", "--targets-from", "binary.smi"],
    "targets of unknown properties": ["generate", "MODEL", "--targets-from", "numbers.csv"],
    "targets from a file with an unreachable one": ["generate", "MODEL", "--targets-from", "asked.csv"],
    "targets from a file and by hand": [
        "generate",
        "MODEL",
        "--targets-from",
        "asked.csv",
        "--target",
        "qed=0.5",
    ],
    "targets from a file and n": ["generate", "MODEL", "--targets-from", "asked.csv", "-n", 7],
    "targets from a file and unique": ["generate", "MODEL", "--targets-from", "asked.csv", "--unique"],
    "per target 0": ["generate", "MODEL", "--targets-from", "asked.csv", "--per-target", 0],
    "per target without a file": ["generate", "MODEL", "--per-target", 2],
    "unknown oracle": ["generate", "MODEL", "--oracle", "charm"],
    "oracle timeout 0": ["generate", "MODEL", "--oracle", "np_score", "--oracle-timeout", 0],
    "workers 0": ["generate", "MODEL", "--workers", 0],
    "show of an unknown model": ["show", "nope"],
    "show of a torn card": ["show", "torn-card"],
    "models with an argument": ["models", "qm9"],
}
PREPARE: dict[str, Bad] = {
    "unknown verb": ["dream"],
    "unknown option before the verb": ["--loud"],
    "data without a verb": ["data"],
    "unknown verb of data": ["data", "burn"],
    "prepare without a file": ["data", "prepare"],
    "prepare without an output": ["data", "prepare", TEXTBOOK],
    "prepare into another kind": ["data", "prepare", TEXTBOOK, "--out", "t.csv"],
    "prepare into a missing folder": ["data", "prepare", TEXTBOOK, "--out", "missing/t.safetensors"],
    "prepare a missing file": ["data", "prepare", "missing.smi", "--out", "t.safetensors"],
    "prepare an empty file": ["data", "prepare", "empty.smi", "--out", "t.safetensors"],
    "prepare a binary file": ["data", "prepare", "binary.smi", "--out", "t.safetensors"],
    "prepare torn gzip": ["data", "prepare", "torn.smi.gz", "--out", "t.safetensors"],
    "prepare only invalid molecules": ["data", "prepare", "invalid.smi", "--out", "t.safetensors"],
    "prepare a table without SMILES": ["data", "prepare", "numbers.csv", "--out", "t.safetensors"],
    "prepare a missing column": ["data", "prepare", "numbers.csv", "--column", "c", "--out", "t.safetensors"],
    "prepare a folder": ["data", "prepare", "folder.csv", "--out", "t.safetensors"],
    "prepare another kind of file": ["data", "prepare", "file.pdf", "--out", "t.safetensors"],
    "prepare an unknown modality": [
        "data",
        "prepare",
        TEXTBOOK,
        "--out",
        "t.safetensors",
        "--modality",
        "songs",
    ],
    "hold out all": ["data", "prepare", TEXTBOOK, "--out", "t.safetensors", "--heldout", 1],
    "hold out nan": ["data", "prepare", TEXTBOOK, "--out", "t.safetensors", "--heldout", "nan"],
    "pad to nothing": ["data", "prepare", TEXTBOOK, "--out", "t.safetensors", "--pad-to", 0],
    "too long for the padding": ["data", "prepare", "long.smi", "--out", "t.safetensors", "--pad-to", 3],
    "no workers": ["data", "prepare", TEXTBOOK, "--out", "t.safetensors", "--workers", 0],
}
FIT: dict[str, Bad] = {
    "train nothing": ["train"],
    "unknown configuration": ["train", "huge"],
    "missing configuration": ["train", "missing.yaml"],
    "configuration that is not YAML": ["train", "bad.yaml"],
    "configuration that is a list": ["train", "list.yaml"],
    "configuration with an unknown key": ["train", "unknown.yaml"],
    "train without data": [*TRAIN],
    "train missing data": [*TRAIN, "data.path=missing.smi"],
    "train empty data": [*TRAIN, "data.path=empty.smi"],
    "train binary data": [*TRAIN, "data.path=binary.smi"],
    "train only invalid molecules": [*TRAIN, "data.path=invalid.smi"],
    "train a folder": [*TRAIN, "data.path=folder.csv"],
    "train a torn token file": [*TRAIN, "data.path=torn.safetensors"],
    "train a model": [*TRAIN, f"data.path=MODEL/{WEIGHTS}"],
    "unknown key": [*TRAIN, f"data.path={TEXTBOOK}", "colour=red"],
    "unknown deep key": [*TRAIN, f"data.path={TEXTBOOK}", "network.colour=red"],
    "override without a value": [*TRAIN, f"data.path={TEXTBOOK}", "seed"],
    "max_steps 0": [*TRAIN, f"data.path={TEXTBOOK}", "max_steps=0"],
    "max_steps a word": [*TRAIN, f"data.path={TEXTBOOK}", "max_steps=lots"],
    "seed below 0": [*TRAIN, f"data.path={TEXTBOOK}", "seed=-1"],
    "huge seed": [*TRAIN, f"data.path={TEXTBOOK}", f"seed={2**64}"],
    "heads that do not divide": [*TRAIN, f"data.path={TEXTBOOK}", "network.heads=3"],
    "batch of nothing": [*TRAIN, f"data.path={TEXTBOOK}", "batch_tokens=0"],
    "padded without a length": [*TRAIN, f"data.path={TEXTBOOK}", "data.length=padded"],
    "unknown process": [*TRAIN, f"data.path={TEXTBOOK}", "process.name=gaussian"],
    "unknown condition": [*TRAIN, f"data.path={TEXTBOOK}", "conditions=[{kind: numeric, name: hue}]"],
    "unknown default sampler": [*TRAIN, f"data.path={TEXTBOOK}", "default.sampler=magic"],
    "unknown device for training": [*TRAIN, f"data.path={TEXTBOOK}", "device=abacus"],
    "out is a file": [*TRAIN, f"data.path={TEXTBOOK}", "out=file.txt"],
    "out below a file": [*TRAIN, f"data.path={TEXTBOOK}", "out=file.txt/run"],
    "out holds a model": [*TRAIN, f"data.path={TEXTBOOK}", "out=MODEL"],
    "resume nothing": [*TRAIN, f"data.path={TEXTBOOK}", "--resume"],
}
BAD = {**SAMPLE, **PREPARE, **FIT}


@pytest.fixture
def clutter(tmp_path: Path, tiny: Path) -> Path:
    """A folder with a model, and with files and folders of every wrong kind."""
    for name in ("MODEL", "torn-card", "torn-weights", "newer"):
        (tmp_path / name).mkdir()
        for file in (WEIGHTS, CARD):
            shutil.copy(tiny / file, tmp_path / name / file)
    card = (tiny / CARD).read_text("utf-8")
    (tmp_path / "torn-card" / CARD).write_text(card[:500], "utf-8")
    (tmp_path / "torn-weights" / WEIGHTS).write_bytes((tiny / WEIGHTS).read_bytes()[:999])
    (tmp_path / "newer" / CARD).write_text(card.replace('"format": 1', '"format": 2'), "utf-8")
    for folder in ("folder.csv", "folder.png"):
        (tmp_path / folder).mkdir()
    contents = {
        "file.txt": b"here",
        "file.pdf": b"%PDF",
        "empty.smi": b"",
        "long.smi": b"CCCCCC\n",
        "binary.smi": bytes(range(256)),
        "invalid.smi": b"C(((\nxyz\nC1CC\n",
        "numbers.csv": b"a,b\n1,2\n",
        "asked.csv": b"qed\n0.5\n9\n",
        "torn.smi.gz": gzip.compress(b"CCO\n" * 999)[:-9],
        "torn.safetensors": b"\x00" * 50,
        "bad.yaml": b"a: [1,\n",
        "list.yaml": b"- 1\n",
        "unknown.yaml": b"colour: red\n",
    }
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


@pytest.mark.parametrize("what", BAD)
def test_bad_input_ends_in_one_line_and_leaves_no_file(what: str, moldiff: Command, clutter: Path) -> None:
    before = files()
    found = moldiff(*BAD[what])
    assert found.code == 2
    assert found.out == ""
    assert found.err.startswith("moldiff: ")
    assert found.err.count("\n") == 1
    assert len(found.err) < 6000
    assert files() == before


def test_there_are_enough_kinds_of_bad_input() -> None:
    assert len(BAD) == len(SAMPLE) + len(PREPARE) + len(FIT) > 100


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no folder that even root cannot write into")
def test_an_output_that_cannot_be_written_is_refused_before_sampling(moldiff: Command, tiny: Path) -> None:
    for option, name in {"--out": "/proc/mols.csv", "--grid": "/proc/mols.png"}.items():
        found = moldiff("generate", tiny, option, name)
        assert found.code == 2
        assert f"got {name}, cannot write there" in found.err
    found = moldiff(*TRAIN, f"data.path={TEXTBOOK}", "out=/proc/run")
    assert found.code == 2
    assert "out: got /proc/run, cannot write there" in found.err


def test_errors_name_the_choices(moldiff: Command, clutter: Path) -> None:
    assert all(name in moldiff("generate", "nope").err for name in bundled())
    assert all(name in moldiff("train", "nope").err for name in shipped())
    assert all(name in moldiff("generate", "MODEL", "--sampler", "x").err for name in registry.SAMPLERS)
    assert "ring_count" in moldiff("generate", "MODEL", "--target", "hue=1").err
    assert ".csv, .jsonl, .parquet, .smi, .sdf" in moldiff("generate", "MODEL", "--out", "x.txt").err
    assert "all are left out" in moldiff("data", "prepare", "invalid.smi", "--out", "t.safetensors").err


def test_an_existing_file_survives_a_refused_command(moldiff: Command, clutter: Path) -> None:
    Path("mols.csv").write_text("mine", "utf-8")
    assert moldiff("generate", "MODEL", "--out", "mols.csv", "--target", "qed=9").code == 2
    assert Path("mols.csv").read_text("utf-8") == "mine"
    assert moldiff("generate", "MODEL", "-n", 2, "--out", "mols.csv").code == 0
    assert Path("mols.csv").read_text("utf-8").startswith("smiles,raw")
