"""Times `moldiff train` against a bare loop over the same network and batches, and against padded rows.

    python benchmarks/training.py TOKENS.safetensors [--config qm9] [--rounds N] [--out FILE] [key=value ...]

Between rounds of Lightning's steps the same number of bare steps runs, in the same process and on the same
batches: forward, loss, backward, clipping, optimizer, and nothing else. So the ratio of their speeds holds
on a busy machine too. Then the bare loop runs in turn on these batches and on ones whose rows are filled up
to 32, the papers' setting, with as many molecules each.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.nn import functional

from moldiff import config, registry
from moldiff.assembly import build_network, build_process, build_tokenizer
from moldiff.conditions import fit_all
from moldiff.diffusion.objective import Batch
from moldiff.diffusion.process import Process
from moldiff.nn.compilation import compile_blocks
from moldiff.nn.optim import MuonAdamW, matrices_and_others
from moldiff.nn.precision import autocast
from moldiff.nn.transformer import Transformer
from moldiff.training import intake
from moldiff.training.trainee import Trainee
from moldiff.training.trainer import build_trainer

ROUND, PADDED = 20, 32


class Bare:
    """A training loop with nothing around it."""

    def __init__(self, network: Transformer, process: Process, settings: config.TrainConfig) -> None:
        self.network, self.process = network, process
        optimizer = settings.optimizer
        self.optimizer = MuonAdamW(*matrices_and_others(network), optimizer.lr, optimizer.weight_decay)
        self.dropout = registry.build("condition dropout", "keep-count", skew=2.0)
        self.precision = settings.precision

    def step(self, batch: Batch) -> None:
        """One optimizer step on one batch."""
        x_0 = batch.tokens
        t = torch.rand(len(x_0))
        masked = torch.rand(x_0.shape) < t[:, None]
        x_t = x_0.masked_fill(masked, self.process.num_tokens)
        cond = batch.cond
        if cond is not None:
            cond = self.dropout(cond, torch.rand(len(cond), cond.shape[1] + 1))
        with autocast(torch.device("cpu"), self.precision):
            log_x0 = self.network(x_t, t, cond)
        nll: Tensor = -log_x0.gather(-1, x_0[..., None]).squeeze(-1)
        loss = (nll * masked / t[:, None]).sum() / batch.whole
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()

    def seconds(self, batches: list[Batch]) -> float:
        """Seconds that these batches take."""
        start = time.perf_counter()
        for batch in batches:
            self.step(batch)
        return time.perf_counter() - start


class Rounds(lightning.Callback):
    """Times Lightning's steps round by round, and a bare loop on the same batches after each."""

    def __init__(self, bare: Bare) -> None:
        self.bare = bare
        self.batches: list[Batch] = []
        self.start = 0.0
        self.pairs: list[tuple[float, float]] = []

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Ends a round after ``ROUND`` steps."""
        self.batches.append(batch)
        if len(self.batches) == ROUND:
            seconds = time.perf_counter() - self.start
            self.pairs.append((seconds, self.bare.seconds(self.batches)))
            self.batches.clear()
            self.start = time.perf_counter()


def filled(batch: Batch) -> Batch:
    """The batch with every row filled up to 32 tokens."""
    gap = PADDED - batch.tokens.shape[1]
    tokens = functional.pad(batch.tokens, (0, gap), value=0)
    return replace(batch, tokens=tokens, whole=tokens.numel())


def measure(settings: config.TrainConfig, rounds: int) -> dict[str, Any]:
    """The pairs of seconds of both comparisons, the first round of each left out as warm-up."""
    data = intake.read_tokens(settings)
    conditions = fit_all(settings.conditions, intake.properties(data), ~data.heldout)
    tokenizer = build_tokenizer(data.info["modality"], data.info["tokenizer"])
    process = build_process(settings, tokenizer.vocab_size)
    build: Callable[[], Transformer] = lambda: build_network(settings, process, PADDED, conditions)  # noqa: E731
    network, other = build(), build()
    if settings.compile:
        # Two networks and two forms of batches are more kinds of calls than torch keeps by default.
        torch._dynamo.config.recompile_limit = 32
        compile_blocks(network)
        compile_blocks(other)
    trainee = Trainee(network, process, settings)
    module = intake.data_module(data, settings, conditions)
    rounds_timed = Rounds(Bare(other, process, settings))
    trainer = build_trainer(settings)
    trainer.callbacks.append(rounds_timed)
    trainer.fit(trainee, datamodule=module)
    batches = [module.train_dataloader().batch(step) for step in range(ROUND)]
    wide = [filled(batch) for batch in batches]
    bare = rounds_timed.bare
    padded = [(bare.seconds(batches), bare.seconds(wide)) for _ in range(rounds)]
    tokens = sum(batch.tokens.numel() for batch in batches)
    return {"against_bare": rounds_timed.pairs[1:], "against_padded": padded[1:], "tokens_a_round": tokens}


def main() -> None:
    """Prints both ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tokens", type=Path)
    parser.add_argument("--config", default="qm9")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--out", type=Path)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_intermixed_args()
    steps = ROUND * options.rounds
    with tempfile.TemporaryDirectory() as folder:
        own = (f"out={folder}/run", f"max_steps={steps}", "validate_every=100000", "checkpoint_every=100000")
        settings = config.load(options.config, (f"data.path={options.tokens}", *own, *options.overrides))
        found = measure(settings, options.rounds)
    bare = [b / a for a, b in found["against_bare"]]
    padded = [b / a for a, b in found["against_padded"]]
    rate = statistics.median(found["tokens_a_round"] / a for a, _ in found["against_bare"])
    print(f"{rate:.0f} tokens/s; {torch.get_num_threads()} threads, compile {settings.compile}")
    print(f"speed over a bare loop: {statistics.median(bare):.3f} ({min(bare):.3f} to {max(bare):.3f})")
    median = statistics.median(padded)
    print(f"molecules over padded rows: {median:.2f} ({min(padded):.2f} to {max(padded):.2f})")
    if options.out:
        options.out.write_text(json.dumps({**found, "bare": bare, "padded": padded}, indent=1))


if __name__ == "__main__":
    main()
