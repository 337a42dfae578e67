"""The command line: what each verb prints and writes, and how it ends when it is interrupted."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from moldiff.checkpoint import CARD, bundled

Command = Callable[..., Any]
TEXTBOOK = str(Path(__file__).parents[1] / "data" / "textbook.smi")
TRAIN = ("train", "tiny", "out=o", "device=cpu", "max_steps=2", "network.width=16", "network.depth=1")
HEAVY = ("torch", "rdkit", "lightning", "pandas", "numpy")


def files() -> set[str]:
    return {str(path) for path in Path().rglob("*")}


# Help


@pytest.mark.parametrize(
    "arguments",
    [[], ["--help"], ["-h"], ["generate", "-h"], ["train", "--help"], ["models", "-h"], ["show", "-h"],
     ["data", "-h"], ["data", "prepare", "-h"]],
    ids=" ".join,
)  # fmt: skip
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys; from moldiff.cli.app import run; code = run(sys.argv[1:])\n"
        f"print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stderr == "[]\n"
    assert "Usage: moldiff" in done.stdout
    assert "--help" in done.stdout


def test_the_version_is_the_packages(moldiff: Command) -> None:
    done = moldiff("--version")
    assert (done.code, done.out, done.err) == (0, f"moldiff {version('moldiff')}\n", "")


def test_help_names_every_verb_and_option(moldiff: Command) -> None:
    verbs = moldiff("--help").out
    assert all(verb in verbs for verb in ("generate", "train", "models", "show", "data"))
    options = moldiff("generate", "--help").out
    for option in (
        "-n", "--target", "--scale", "--sampler", "--steps", "--eta", "--temperature", "--top-p", "--seed",
        "--batch-size", "--device", "--out", "--grid", "--json", "--level", "--quiet",
    ):  # fmt: skip
        assert option in options


def test_of_an_option_given_twice_it_is_said_that_the_last_counts(moldiff: Command) -> None:
    found = moldiff(
        "generate", "qm9", "-n", 9, "--num=2", "--target", "qed=0.5", "--target", "logp=0..1", "-q"
    )
    assert found.code == 0
    assert found.err == "moldiff: --num is given 2 times and takes one value: the last one counts\n"
    assert "requested             2" in found.out


# Verbs


def test_models_lists_what_comes_with_the_package(moldiff: Command) -> None:
    found = moldiff("models")
    assert (found.code, found.err) == (0, "")
    assert all(name in found.out for name in bundled())


def test_show_tells_a_card_as_text_and_as_json(moldiff: Command, tiny: Path) -> None:
    text = moldiff("show", tiny)
    assert (text.code, text.err) == (0, "")
    for part in ("parameters", "ring_count", "high, low", "qed", "number, a..b, top5%", "textbook.smi"):
        assert part in text.out
    card = moldiff("show", tiny, "--json").json
    assert card == json.loads((tiny / CARD).read_text("utf-8"))
    assert moldiff("show", "--json").json["name"] == "qm9"


def test_generate_prints_a_summary(moldiff: Command, tiny: Path) -> None:
    found = moldiff("generate", tiny, "-n", 20, "--target", "qed=0.5", "--target", "ring_count=low")
    assert (found.code, found.err) == (0, "")
    for part in ("requested", "valid", "sane", "unique", "novel", "forwards a molecule", "mdlm, 32 steps"):
        assert part in found.out
    assert re.search(r"qed +0\.5", found.out)
    assert re.search(r"ring_count +low", found.out)
    assert not files()


def test_generate_json_is_one_object_with_the_promised_keys(moldiff: Command, tiny: Path) -> None:
    found = moldiff("generate", tiny, "-n", 30, "--target", "qed=top20%", "--scale", 2, "--json", "--seed", 3)
    assert (found.code, found.err) == (0, "")
    facts = json.loads(found.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    keys = "requested valid sane unique novel forwards_per_molecule seconds properties rejects seed versions"
    assert set(keys.split()) <= set(facts)
    assert facts["requested"] == 30
    assert facts["seed"] == 3
    assert facts["setting"]["scale"] == 2
    assert facts["properties"]["qed"]["asked"] == "top20%"
    assert facts["command"].startswith("moldiff")
    assert {"canonical", "upstream"} <= set(facts["novel"])


def test_generate_writes_table_picture_and_provenance(moldiff: Command) -> None:
    arguments = ["generate", "-n", 24, "--steps", 24, "--device", "cpu", "--out", "a.csv", "--grid", "a.png"]
    found = moldiff(*arguments)
    assert (found.code, found.err) == (0, "")
    assert files() == {"a.csv", "a.csv.json", "a.png"}
    assert "wrote a.csv" in found.out
    assert "wrote a.png" in found.out
    frame = pd.read_csv("a.csv")
    assert list(frame.columns[:6]) == ["smiles", "raw", "valid", "sane", "reason", "novel"]
    assert len(frame) == 24
    assert Path("a.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    facts = json.loads(Path("a.csv.json").read_text("utf-8"))
    assert facts["valid"] == frame["valid"].sum() > 0
    # The same command gives the same file, and the Python API the same rows.
    first = Path("a.csv").read_bytes()
    assert moldiff(*arguments).code == 0
    assert Path("a.csv").read_bytes() == first
    assert moldiff("generate", "-n", 24, "--steps", 24, "--device", "cpu", "--out", "a.smi").code == 0
    assert Path("a.smi").read_text("utf-8").split() == list(frame.loc[frame["valid"], "smiles"])


def test_every_option_of_generate_reaches_the_sampler(moldiff: Command, tiny: Path) -> None:
    options = {
        "--sampler": "remdm-loop", "--steps": 24, "--eta": 0.3, "--sampler-option": "on=0.3",
        "--temperature": 0.9, "--top-p": 0.8,
        "--complete": None, "--nucleus": "inclusive",
        "--level": "x0", "--seed": -5, "--batch-size": 4, "--device": "cpu",
    }  # fmt: skip
    flat = [each for pair in options.items() for each in pair if each is not None]
    facts = moldiff("generate", tiny, "-n", 6, "--json", "--quiet", *flat).json
    assert facts["setting"] == {
        "sampler": "remdm-loop", "steps": 24, "temperature": 0.9, "top_p": 0.8,
        "nucleus": "inclusive", "scale": 1.0, "complete": True,
        "options": {"eta": 0.3, "on": 0.3},
    }  # fmt: skip
    assert facts["seed"] == -5
    text = moldiff(
        "generate", tiny, "-n", 4, "--sampler", "remdm-conf", "--sampler-option", "normalize=mean"
    ).out
    assert "normalize mean" in text


def test_no_picture_is_drawn_of_nothing(moldiff: Command, tiny: Path) -> None:
    # One sample at a temperature at which the network's opinion does not count.
    arguments = ["generate", tiny, "-n", 1, "--temperature", 1000, "--grid", "a.png"]
    for seed in range(20):
        found = moldiff(*arguments, "--seed", seed)
        assert found.code == 0
        if "no sane molecule, so a.png was not drawn" in found.out:
            assert not files()
            return
    pytest.fail("twenty strings of noise were all sane")


def test_prepare_then_train_then_generate(moldiff: Command) -> None:
    found = moldiff("data", "prepare", TEXTBOOK, "--out", "tokens.safetensors", "--heldout", 0.1)
    assert (found.code, found.err) == (0, "")
    assert "wrote tokens.safetensors: 266 items, 27 of them held out; smiles tokens" in found.out
    assert "left out: none; repeats: 0\n" in found.out
    found = moldiff(*TRAIN, "data.path=tokens.safetensors")
    assert found.code == 0
    assert "wrote o: " in found.out
    assert {"o/model.safetensors", "o/card.json"} <= files()
    assert "o/tokens.safetensors" not in files()  # the given file is used where it lies
    assert moldiff("generate", "o", "-n", 3).code == 0
    assert json.loads(Path("o/card.json").read_text("utf-8"))["training"]["heldout_rows"] == 27


def test_prepare_counts_what_it_leaves_out(moldiff: Command) -> None:
    Path("mixed.csv").write_text("name,smiles\na,CCO\nb,OCC\nc,C1CC\nd,CC.O\ne,CCN\n", "utf-8")
    found = moldiff("data", "prepare", "mixed.csv", "--out", "t.safetensors")
    assert "wrote t.safetensors: 2 items, 0 of them held out" in found.out
    assert "left out: ring 1, fragments 1; repeats: 1\n--rejects FILE lists them" in found.out


# As a process


def process(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "moldiff", *map(str, arguments)]


def test_the_program_exits_with_the_code_and_without_a_traceback(tiny: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        process("generate", tiny, "-n", 0), capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "moldiff: n: got 0, must be a whole number of at least 1\n"


def test_a_reader_that_goes_away_is_no_error(tiny: Path) -> None:
    piped = subprocess.Popen(process("show", tiny, "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert piped.stdout is not None
    piped.stdout.close()
    assert piped.stderr is not None
    assert piped.stderr.read() == b""
    piped.stderr.close()
    piped.wait(timeout=60)


def test_ctrl_c_saves_what_was_drawn(tiny: Path, tmp_path: Path) -> None:
    arguments = process(
        "generate", tiny, "-n", 100000, "--sampler", "remdm-conf", "--steps", 500, "--batch-size", 8,
        "--out", "mols.csv", "--precision", "fp32",
    )  # fmt: skip
    watcher, terminal = pytest.importorskip("pty").openpty()
    environment = {**os.environ, "COLUMNS": "100", "TERM": "xterm"}
    running = subprocess.Popen(
        arguments,
        stdout=subprocess.PIPE,
        stderr=terminal,
        stdin=subprocess.DEVNULL,
        cwd=tmp_path,
        env=environment,
    )
    os.close(terminal)
    shown = ""
    try:
        # The bar on stderr says when the first rows are there.
        deadline = time.monotonic() + 120
        while not re.search(r"[1-9]\d*/100000", shown):
            assert time.monotonic() < deadline, shown
            shown += os.read(watcher, 4096).decode("utf-8", "replace")
        assert "sampling" in shown
        running.send_signal(signal.SIGINT)
        output, _ = running.communicate(timeout=60)
        while chunk := read(watcher):
            shown += chunk
    finally:
        running.kill()
        os.close(watcher)
    assert running.returncode == 130
    assert "moldiff: interrupted" in shown
    assert "Traceback" not in shown
    assert b"wrote mols.csv" in output
    assert {path.name for path in tmp_path.iterdir()} == {"mols.csv", "mols.csv.json"}
    frame = pd.read_csv(tmp_path / "mols.csv")
    facts = json.loads((tmp_path / "mols.csv.json").read_text("utf-8"))
    assert 0 < len(frame) == facts["drawn"] < facts["requested"] == 100000
    assert frame[["valid", "sane", "novel"]].isin([True, False]).all(axis=None)
    assert (frame["valid"] == frame["smiles"].notna()).all()
    assert (frame["valid"] == frame["qed"].notna()).all()


def read(source: int) -> str:
    """What is left to read; a terminal whose other end is closed raises on Linux."""
    try:
        return os.read(source, 4096).decode("utf-8", "replace")
    except OSError:
        return ""
