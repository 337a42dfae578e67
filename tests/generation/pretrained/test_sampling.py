"""A published model sampled: from Python and from the command line, with its own tokenizer."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from moldiff import load

Command = Callable[..., Any]
Weights = dict[str, Tensor]


def test_the_card_says_what_it_is(folder: Path, weights: Weights) -> None:
    model = load(f"hf:{folder}", "cpu")
    data = (folder / "model.safetensors").read_bytes()
    assert model.card.name == f"hf:{folder}"
    assert model.card.sha256 == hashlib.sha256(data).hexdigest()
    # All that is in the file but for the rotary frequencies, four for heads of eight features.
    assert model.card.parameters == sum(map(Tensor.numel, weights.values())) - 4
    assert (model.card.max_length, model.process.num_tokens, model.process.num_states) == (24, 280, 281)
    assert model.card.config.data.modality == model.modality.name == "text"
    assert (model.card.default.steps, model.card.default.top_p) == (1024, 0.9)
    assert model.tokenizer.decode(model.tokenizer.encode("the lazy fox")) == "the lazy fox"
    assert model.card.conditions == ()


@pytest.mark.parametrize(
    "sampler", ["mdlm", "remdm-cap", "remdm-conf", "remdm-loop", "first-hitting", "adaptive-order"]
)
def test_samples_are_of_the_network_and_the_seed_alone(folder: Path, sampler: str) -> None:
    model = load(f"hf:{folder}", "cpu")
    asked: dict[str, Any] = {"sampler": sampler, "steps": 8, "seed": 3}
    found = model.generate(5, **asked).frame["raw"].tolist()
    assert len(set(found)) == 5
    assert model.generate(5, batch_size=2, **asked).frame["raw"].tolist() == found
    assert model.generate(5, **{**asked, "seed": 4}).frame["raw"].tolist() != found


@pytest.mark.parametrize("sampler", ["mdlm", "remdm-conf", "remdm-loop", "first-hitting"])
def test_the_command_line_samples_it(moldiff: Command, folder: Path, sampler: str) -> None:
    asked = ("-n", 2, "--sampler", sampler, "--steps", 8, "--out", "x.txt", "--json")
    found = moldiff("generate", f"hf:{folder}", *asked)
    assert (found.code, found.err) == (0, "")
    facts = json.loads(found.out)
    assert facts["model"] == f"hf:{folder}"
    assert facts["setting"]["sampler"] == sampler
    assert facts["setting"]["top_p"] == 0.9
    assert facts["requested"] == 2
    assert Path("x.txt").stat().st_size > 0
    assert json.loads(Path("x.txt.json").read_text("utf-8"))["model_sha256"] == facts["model_sha256"]


def test_a_relative_folder_a_prompt_and_the_table_for_people(moldiff: Command, folder: Path) -> None:
    shutil.copytree(folder, "mine")
    found = moldiff("generate", "hf:./mine", "-n", 2, "--steps", 4, "--prompt", "the dog", "--out", "x.jsonl")
    assert (found.code, found.err) == (0, "")
    rows = [json.loads(line) for line in Path("x.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) == 2
    assert all(row["raw"].startswith("the dog") for row in rows)


def test_what_it_was_not_trained_for_is_refused(moldiff: Command, folder: Path) -> None:
    for options in (("--sampler", "proseco"), ("--target", "length=3"), ("--sampler", "autoregressive")):
        found = moldiff("generate", f"hf:{folder}", "-n", 2, *options, "--out", "x.txt")
        assert found.code == 2
        assert found.err.count("\n") == 1
        assert not list(Path().glob("x.txt*"))


def test_the_files_of_gpt2_serve_as_a_tokenizer(copy: Path, folder: Path) -> None:
    whole = json.loads((copy / "tokenizer.json").read_text("utf-8"))["model"]
    (copy / "tokenizer.json").unlink()
    (copy / "vocab.json").write_text(json.dumps(whole["vocab"]), "utf-8")
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in whole["merges"]]
    (copy / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", "utf-8")
    ours, theirs = load(f"hf:{copy}", "cpu").tokenizer, load(f"hf:{folder}", "cpu").tokenizer
    for text in ("the fox, and the dog", "naïve ☃ 12\n\n  x", "<|endoftext|>the dog<|endoftext|>"):
        assert ours.encode(text) == theirs.encode(text)
        assert ours.decode(ours.encode(text)) == theirs.decode(theirs.encode(text))


def test_a_padding_that_was_added_behind_the_tokens_is_left_out(copy: Path) -> None:
    whole = json.loads((copy / "tokenizer.json").read_text("utf-8"))
    whole["added_tokens"].append({**whole["added_tokens"][0], "id": 280, "content": "[PAD]"})
    (copy / "tokenizer.json").write_text(json.dumps(whole), "utf-8")
    assert load(f"hf:{copy}", "cpu").tokenizer.vocab_size == 280


def test_no_training_row_is_known(folder: Path) -> None:
    assert len(load(f"hf:{folder}", "cpu").reference.hashes) == 0
