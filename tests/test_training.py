"""Training: what a run leaves, how it survives kills byte for byte, and what its batches are made of."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from moldiff import Model, config, registry, training
from moldiff.assembly import build_network, build_process
from moldiff.checkpoint import CARD, WEIGHTS, Checkpoint, read_card
from moldiff.cli.app import run as command
from moldiff.config import TrainConfig
from moldiff.diffusion.objective import Batch
from moldiff.errors import MoldiffError

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
    assert {WEIGHTS, CARD, training.TOKENS} <= {path.name for path in out.iterdir()}
    assert done.stderr == ""
    assert done.stdout.splitlines()[0].startswith("wrote runs/tiny: ")
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
    whole = small(*SHORT, *settings, f"max_steps={LONG}", f"out={tmp_path / 'whole'}")
    training.run(whole)

    broken = small(*SHORT, *settings, f"max_steps={LONG}", f"out={tmp_path / 'broken'}", f"name={whole.name}")
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

    training.run(broken, resume=True)
    for name in (WEIGHTS, CARD):
        assert (broken.out / name).read_bytes() == (whole.out / name).read_bytes()


def test_a_torn_last_checkpoint_falls_back_to_the_one_before(small: Small) -> None:
    settings = small(*SHORT, "max_steps=30")
    training.run(settings)
    finished = (settings.out / WEIGHTS).read_bytes()
    folder = settings.out / "checkpoints"
    assert steps_kept(settings.out) == [21, 28]
    last = folder / "step=28.ckpt"
    whole = last.read_bytes()
    assert training.latest_checkpoint(folder) == last
    zeros = whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2)
    for torn in (b"", whole[:1], whole[:1000], whole[: len(whole) // 2], whole[:-1], zeros, os.urandom(500)):
        last.write_bytes(torn)
        assert training.latest_checkpoint(folder) == folder / "step=21.ckpt"

    (settings.out / WEIGHTS).unlink()
    (settings.out / CARD).unlink()
    training.run(settings, resume=True)
    assert (settings.out / WEIGHTS).read_bytes() == finished
    # The torn file was written again under its name.
    assert {path.name for path in folder.iterdir()} == {"step=21.ckpt", "step=28.ckpt"}
    assert last.read_bytes() != torn
    assert training.latest_checkpoint(folder) == last

    for path in folder.iterdir():
        path.write_bytes(b"torn")
    (folder / "step=x.ckpt").write_bytes(whole)
    assert training.latest_checkpoint(folder) is None
    with pytest.raises(MoldiffError, match="holds no checkpoint"):
        training.run(settings, resume=True)


def test_a_finished_run_can_be_resumed_and_prolonged_but_not_overwritten(small: Small) -> None:
    settings = small(*SHORT, "max_steps=10", "optimizer.decay=0")
    training.run(settings)
    finished = (settings.out / WEIGHTS).read_bytes()
    with pytest.raises(MoldiffError, match="holds a run; add --resume or choose another folder"):
        training.run(settings)
    training.run(settings, resume=True)
    assert (settings.out / WEIGHTS).read_bytes() == finished
    longer = training.run(settings.model_copy(update={"max_steps": 12}), resume=True)
    assert longer.card.training["steps"] == 12
    assert (settings.out / WEIGHTS).read_bytes() != finished


def test_a_model_without_checkpoints_is_not_overwritten_either(small: Small) -> None:
    settings = small("max_steps=2", "checkpoint_every=100")
    training.run(settings)
    assert training.latest_checkpoint(settings.out / "checkpoints") is None
    with pytest.raises(MoldiffError, match="holds a run"):
        training.run(settings)
    with pytest.raises(MoldiffError, match="holds no checkpoint"):
        training.run(settings, resume=True)


@pytest.mark.parametrize("change", ["seed=1", "network.width=32", "optimizer.lr=0.5", "conditions=[]"])
def test_a_run_is_not_resumed_as_another(change: str, small: Small) -> None:
    settings = small(*SHORT, "max_steps=8")
    training.run(settings)
    other = small(*SHORT, "max_steps=8", change)
    with pytest.raises(MoldiffError, match=rf"--resume: got {change.partition('=')[0].partition('.')[0]}"):
        training.run(other, resume=True)


def test_a_new_run_reads_its_data_anew(small: Small, tmp_path: Path) -> None:
    # What a run that never reached a checkpoint left behind belongs to its own data.
    settings = small("max_steps=2")
    training.run(settings)
    for name in (WEIGHTS, CARD):
        (settings.out / name).unlink()
    (tmp_path / "other.smi").write_text("CCO\nCCN\nCCC\n", "utf-8")
    other = training.run(small("max_steps=2", f"data.path={tmp_path / 'other.smi'}"))
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
            training.run(settings)
        assert not settings.out.exists()


def test_a_folder_that_cannot_be_written_is_refused(small: Small, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here", "utf-8")
    for out in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("x" * 300)):
        with pytest.raises(MoldiffError, match="out: got"):
            training.run(small(f"out={out}"))


def test_padded_rows_train_and_generate(tmp_path: Path, textbook: Path) -> None:
    lines = [line for line in textbook.read_text("utf-8").splitlines() if len(line.split()[0]) <= 32]
    (tmp_path / "short.smi").write_text("\n".join(lines), "utf-8")
    settings = {
        "name": "padded",
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
        training.run(small(path))
    padded = training.run(small(path, "data={length: padded, pad_to: 48}", path, "max_steps=1"))
    assert padded.card.max_length == 48


def test_a_token_file_trains_where_rdkit_is_not_installed(small: Small, tmp_path: Path, tiny: Path) -> None:
    # All that is installed here, but for rdkit and what says that it is.
    farm = tmp_path / "site"
    farm.mkdir()
    for folder in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(folder).iterdir():
            if not entry.name.lower().startswith("rdkit") and not (farm / entry.name).exists():
                (farm / entry.name).symlink_to(entry)
    settings = small(f"data.path={tiny / training.TOKENS}", "max_steps=3", "logger=csv")
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


# Batches


@pytest.fixture(scope="module")
def tokens(textbook: Path) -> Any:
    return registry.build("modality", "molecules").prepare(textbook, heldout=0.2)


@pytest.fixture
def module(tokens: Any, small: Small) -> Any:
    settings = small("batch_tokens=64", "max_steps=1000")
    conditions = training.fit_all(settings.conditions, training.properties(tokens), ~tokens.heldout)
    return training.data_module(tokens, settings, conditions)


def items(data: Any, flags: Any) -> set[tuple[int, ...]]:
    return {tuple(data.item(i)) for i in np.flatnonzero(flags)}


def rows(batches: Iterator[Batch]) -> list[tuple[int, ...]]:
    return [tuple(row) for batch in batches for row in batch.tokens.tolist()]


def test_an_epoch_visits_each_training_row_and_no_held_out_one(tokens: Any, module: Any) -> None:
    epoch = module.steps_per_epoch
    for number in range(3):
        batches = itertools.islice(module.train_dataloader(), number * epoch, (number + 1) * epoch)
        seen = rows(batches)
        assert set(seen) == items(tokens, ~tokens.heldout)
        # What is left over of a length is topped up, by less than a batch a length.
        assert len(seen) - len(set(seen)) < 64 / 1 * len(np.unique(tokens.lengths))
    assert set(rows(iter(module.val_dataloader()))) == items(tokens, tokens.heldout)
    assert not items(tokens, tokens.heldout) & items(tokens, ~tokens.heldout)


def test_a_batch_has_one_length_and_about_the_tokens_asked(tokens: Any, module: Any) -> None:
    lengths = {tuple(tokens.item(i)): int(tokens.lengths[i]) for i in range(len(tokens))}
    sizes = set()
    for batch in itertools.islice(module.train_dataloader(), 2 * module.steps_per_epoch):
        assert {lengths[tuple(row)] for row in batch.tokens.tolist()} == {batch.tokens.shape[1]}
        assert batch.tokens.numel() <= max(64, batch.tokens.shape[1])
        assert batch.size == len(batch.tokens)
        sizes.add(batch.size)
    assert len(sizes) > 3


def test_a_batch_is_a_function_of_the_seed_and_the_step(tokens: Any, small: Small) -> None:
    def steps(seed: int, start: int, stop: int) -> list[Batch]:
        settings = small("batch_tokens=64", "max_steps=200", f"seed={seed}")
        conditions = training.fit_all(settings.conditions, training.properties(tokens), ~tokens.heldout)
        return list(
            itertools.islice(
                training.data_module(tokens, settings, conditions).train_dataloader(), start, stop
            )
        )

    all_of_them, later = steps(0, 0, 200), steps(0, 150, 200)
    for first, second in zip(all_of_them[150:], later, strict=True):
        assert first.step == second.step
        assert torch.equal(first.tokens, second.tokens)
        assert first.cond is not None
        assert second.cond is not None
        torch.testing.assert_close(first.cond, second.cond, rtol=0, atol=0, equal_nan=True)
    other = steps(1, 0, 200)
    assert sum(torch.equal(a.tokens, b.tokens) for a, b in zip(all_of_them, other, strict=True)) < 20
    epoch = len({tuple(map(tuple, b.tokens.tolist())) for b in all_of_them})
    assert epoch > 150  # a second epoch is shuffled anew


def test_the_shares_of_the_ranks_make_up_the_batch(module: Any) -> None:
    plan = registry.resolve("data", "token-module")
    tokens, lengths, cond = module.rows["train"]
    parts = sys.modules[plan.__module__]
    step_plan = parts.StepPlan(lengths, 64, 0)
    sources = [
        parts.StepBatches(
            torch.from_numpy(tokens), torch.from_numpy(cond), step_plan, (0, 50), parts.Rank(i, n)
        )
        for n in (1, 3)
        for i in range(n)
    ]
    for whole, *shares in zip(*sources, strict=True):
        assert {share.size for share in shares} == {whole.size}
        places = torch.cat([share.rows for share in shares])
        assert sorted(places.tolist()) == whole.rows.tolist() == list(range(whole.size))
        assert torch.equal(torch.cat([share.tokens for share in shares]), whole.tokens[places])


class Recorder(torch.nn.Module):
    """A denoiser that knows nothing and remembers what it was asked."""

    def __init__(self, num_tokens: int) -> None:
        super().__init__()
        self.num_tokens = num_tokens
        self.asked: list[tuple[Tensor, Tensor, Tensor | None]] = []

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        self.asked.append((x_t, t, cond))
        return torch.zeros(*x_t.shape, self.num_tokens).log_softmax(-1)


def asked(settings: TrainConfig, batches: list[Batch]) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Noisy tokens, times and conditions that the network sees in training on each batch."""
    process = build_process(settings, num_tokens=40)
    trainee = training.Trainee(build_network(settings, process, 64, settings.conditions), process, settings)
    recorder = Recorder(40)
    for batch in batches:
        trainee.objective(recorder, trainee._hide(batch))
    return recorder.asked  # type: ignore[return-value]


