"""Modalities: every sampler runs on the bundled models of each, with their own tokenizers."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

import moldiff
from moldiff import registry
from moldiff.assembly import samplers_of
from moldiff.errors import MoldiffError
from moldiff.generation.model import Model

load = cache(moldiff.load)

#: By modality, a bundled model of each process.
MODELS = {
    "images": {"masked": "digits", "uniform": "digits-uniform", "autoregressive": "digits-ar"},
    "text": {"masked": "text", "uniform": "text-uniform", "autoregressive": "text-ar"},
}
CASES = [
    (modality, process, sampler)
    for modality in MODELS
    for process in registry.PROCESSES
    for sampler in registry.SAMPLERS
]


def model(modality: str, process: str) -> Model:
    found = load(MODELS[modality][process], "cpu")
    assert found.modality.name == modality
    assert found.card.config.process.name == process
    return found


@pytest.mark.parametrize(("modality", "process", "sampler"), CASES)
def test_every_sampler_runs_on_every_modality(modality: str, process: str, sampler: str) -> None:
    found = model(modality, process)
    if sampler not in samplers_of(found.process):
        with pytest.raises(MoldiffError, match=f"sampler {sampler}: got an? {process} model, it takes"):
            found.generate(1, sampler=sampler, steps=4)
        return
    # Of text all but the first and the last places are given, so that samplers of one place a step are quick.
    asked = {"prompt": "A" * 120, "ending": "a" * 120} if modality == "text" else {}
    steps = 16 if "loop" in sampler else 4
    drawn = found.generate(2, sampler=sampler, steps=steps, temperature=0.8, top_p=0.95, seed=3, **asked)
    assert drawn.summary["requested"] == len(drawn) == 2
    assert drawn.summary["valid"] == 2
    assert drawn.summary[f"forwards_per_{found.modality.noun}"] > 0
    kept = [raw.startswith("A" * 120) and raw.endswith("a" * 120) for raw in drawn.frame["raw"]]
    assert all(kept) if modality == "text" else not any(kept)


def test_a_text_has_its_prompt_and_its_ending() -> None:
    found = model("text", "masked").generate(
        3, prompt="ROMEO:\n", ending=" love.", sampler="remdm-conf", steps=16, seed=1
    )
    assert len(set(found.frame["raw"])) == 3
    for raw in found.frame["raw"]:
        assert raw.startswith("ROMEO:\n")
        assert raw.endswith(" love.")


def test_an_image_keeps_what_is_not_drawn_anew(tmp_path: Path) -> None:
    from PIL import Image

    whole = model("images", "masked").generate(1, targets={"class": 3}, seed=0)
    whole.save(tmp_path / "three.npy")
    (three,) = np.load(tmp_path / "three.npy")
    mask = np.zeros((8, 8), dtype=np.uint8)
    mask[4:] = 255
    Image.fromarray(three).save(tmp_path / "three.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    found = model("images", "masked").generate(
        8, inpaint=tmp_path / "three.png", mask=tmp_path / "mask.png", seed=2
    )
    found.save(tmp_path / "found.npy")
    drawn = np.load(tmp_path / "found.npy")
    assert drawn.shape == (8, 8, 8)
    assert (drawn[:, :4] == three[:4]).all()
    assert len({each.tobytes() for each in drawn}) > 1


def test_a_class_is_asked_for_and_mostly_found() -> None:
    found = model("images", "masked").generate(40, targets={"class": 7}, scale=2, seed=0)
    facts = found.summary["properties"]["class"]
    assert facts["asked"] == "7"
    assert facts["share_in_class"] > 0.7
    with pytest.raises(MoldiffError, match="ask for a category from 0 to 9"):
        model("images", "masked").generate(1, targets={"class": 10})


@pytest.mark.parametrize(
    ("name", "asked", "says"),
    [
        ("text", {"prompt": "ß"}, "prompt"),
        (
            "text",
            {"prompt": "a" * 300},
            "prompt and ending: got 300 tokens to keep, the model's rows have 256 at most",
        ),
        ("digits", {"prompt": "a"}, "prompt"),
        ("text", {"inpaint": "a.png", "mask": "b.png"}, "inpaint"),
        ("digits", {"inpaint": "a.png"}, "give both"),
        ("text", {"oracles": "qed"}, "oracle"),
    ],
)
def test_what_does_not_go_with_a_modality_is_refused(name: str, asked: dict[str, str], says: str) -> None:
    with pytest.raises(MoldiffError, match=says):
        load(name, "cpu").generate(1, **asked)  # type: ignore[arg-type]


def test_molecules_too_have_a_beginning() -> None:
    found = load("qm9", "cpu").generate(20, prompt="C1CC1", seed=0)
    assert all(raw.startswith("C1CC1") for raw in found.frame["raw"])
    with pytest.raises(MoldiffError, match="makes molecules"):
        load("qm9", "cpu").generate(1, inpaint="a.png", mask="b.png")
