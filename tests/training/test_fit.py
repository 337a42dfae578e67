"""Training: what a run leaves, how it survives kills byte for byte, and what its batches are made of."""

import json
import os
import random
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from moldiff import Model, config, registry
from moldiff.checkpoint import CARD, WEIGHTS, Checkpoint, read_card
from moldiff.cli.app import run as command
from moldiff.config import TrainConfig
from moldiff.errors import MoldiffError
from moldiff.training import fit
from moldiff.training.intake import TOKENS
from moldiff.training.resuming import latest_checkpoint
from moldiff.training.trainee import rate

Small = Callable[..., TrainConfig]
# Some sixty steps of a run that keeps a checkpoint every seventh.
SHORT = ("max_steps=60", "checkpoint_every=7", "validate_every=20", "batch_tokens=256")
# Steps enough to be stopped three times on the way.
LONG = 150


def cli(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "moldiff", "train", *arguments]


def overrides(settings: TrainConfig) -> list[str]:
    """The overrides of ``tiny`` that give the same run again on a command line."""
    plain, mine = config.load("tiny").model_dump(mode="json"), settings.model_dump(mode="json")
    return [f"{key}={json.dumps(mine[key])}" for key in mine if mine[key] != plain[key]]


def steps_kept(out: Path) -> list[int]:
    found = (out / "checkpoints").glob("step=*.ckpt")
    return sorted(int(path.stem.partition("=")[2]) for path in found)


