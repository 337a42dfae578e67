"""What is no published model, refused in one line."""

import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from moldiff import load
from moldiff.errors import MoldiffError

Command = Callable[..., Any]
#: Of the small model: places of its norm, features of its signal, tokens.
WIDTH, SIGNAL, TOKENS = 16, 6, 280


def configured(place: Path, **changes: Any) -> None:
    """Changes the configuration there; None takes a key out."""
    facts = {**json.loads((place / "config.json").read_text("utf-8")), **changes}
    kept = {name: value for name, value in facts.items() if value is not None}
    (place / "config.json").write_text(json.dumps(kept), "utf-8")


def weighted(place: Path, **changes: Tensor | None) -> None:
    """Changes the arrays there; None takes one out."""
    path = place / "model.safetensors"
    arrays = {**load_file(path), **{"backbone." + name: each for name, each in changes.items()}}
    data = save({name: each for name, each in arrays.items() if each is not None})
    path.write_bytes(data)


def torn(place: Path) -> None:
    whole = (place / "model.safetensors").read_bytes()
    (place / "model.safetensors").write_bytes(whole[:-100])


def oversized(place: Path) -> None:
    (place / "model.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}")


def smaller(place: Path) -> None:
    whole = json.loads((place / "tokenizer.json").read_text("utf-8"))
    whole["added_tokens"] = []
    del whole["model"]["vocab"]["<|endoftext|>"]
    (place / "tokenizer.json").write_text(json.dumps(whole), "utf-8")


def written(name: str, text: str) -> Callable[[Path], None]:
    return lambda place: (place / name).write_text(text, "utf-8") and None


def without(name: str) -> Callable[[Path], None]:
    return lambda place: (place / name).unlink()


def one(value: float) -> Tensor:
    return torch.full((WIDTH,), value)


NORM = "blocks.1.norm2.weight"
REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "no configuration": (without("config.json"), "has no config.json"),
    "no weights but pickled ones": (without("model.safetensors"), "other files are not read"),
    "no tokenizer": (
        without("tokenizer.json"),
        "has no tokenizer; a folder has .* vocab.json and merges.txt",
    ),
    "configuration not JSON": (written("config.json", "{"), "config.json is not JSON"),
    "configuration a list": (written("config.json", "[]"), "holds no object, but list"),
    "configuration deep": (written("config.json", "[" * 100_000), "config.json is not JSON"),
    "another kind": (lambda place: configured(place, model_type="gpt2"), "model_type: .*'mdlm', got 'gpt2'"),
    "no kind": (lambda place: configured(place, model_type=None), "model_type: Field required"),
    "no width of the signal": (lambda place: configured(place, cond_dim=None), "cond_dim: Field required"),
    "the wrong default": (
        lambda place: configured(place, cond_dim=SIGNAL + 1),
        "adaLN_modulation.weight is 96 x 6, expected 96 x 7",
    ),
    "size a word": (lambda place: configured(place, n_blocks="two"), "n_blocks: .*got 'two'"),
    "size a flag": (lambda place: configured(place, n_blocks=True), "n_blocks: .*got True"),
    "no blocks": (lambda place: configured(place, n_blocks=0), "n_blocks: .*greater than or equal to 1"),
    "endless rows": (lambda place: configured(place, model_length=10**12), "model_length: .*less than"),
    "one block more": (lambda place: configured(place, n_blocks=3), r"blocks.2\S* is absent, expected"),
    "one block less": (lambda place: configured(place, n_blocks=1), r"blocks.1\S* is .*, expected absent"),
    "heads that do not fit": (
        lambda place: configured(place, n_heads=3),
        "width: got 16, must be a multiple",
    ),
    "another vocabulary": (
        lambda place: configured(place, vocab_size=TOKENS),
        "output_layer.linear.bias is 281, expected 280",
    ),
    "a weight is missing": (lambda place: weighted(place, **{NORM: None}), "norm2.weight is absent"),
    "a weight too many": (
        lambda place: weighted(place, **{"cond_map.weight": one(0.0)}),
        "cond_map.weight is 16, expected absent",
    ),
    "wrong shape": (lambda place: weighted(place, **{NORM: torch.ones(3)}), "norm2.weight is 3, expected 16"),
    "not finite": (lambda place: weighted(place, **{NORM: one(math.nan)}), "norm2.weight holds numbers"),
    "infinite": (lambda place: weighted(place, **{NORM: one(math.inf)}), "norm2.weight holds numbers"),
    "whole numbers": (
        lambda place: weighted(place, **{NORM: torch.ones(WIDTH, dtype=torch.int32)}),
        "norm2.weight is I32, expected F32 or",
    ),
    "other rotation": (
        lambda place: weighted(place, **{"rotary_emb.inv_freq": torch.tensor([1.0, 0.5, 0.2, 0.1])}),
        r"rotary_emb.inv_freq is not 10000\^",
    ),
    "torn weights": (torn, "model.safetensors cannot be read"),
    "oversized header": (oversized, "model.safetensors cannot be read"),
    "empty weights": (written("model.safetensors", ""), "model.safetensors cannot be read"),
    "tokenizer not JSON": (written("tokenizer.json", "{"), "tokenizer.json is not JSON"),
    "tokenizer of nothing": (written("tokenizer.json", "{}"), "tokenizer bpe: "),
    "tokenizer of another model": (smaller, "its tokenizer has 279 tokens, its network 280 and a mask"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_such_a_model_is_refused_in_one_line(moldiff: Command, copy: Path, case: str) -> None:
    change, message = REFUSED[case]
    change(copy)
    with pytest.raises(MoldiffError, match=message):
        load(f"hf:{copy}", "cpu")
    found = moldiff("generate", f"hf:{copy}", "-n", 2, "--steps", 2, "--out", "x.txt")
    assert (found.code, found.out) == (2, "")
    assert found.err.count("\n") == 1
    assert f"model hf:{copy}" in found.err or "width" in found.err
    assert not list(Path().glob("x.txt*"))


@pytest.mark.parametrize("name", ["./nowhere", "/no/where", "a/b/c", "../x", "a b", "x" * 5000, "a/b@", "\0"])
def test_what_is_neither_a_folder_nor_a_name_is_refused(name: str) -> None:
    with pytest.raises(MoldiffError, match="there is no such folder; name one, or ORG/NAME") as caught:
        load(f"hf:{name}", "cpu")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