def same(first: tuple[Tensor, ...], second: tuple[Tensor, ...]) -> bool:
    return all(
        torch.equal(a.nan_to_num(-9.0), b.nan_to_num(-9.0)) for a, b in zip(first, second, strict=True)
    )


def test_noise_times_and_hidden_conditions_are_functions_of_the_seed_and_the_step(
    module: Any, small: Small
) -> None:
    batches = list(itertools.islice(module.train_dataloader(), 40))
    first = asked(small(), batches)
    torch.manual_seed(99)
    torch.rand(7)
    again = asked(small(), batches[::-1])[::-1]
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    other = asked(small("seed=1"), batches)
    assert not any(same(a, b) for a, b in zip(first, other, strict=True))
    moved = asked(small(), [Batch(b.tokens, b.cond, b.rows, b.size, b.step + 1) for b in batches])
    assert not any(same(a, b) for a, b in zip(first, moved, strict=True))
    # A rank's rows get what they get in the whole batch.
    shares = [Batch(b.tokens[1::2], b.cond[1::2], b.rows[1::2], b.size, b.step) for b in batches]
    for whole, share in zip(first, asked(small(), shares), strict=True):
        assert same(tuple(each[1::2] for each in whole), share)


def test_conditions_are_hidden_by_number(module: Any, small: Small) -> None:
    batches = list(itertools.islice(module.train_dataloader(), 400))
    shown = torch.cat([cond for _, _, cond in asked(small(), batches)])
    known = (~shown.isnan()).sum(-1)
    assert len(known) > 1000
    for number in range(3):
        share = (known == number).double().mean()
        assert abs(share - 1 / 3) < 5 * (2 / 9 / len(known)) ** 0.5


