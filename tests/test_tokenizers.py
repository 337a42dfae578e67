"""Models in either notation: trained, published, loaded, sampled; and files older than the choice."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from moldiff import Model, config, load, registry
from moldiff.assembly import build_tokenizer
from moldiff.checkpoint import CARD, Checkpoint, read_card
from moldiff.cli.app import run as command
from moldiff.config import TrainConfig
from moldiff.errors import MoldiffError
from moldiff.training import fit

Small = Callable[..., TrainConfig]


def prepared(path: Path, out: Path, **options: Any) -> str:
    """The override that names a token file, which is made first."""
    registry.build("modality", "molecules").prepare(path, **options).save(out)
    return f"data.path={out}"


@pytest.mark.parametrize("padding", ["", "data={length: padded, pad_to: 48}"])
def test_a_model_of_selfies_trains_and_generates(
    padding: str, small: Small, textbook: Path, tmp_path: Path
) -> None:
    given = [each for each in (padding, f"data.path={textbook}", "data.tokenizer=selfies") if each]
    fit.run(small(*given, "max_steps=30"))
    model = Model(Checkpoint.load(tmp_path / "run"), "cpu")
    assert model.card.tokenizer["name"] == model.card.config.data.tokenizer == "selfies"
    assert model.card.length == ("padded" if padding else "empirical")
    assert {"[C]", "[=C]", "[Branch1]", "[Ring1]"} <= set(model.card.tokenizer["vocab"])
    found = model.generate(40, targets={"qed": 0.5}, scale=1.5)
    # Any row spells a molecule, whatever the network has learnt.
    assert found.frame["valid"].sum() + (found.frame["reason"] == "empty").sum() == 40
    assert found.frame["valid"].any()


def test_nothing_waits_for_its_partner_in_selfies(small: Small, tmp_path: Path) -> None:
    fit.run(small("data.tokenizer=selfies", "max_steps=5"))
    model = Model(Checkpoint.load(tmp_path / "run"), "cpu")
    plain, complete = (
        model.generate(12, sampler="first-hitting", complete=complete).frame["raw"].tolist()
        for complete in (False, True)
    )
    assert plain == complete


def test_the_command_line_prepares_and_trains_in_selfies(textbook: Path, tmp_path: Path) -> None:
    out, run = tmp_path / "tokens.safetensors", tmp_path / "run"
    assert command(["data", "prepare", str(textbook), "--tokenizer", "selfies", "--out", str(out)]) == 0
    small = ["network.width=16", "network.depth=1", "network.heads=2", "device=cpu", "logger=none"]
    assert command(["train", "tiny", f"data.path={out}", f"out={run}", "max_steps=3", *small]) == 0
    card = read_card(run)
    assert card.config.data.tokenizer == card.tokenizer["name"] == "selfies"
    assert (
        command(["generate", str(run), "-n", "5", "--complete", "-q", "--out", str(tmp_path / "a.csv")]) == 0
    )


def test_what_a_token_file_was_made_with_stands_on_the_card(
    small: Small, textbook: Path, tmp_path: Path
) -> None:
    path = prepared(textbook, tmp_path / "a.safetensors", stereo="strip", fragments="largest")
    card = fit.run(small(path, "max_steps=1")).card
    data = card.config.data
    assert (data.tokenizer, data.stereo, data.fragments, data.path) == ("smiles", "strip", "largest", None)
    assert card.training["source"] == "textbook.smi"
    assert len(card.training["source_sha256"]) == 64
    assert card.training["altered"] == {}


def test_the_policies_of_a_configuration_are_those_of_its_data(small: Small, tmp_path: Path) -> None:
    (tmp_path / "a.smi").write_text("C[C@H](O)F\nCCO.O\nCCN\nCCOC\n", "utf-8")
    said: list[str] = []
    own = (f"data.path={tmp_path / 'a.smi'}", "data.stereo=strip", "data.fragments=largest")
    card = fit.run(small(*own, "max_steps=1"), say=said.append).card
    assert said[0].endswith("left out: none; repeats: 0; changed: stereo stripped 1, largest fragment 1")
    assert card.training["rows"] == 4
    assert card.training["altered"] == {"stereo stripped": 1, "largest fragment": 1}
    assert (card.config.data.stereo, card.config.data.fragments) == ("strip", "largest")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.tokenizer=smiles", "data.tokenizer: got smiles, but the token file has selfies"),
        ("data.stereo=keep", "data.stereo: got keep, but the token file has strip"),
        ("data.fragments=largest", "data.fragments: got largest, but the token file has refuse"),
        ("data.tokenizer=words", "data.tokenizer: got words, but the token file has selfies"),
    ],
)
def test_what_is_said_beside_a_token_file_has_to_agree_with_it(
    override: str, message: str, small: Small, textbook: Path, tmp_path: Path
) -> None:
    path = prepared(textbook, tmp_path / "a.safetensors", tokenizer="selfies", stereo="strip")
    with pytest.raises(MoldiffError, match=message):
        fit.run(small(path, override))


def test_the_writings_of_a_token_file_are_those_of_the_configuration(
    small: Small, textbook: Path, tmp_path: Path
) -> None:
    path = prepared(textbook, tmp_path / "a.safetensors", writings="canonical,random:0.3")
    told = "conditions=[{kind: category, name: writing, always: 0}]"
    with pytest.raises(
        MoldiffError, match=r"data\.options\.writings: got all, but the token file has canonical,random:0\.3"
    ):
        fit.run(small(path, told, "data.options.writings=all"))
    assert fit.run(small(path, told, "max_steps=1")).card.training["writings"] == {
        "canonical": 1.0,
        "random": 0.3,
    }


def test_an_unknown_tokenizer_or_policy_is_refused_before_any_work(small: Small, tmp_path: Path) -> None:
    with pytest.raises(MoldiffError, match="unknown tokenizer: got 'words', choose from smiles, selfies"):
        fit.run(small("data.tokenizer=words", f"data.path={tmp_path / 'absent.smi'}"))
    with pytest.raises(MoldiffError, match=r"data\.stereo: .*'keep' or 'strip'"):
        small("data.stereo=drop")
    with pytest.raises(MoldiffError, match=r"data\.fragments: .*'refuse' or 'largest'"):
        small("data.fragments=drop")


def test_files_older_than_the_choice_are_of_smiles(small: Small, textbook: Path, tmp_path: Path) -> None:
    data = registry.build("modality", "molecules").prepare(textbook)
    state = {key: value for key, value in data.info["tokenizer"].items() if key != "name"}
    assert list(state) == ["vocab", "pad_to"]
    info = {key: data.info[key] for key in ("modality", "source", "rejected", "duplicates", "rdkit")}
    replace(data, info={**info, "tokenizer": state}).save(tmp_path / "old.safetensors")
    fit.run(small(f"data.path={tmp_path / 'old.safetensors'}", "max_steps=1"))
    folder = tmp_path / "run"
    facts = json.loads((folder / CARD).read_text("utf-8"))
    assert "name" not in facts["tokenizer"]
    for key in ("tokenizer", "stereo", "fragments"):
        del facts["config"]["data"][key]
    (folder / CARD).write_text(json.dumps(facts), "utf-8")
    model = load(str(folder), device="cpu")
    assert model.card.config.data.tokenizer is None
    assert len(model.generate(3)) == 3
    assert build_tokenizer("molecules", facts["tokenizer"]) == model.tokenizer


def test_the_shipped_model_is_of_smiles_and_so_is_a_card_that_does_not_say() -> None:
    card = load("qm9", device="cpu").card
    assert card.tokenizer["name"] == "smiles"
    unsaid = {key: value for key, value in card.tokenizer.items() if key != "name"}
    tokenizer = build_tokenizer("molecules", unsaid)
    assert tokenizer.decode(tokenizer.encode("c1ccc[nH]1")) == "c1ccc[nH]1"
    with pytest.raises(MoldiffError, match="unknown tokenizer: got '7', choose from smiles, selfies"):
        build_tokenizer("molecules", {**card.tokenizer, "name": 7})


def test_a_run_from_a_model_of_selfies_takes_its_tokens(small: Small, tmp_path: Path) -> None:
    fit.run(small("data.tokenizer=selfies", "max_steps=3"))
    (tmp_path / "own.smi").write_text("C[Si](C)(C)C\nCCO\nCC[Se]C\n", "utf-8")
    own = [f"data.path={tmp_path / 'own.smi'}", "logger=none", "device=cpu", "max_steps=1", "batch_tokens=64"]
    settings = config.load("tiny", [f"out={tmp_path / 'tuned'}", *own, "network={}", "conditions=[]"])
    card = fit.run(settings, init_from=str(tmp_path / "run")).card
    assert card.tokenizer["name"] == card.config.data.tokenizer == "selfies"
    assert card.origin is not None
    assert card.origin.tokens_added == ("[Se]",)
    with pytest.raises(MoldiffError, match=r"data\.tokenizer: got smiles, but run has selfies"):
        fit.run(
            settings.model_copy(
                update={"data": small(*own, "data.tokenizer=smiles").data, "out": tmp_path / "x"}
            ),
            init_from=str(tmp_path / "run"),
        )
