"""A small random model in the layout of the published ones, written out by name and shape."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from moldiff.cli.app import run

Weights = dict[str, Tensor]
WIDTH, SIGNAL, BLOCKS, HEADS, LENGTH, TOKENS = 16, 6, 2, 2, 24, 280
CONFIG = {
    "architectures": ["MDLM"],
    "auto_map": {"AutoConfig": "configuration_mdlm.MDLMConfig", "AutoModelForMaskedLM": "modeling_mdlm.MDLM"},
    "model_type": "mdlm",
    "vocab_size": TOKENS + 1,
    "model_length": LENGTH,
    "hidden_dim": WIDTH,
    "cond_dim": SIGNAL,
    "n_blocks": BLOCKS,
    "n_heads": HEADS,
    "dropout": 0.1,
    "time_conditioning": False,
    "return_dict": False,
    "torch_dtype": "float32",
}
PROSE = "the quick brown fox jumps over the lazy dog, and the dog does not mind the fox at all.\n" * 20


def layout() -> dict[str, tuple[int, ...]]:
    """The published names and shapes at a small size, written out."""
    shapes: dict[str, tuple[int, ...]] = {
        "backbone.vocab_embed.embedding": (TOKENS + 1, WIDTH),
        "backbone.sigma_map.mlp.0.weight": (SIGNAL, 256),
        "backbone.sigma_map.mlp.0.bias": (SIGNAL,),
        "backbone.sigma_map.mlp.2.weight": (SIGNAL, SIGNAL),
        "backbone.sigma_map.mlp.2.bias": (SIGNAL,),
        "backbone.output_layer.norm_final.weight": (WIDTH,),
        "backbone.output_layer.linear.weight": (TOKENS + 1, WIDTH),
        "backbone.output_layer.linear.bias": (TOKENS + 1,),
        "backbone.output_layer.adaLN_modulation.weight": (2 * WIDTH, SIGNAL),
        "backbone.output_layer.adaLN_modulation.bias": (2 * WIDTH,),
    }
    for i in range(BLOCKS):
        block = f"backbone.blocks.{i}."
        shapes |= {
            block + "norm1.weight": (WIDTH,),
            block + "attn_qkv.weight": (3 * WIDTH, WIDTH),
            block + "attn_out.weight": (WIDTH, WIDTH),
            block + "norm2.weight": (WIDTH,),
            block + "mlp.0.weight": (4 * WIDTH, WIDTH),
            block + "mlp.0.bias": (4 * WIDTH,),
            block + "mlp.2.weight": (WIDTH, 4 * WIDTH),
            block + "mlp.2.bias": (WIDTH,),
            block + "adaLN_modulation.weight": (6 * WIDTH, SIGNAL),
            block + "adaLN_modulation.bias": (6 * WIDTH,),
        }
    return shapes


def weights_at_random() -> Weights:
    source = torch.Generator().manual_seed(7)
    weights = {name: 0.4 * torch.randn(shape, generator=source) for name, shape in layout().items()}
    # Bytes of which none spells a character by itself are rare, as in a trained model: samples are texts.
    weights["backbone.output_layer.linear.bias"][94:256] -= 25
    half = WIDTH // HEADS // 2
    weights["backbone.rotary_emb.inv_freq"] = 1 / 10000 ** (torch.arange(half).float() / half)
    return weights


def definition() -> dict[str, Any]:
    """A byte-level tokenizer of ``TOKENS`` tokens, the end of a text last, as GPT-2 has it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=TOKENS - 1, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([PROSE], trainer)
    found: dict[str, Any] = json.loads(tokenizer.to_str())
    found["model"]["vocab"]["<|endoftext|>"] = TOKENS - 1
    facts = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    found["added_tokens"] = [{"id": TOKENS - 1, "content": "<|endoftext|>", **facts}]
    assert len(found["model"]["vocab"]) == TOKENS
    return found


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published model with its tokenizer; not to be changed."""
    place = tmp_path_factory.mktemp("published") / "mdlm-small"
    place.mkdir()
    (place / "config.json").write_text(json.dumps(CONFIG), "utf-8")
    (place / "tokenizer.json").write_text(json.dumps(definition()), "utf-8")
    # What stands beside them on the hub: never read, so never run.
    (place / "modeling_mdlm.py").write_text("raise SystemExit('run')", "utf-8")
    (place / "pytorch_model.bin").write_bytes(b"\x80\x04never unpickled")
    save_file(weights_at_random(), place / "model.safetensors")
    return place


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


@pytest.fixture
def config() -> dict[str, Any]:
    """What its configuration says."""
    return dict(CONFIG)


@pytest.fixture
def weights() -> Weights:
    """Its arrays."""
    return weights_at_random()


@dataclass(frozen=True)
class Result:
    """What a command line gave."""

    code: int
    out: str
    err: str


Command = Callable[..., Result]


@pytest.fixture
def moldiff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command line in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: object) -> Result:
        capsys.readouterr()
        code = run([str(each) for each in arguments])
        return Result(code, *capsys.readouterr())

    return command
