"""Images and text through the command line: drawn, written, evaluated, prepared and trained on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Command = Callable[..., Any]


def test_digits_are_drawn_written_and_evaluated(moldiff: Command) -> None:
    asked = ("--target", "class=7", "--scale", 2, "--steps", 16, "--seed", 1)
    found = moldiff("generate", "digits", "-n", 60, *asked, "--out", "d.npy", "--grid", "d.png")
    assert found.code == 0, found.err
    assert "forwards an image" in found.out
    images = np.load("d.npy")
    assert images.shape == (60, 8, 8)
    assert images.dtype == np.uint8
    assert Path("d.png").read_bytes().startswith(b"\x89PNG")
    facts = json.loads(Path("d.npy.json").read_text("utf-8"))
    assert facts["forwards_per_image"] > 0

    figures = moldiff("evaluate", "d.npy", "--modality", "images", "--out", "d.csv", "--json")
    assert figures.code == 0, figures.err
    assert figures.json["images"] == 60
    assert figures.json["agreement"] == facts["properties"]["class"]["share_in_class"]
    assert figures.json["frechet_digits"] > 0
    assert len(Path("d.csv").read_text("utf-8").splitlines()) == 61


def test_text_is_drawn_written_and_evaluated(moldiff: Command) -> None:
    found = moldiff("generate", "text-uniform", "-n", 3, "--steps", 8, "--prompt", "ROMEO:", "--out", "t.txt")
    assert found.code == 0, found.err
    assert "forwards a text" in found.out
    assert Path("t.txt").read_text("utf-8").count("ROMEO:") == 3
    shown = moldiff("evaluate", "t.txt", "--modality", "text", "--reference", "pydoc")
    assert shown.code == 0, shown.err
    assert "generative perplexity" in shown.out
    assert "entropy" in shown.out
    figures = moldiff("evaluate", "t.txt", "--modality", "text", "--judge", "text-ar", "--json").json
    assert figures["generative_perplexity"] > 1
    likelihood = moldiff("likelihood", "t.txt", "text-judge", "--json")
    assert likelihood.code == 0, likelihood.err
    assert likelihood.json["texts"] == 3


def test_a_run_is_gone_on_with(moldiff: Command) -> None:
    asked = ("generate", "digits-uniform", "-n", 20, "--steps", 4, "--seed", 5)
    assert moldiff(*asked, "--out", "whole.csv").code == 0
    assert moldiff(*asked, "--unique", "--out", "unique.npy").code == 0
    assert len(np.load("unique.npy")) == 20
    assert Path("whole.csv").read_text("utf-8").startswith("raw,valid,sane,reason,novel,class,brightness")


def test_a_token_file_is_prepared_and_trained_on(moldiff: Command) -> None:
    Path("own.txt").write_text("to be or not to be that is the question\n" * 60, "utf-8")
    options = ("--option", "length=16", "--option", "stride=5")
    made = moldiff("data", "prepare", "own.txt", "--modality", "text", *options, "--out", "t.safetensors")
    assert made.code == 0, made.err
    assert "characters tokens of" in made.out
    small = ("network.width=32", "network.depth=1", "network.heads=2", "compile=false", "logger=none")
    run = moldiff(
        "train", "text", "data.path=t.safetensors", "out=run", "max_steps=3", "validate_every=3", *small
    )
    assert run.code == 0, run.err
    drawn = moldiff("generate", "run", "-n", 2, "--sampler", "mdlm", "--steps", 4, "--out", "x.jsonl")
    assert drawn.code == 0, drawn.err
    assert len(Path("x.jsonl").read_text("utf-8").splitlines()) == 2


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("generate text --out x.npy", "unknown kind of output file: got '.npy', choose from"),
        ("generate text --grid x.png", "picture"),
        ("generate digits --report x.html", "report"),
        ("generate digits --target class=x", "ask for a category from 0 to 9"),
        ("generate digits --inpaint a.png", "give both"),
        ("generate digits --prompt a", "prompt"),
        ("generate text --oracle qed", "oracle: got qed, but there are none for text"),
        ("generate hf:", "there is no such folder; name one, or ORG/NAME"),
        ("generate zz:top", "unknown model"),
        (
            "evaluate a.npy --modality sounds",
            "unknown modality: got 'sounds', choose from molecules, images, text",
        ),
        ("evaluate a.npy --modality images --judge text-judge", "--judge: got text-judge, it goes with"),
        ("evaluate a.smi --judge text-judge", "--judge: got text-judge, it goes with --modality text only"),
        ("data prepare a.txt --modality text --stereo keep --out x.safetensors", "text are read with"),
        ("data prepare a.txt --modality text --option size --out x.safetensors", "write KEY=VALUE"),
        ("data prepare digits --modality images --option hue=1 --out x.safetensors", "images are read with"),
        ("train digits network.grid=[4,4] out=run max_steps=1", "grid: got 4 x 4, but rows have 64 tokens"),
        ("train digits data.tokenizer=smiles out=run", "unknown tokenizer: got 'smiles', choose from pixels"),
        ("train text data.path=a.txt data.options.hue=1 out=run", "data: got hue, but text are read with"),
        ("train tiny data.path=a.txt data.modality=text out=run", "condition: got"),
    ],
)
def test_bad_lines_are_refused_in_one(moldiff: Command, line: str, says: str) -> None:
    Path("a.txt").write_text("".join(f"to be or not to be {number}\n" for number in range(2000)), "utf-8")
    Path("a.smi").write_text("CCO\n", "utf-8")
    np.save("a.npy", np.zeros((2, 8, 8), dtype=np.uint8))
    before = sorted(path.name for path in Path().iterdir())
    found = moldiff(*line.split())
    assert found.code == 2
    assert says in found.err
    assert len(found.err.strip().splitlines()) == 1
    assert [name for name in sorted(path.name for path in Path().iterdir()) if name != "run"] == before