def interrupt(arguments: list[str], out: Path, after: int, delay: float, how: int) -> tuple[int, str]:
    """Starts a run, stops it ``delay`` seconds after its checkpoint of step ``after``; code and stderr."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        started = time.monotonic()
        while max(steps_kept(out), default=0) < after:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() - started < 120
            time.sleep(0.002)
        time.sleep(delay)
        os.kill(process.pid, how)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, errors


def test_the_command_leaves_a_model(tmp_path: Path, textbook: Path) -> None:
    arguments = cli("tiny", f"data.path={textbook}", "max_steps=30")
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=True)
    out = tmp_path / "runs" / "tiny"
    assert {WEIGHTS, CARD, TOKENS} <= {path.name for path in out.iterdir()}
    assert done.stderr == ""
    read, wrote, _ = done.stdout.splitlines()
    assert read.startswith("266 items, 13 held out")
    assert wrote.startswith("wrote runs/tiny: ")
    assert "30 steps" in done.stdout
    assert "moldiff generate runs/tiny" in done.stdout
    found = Model(Checkpoint.load(out), "cpu").generate(5)
    assert len(found) == 5
    rows = (out / "logs" / "version_0" / "metrics.csv").read_text("utf-8").splitlines()
    assert {"step", "loss", "heldout_nll"} <= set(rows[0].split(","))
    assert len(rows) > 1


@pytest.mark.parametrize(
    ("settings", "signals"),
    [
        (("precision=fp32",), (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL)),
        # Dropout draws numbers inside the network: those too have to come again.
        (("precision=bf16", "network.dropout=0.1"), (signal.SIGKILL, signal.SIGINT)),
    ],
    ids=["fp32", "bf16"],
)
def test_a_run_that_is_killed_ends_as_if_it_had_not_been(
    settings: tuple[str, ...], signals: tuple[int, ...], small: Small, tmp_path: Path
) -> None:
    whole = small(*SHORT, *settings, f"max_steps={LONG}", f"out={tmp_path / 'whole' / 'model'}")
    fit.run(whole)

    broken = small(*SHORT, *settings, f"max_steps={LONG}", f"out={tmp_path / 'broken' / 'model'}")
    chance = random.Random(str(settings))
    arguments, reached = cli("tiny", *overrides(broken)), [0]
    for how in signals:
        resume = ["--resume"] if reached[1:] else []
        after, delay = reached[-1] + chance.choice([7, 14]), chance.random() * 0.1
        code, errors = interrupt([*arguments, *resume], broken.out, after, delay, how)
        if how == signal.SIGINT:
            assert (code, errors) == (130, "moldiff: interrupted\n")
        else:
            assert (code, errors) == (-how, "")
        assert not (broken.out / CARD).exists()
        reached.append(max(steps_kept(broken.out)))
    # Each stop hit behind the one before, and none at the end.
    assert reached == sorted(set(reached))
    assert reached[-1] < LONG

    fit.run(broken, resume=True)
    for name in (WEIGHTS, CARD):
        assert (broken.out / name).read_bytes() == (whole.out / name).read_bytes()


def test_a_torn_last_checkpoint_falls_back_to_the_one_before(small: Small) -> None:
    settings = small(*SHORT, "max_steps=30")
    fit.run(settings)
    finished = (settings.out / WEIGHTS).read_bytes()
    folder = settings.out / "checkpoints"
    assert steps_kept(settings.out) == [21, 28]
    last = folder / "step=28.ckpt"
    whole = last.read_bytes()
    assert latest_checkpoint(folder) == last
    zeros = whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2)
    for torn in (b"", whole[:1], whole[:1000], whole[: len(whole) // 2], whole[:-1], zeros, os.urandom(500)):
        last.write_bytes(torn)
        assert latest_checkpoint(folder) == folder / "step=21.ckpt"

    (settings.out / WEIGHTS).unlink()
    (settings.out / CARD).unlink()
    fit.run(settings, resume=True)
    assert (settings.out / WEIGHTS).read_bytes() == finished
    # The torn file was written again under its name.
    assert {path.name for path in folder.iterdir()} == {"step=21.ckpt", "step=28.ckpt"}
    assert last.read_bytes() != torn
    assert latest_checkpoint(folder) == last

    for path in folder.iterdir():
        path.write_bytes(b"torn")
    (folder / "step=x.ckpt").write_bytes(whole)
    assert latest_checkpoint(folder) is None
    with pytest.raises(MoldiffError, match="holds no checkpoint"):
        fit.run(settings, resume=True)


def test_a_finished_run_can_be_resumed_and_prolonged_but_not_overwritten(small: Small) -> None:
    settings = small(*SHORT, "max_steps=10", "optimizer.decay=0")
    fit.run(settings)
    finished = (settings.out / WEIGHTS).read_bytes()
    with pytest.raises(MoldiffError, match="holds a run; add --resume or choose another folder"):
        fit.run(settings)
    fit.run(settings, resume=True)
    assert (settings.out / WEIGHTS).read_bytes() == finished
    longer = fit.run(settings.model_copy(update={"max_steps": 12}), resume=True)
    assert longer.card.training["steps"] == 12
    assert (settings.out / WEIGHTS).read_bytes() != finished


def test_a_model_without_checkpoints_is_not_overwritten_either(small: Small) -> None:
    settings = small("max_steps=2", "checkpoint_every=100")
    fit.run(settings)
    assert latest_checkpoint(settings.out / "checkpoints") is None
    with pytest.raises(MoldiffError, match="holds a run"):
        fit.run(settings)
    with pytest.raises(MoldiffError, match="holds no checkpoint"):
        fit.run(settings, resume=True)


@pytest.mark.parametrize("change", ["seed=1", "network.width=32", "optimizer.lr=0.5", "conditions=[]"])
def test_a_run_is_not_resumed_as_another(change: str, small: Small) -> None:
    settings = small(*SHORT, "max_steps=8")
    fit.run(settings)
    other = small(*SHORT, "max_steps=8", change)
    with pytest.raises(MoldiffError, match=rf"--resume: got {change.partition('=')[0].partition('.')[0]}"):
        fit.run(other, resume=True)


def test_a_new_run_reads_its_data_anew(small: Small, tmp_path: Path) -> None:
    # What a run that never reached a checkpoint left behind belongs to its own data.
    settings = small("max_steps=2")
    fit.run(settings)
    for name in (WEIGHTS, CARD):
        (settings.out / name).unlink()
    (tmp_path / "other.smi").write_text("CCO\nCCN\nCCC\n", "utf-8")
    other = fit.run(small("max_steps=2", f"data.path={tmp_path / 'other.smi'}"))
    assert other.card.training["rows"] == 3


def test_nothing_is_written_where_the_configuration_is_wrong(small: Small) -> None:
    for change, message in {
        "network.heads=3": "multiple of 2 x heads",
        "process.name=nope": "unknown process",
        "process.schedule=nope": "unknown schedule",
        "condition_dropout.name=nope": "unknown condition dropout",
        "condition_dropout.options.rate=1": "got option 'rate'",
        "default.sampler=nope": "unknown sampler",
        "default.options.eta=0.1": "got option 'eta'",
        "data.modality=nope": "unknown modality",
        "conditions=[{kind: numeric, name: hue}]": "got 'hue', choose from",
        "device=abacus": "device: got 'abacus'",
        "data.path=": "data.path: got nothing",
    }.items():
        settings = small(change)
        with pytest.raises(MoldiffError, match=message):
            fit.run(settings)
        assert not settings.out.exists()


def test_a_folder_that_cannot_be_written_is_refused(small: Small, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here", "utf-8")
    for out in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("x" * 300)):
        with pytest.raises(MoldiffError, match="out: got"):
            fit.run(small(f"out={out}"))


def test_padded_rows_train_and_generate(tmp_path: Path, textbook: Path) -> None:
    lines = [line for line in textbook.read_text("utf-8").splitlines() if len(line.split()[0]) <= 32]
    (tmp_path / "short.smi").write_text("\n".join(lines), "utf-8")
    settings = {
        "out": str(tmp_path / "run"),
        "max_steps": 40,
        "batch_tokens": 512,
        "device": "cpu",
        "logger": "none",
        "data": {"path": str(tmp_path / "short.smi"), "length": "padded", "pad_to": 32},
        "network": {"width": 32, "depth": 1, "heads": 2},
        "conditions": [{"kind": "class", "name": "qed"}],
        "condition_dropout": {"name": "drop-all", "options": {"rate": 0.1}},
        "optimizer": {"lr": 0.02, "warmup": 5, "ema": 0.9},
        "default": {"sampler": "remdm-cap", "steps": 16},
    }
    (tmp_path / "padded.yaml").write_text(yaml.safe_dump(settings), "utf-8")
    assert command(["train", str(tmp_path / "padded.yaml")]) == 0
    model = Model(Checkpoint.load(tmp_path / "run"), "cpu")
    assert model.card.length == "padded"
    assert model.card.max_length == 32
    assert model.tokenizer.vocab_size == len(model.card.tokenizer["vocab"]) + 1
    found = model.generate(8, targets={"qed": "high"}, scale=2.0)
    assert found.summary["setting"]["sampler"] == "remdm-cap"
    # The network draws the padding too, and what stands behind it is no part of a string.
    lengths = [len(model.tokenizer.encode(raw)) for raw in found.frame["raw"]]
    assert lengths == [32] * 8
    assert found.frame["raw"].str.len().min() < 32


def test_a_token_file_has_to_be_padded_as_the_run_says(small: Small, tmp_path: Path, textbook: Path) -> None:
    data = registry.build("modality", "molecules").prepare(textbook, pad_to=48)
    data.save(tmp_path / "tokens.safetensors")
    path = f"data.path={tmp_path / 'tokens.safetensors'}"
    with pytest.raises(MoldiffError, match=r"data\.pad_to: got None, but the token file has 48"):
        fit.run(small(path))
    padded = fit.run(small(path, "data={length: padded, pad_to: 48}", path, "max_steps=1"))
    assert padded.card.max_length == 48


def test_a_token_file_trains_where_rdkit_is_not_installed(small: Small, tmp_path: Path, tiny: Path) -> None:
    # All that is installed here, but for rdkit and what says that it is.
    farm = tmp_path / "site"
    farm.mkdir()
    for folder in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(folder).iterdir():
            if not entry.name.lower().startswith("rdkit") and not (farm / entry.name).exists():
                (farm / entry.name).symlink_to(entry)
    settings = small(f"data.path={tiny / TOKENS}", "max_steps=3", "logger=csv")
    script = (
        f"import site; site.addsitedir({str(farm)!r}); import importlib.util, sys\n"
        "assert importlib.util.find_spec('rdkit') is None\n"
        "from moldiff.cli.app import run; sys.exit(run(sys.argv[1:]))"
    )
    arguments = [sys.executable, "-S", "-c", script, "train", "tiny", *overrides(settings)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    versions = read_card(settings.out).versions
    # The card names the RDKit that wrote the tokens, though there is none here.
    assert versions["rdkit"] == read_card(tiny).versions["rdkit"]


def test_a_run_without_held_out_rows_or_conditions_trains(small: Small) -> None:
    trained = fit.run(small("data.heldout=0", "conditions=[]", "max_steps=3", "validate_every=2"))
    assert trained.card.training["heldout_nats_per_token"] is None
    assert trained.card.training["heldout_rows"] == 0
    found = Model(Checkpoint.load(small().out), "cpu").generate(3)
    assert len(found) == 3
    with pytest.raises(MoldiffError, match="this model has no conditions"):
        Model(Checkpoint.load(small().out), "cpu").generate(3, targets="qed=0.5")


def test_training_learns(tiny: Path, small: Small) -> None:
    untrained = fit.run(small("max_steps=1", "optimizer.warmup=1000"))
    vocabulary = len(untrained.card.tokenizer["vocab"])
    before = untrained.card.training["heldout_nats_per_token"]
    assert abs(before - np.log(vocabulary)) < 0.5
    assert read_card(tiny).training["heldout_nats_per_token"] < before - 0.5


def test_the_rate_goes_up_stays_and_goes_down() -> None:
    at = rate(config.OptimizerConfig(warmup=10, decay=0.2), 100)
    rates = [at(step) for step in range(101)]
    np.testing.assert_allclose(rates[:10], np.arange(1, 11) / 10)
    assert rates[10:80] == [1.0] * 70
    np.testing.assert_allclose(rates[80:], np.arange(20, -1, -1) / 20)