def test_a_run_without_held_out_rows_or_conditions_trains(small: Small) -> None:
    trained = training.run(small("data.heldout=0", "conditions=[]", "max_steps=3", "validate_every=2"))
    assert trained.card.training["heldout_nats_per_token"] is None
    assert trained.card.training["heldout_rows"] == 0
    found = Model(Checkpoint.load(small().out), "cpu").generate(3)
    assert len(found) == 3
    with pytest.raises(MoldiffError, match="this model has no conditions"):
        Model(Checkpoint.load(small().out), "cpu").generate(3, targets="qed=0.5")


def test_training_learns(tiny: Path, small: Small) -> None:
    untrained = training.run(small("max_steps=1", "optimizer.warmup=1000"))
    vocabulary = len(untrained.card.tokenizer["vocab"])
    before = untrained.card.training["heldout_nats_per_token"]
    assert abs(before - np.log(vocabulary)) < 0.5
    assert read_card(tiny).training["heldout_nats_per_token"] < before - 0.5


def test_the_rate_goes_up_stays_and_goes_down() -> None:
    at = training.rate(config.OptimizerConfig(warmup=10, decay=0.2), 100)
    rates = [at(step) for step in range(101)]
    np.testing.assert_allclose(rates[:10], np.arange(1, 11) / 10)
    assert rates[10:80] == [1.0] * 70
    np.testing.assert_allclose(rates[80:], np.arange(20, -1, -1) / 20)
