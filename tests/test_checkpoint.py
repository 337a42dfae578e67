"""Published models: what is saved comes back, and what is damaged, newer or of another model is refused."""

import copy
import hashlib
import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from moldiff import Model, checkpoint, load
from moldiff.checkpoint import CARD, FORMAT, WEIGHTS, Checkpoint, find, read_card
from moldiff.errors import MoldiffError
from moldiff.generation.classifiers import NoisyClassifier


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the small model, to be changed."""
    (tmp_path / "model").mkdir()
    for name in (WEIGHTS, CARD):
        shutil.copy(tiny / name, tmp_path / "model" / name)
    return tmp_path / "model"


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes the card of a folder."""
    card = json.loads((folder / CARD).read_text("utf-8"))
    change(card)
    (folder / CARD).write_text(json.dumps(card), "utf-8")


def replace(folder: Path, data: bytes) -> None:
    """Replaces the weights and makes the card vouch for them."""
    (folder / WEIGHTS).write_bytes(data)
    edit(folder, lambda card: card.update(sha256=hashlib.sha256(data).hexdigest()))


def refused(folder: Path, message: str) -> None:
    with pytest.raises(MoldiffError, match=message) as caught:
        load(str(folder), device="cpu")
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_saved_comes_back(tiny: Path, tmp_path: Path) -> None:
    first = Checkpoint.load(tiny)
    first.save(tmp_path / "deep" / "copy")
    again = Checkpoint.load(tmp_path / "deep" / "copy")
    assert again.card == first.card
    assert again.arrays.keys() == first.arrays.keys()
    assert all(torch.equal(again.arrays[name], array) for name, array in first.arrays.items())
    for name in (WEIGHTS, CARD):
        assert (tmp_path / "deep" / "copy" / name).read_bytes() == (tiny / name).read_bytes()
    assert {path.name for path in (tmp_path / "deep" / "copy").iterdir()} == {WEIGHTS, CARD}


def test_a_card_holds_the_facts_and_no_path_of_the_machine(tiny: Path, textbook: Path) -> None:
    card = read_card(tiny)
    assert card.format == FORMAT
    assert card.sha256 == hashlib.sha256((tiny / WEIGHTS).read_bytes()).hexdigest()
    assert card.training["source"] == textbook.name
    assert card.training["rows"] == len(Checkpoint.load(tiny).part("reference")["hashes"])
    assert all(c.threshold is not None for c in card.conditions if c.kind == "class")
    assert all(c.mean is not None for c in card.conditions if c.kind == "numeric")
    assert {"moldiff", "torch", "rdkit", "python"} <= set(card.versions)
    text = (tiny / CARD).read_text("utf-8")
    assert str(textbook.parent) not in text
    assert str(tiny) not in text


def test_parts_are_split_by_prefix(tiny: Path) -> None:
    source = Checkpoint.load(tiny)
    parts = {name: source.part(name) for name in ("network", "table", "reference")}
    assert sum(len(part) for part in parts.values()) == len(source.arrays)
    assert set(parts["table"]) == {"lengths", *source.card.table}
    assert set(parts["reference"]) == {"hashes", "in_train"}
    assert all(array.dtype == torch.bfloat16 for array in parts["network"].values())
    assert sum(array.numel() for array in parts["network"].values()) == source.card.parameters


def test_the_bundled_models_are_whole() -> None:
    names = checkpoint.bundled()
    assert "qm9" in names
    for name, folder in names.items():
        source = Checkpoint.load(folder)
        assert find(name) == folder
        assert source.card.name == name
        ready = Model if source.card.kind == "denoiser" else NoisyClassifier
        assert ready(source, "cpu").card == source.card


def test_a_folder_wins_over_nothing_and_an_unknown_name_lists_the_choices(tmp_path: Path) -> None:
    assert find(str(tmp_path)) == tmp_path
    for name in ("nope", "x" * 5000, "", str(tmp_path / "missing")):
        with pytest.raises(MoldiffError, match=r"unknown model: .* choose from .*qm9"):
            find(name)


def test_missing_files_are_named(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    refused(folder, rf"{WEIGHTS}: cannot be read \(No such file")
    (folder / CARD).unlink()
    refused(folder, rf"{CARD}: cannot be read \(No such file")


@pytest.mark.parametrize("keep", [0, 1, 100, 5000, -1])
def test_truncated_weights_are_refused(folder: Path, keep: int) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[:keep])
    refused(folder, "has sha256 .* its card says")
    # Not even when the card vouches for what is left.
    replace(folder, data[:keep])
    refused(folder, f"{WEIGHTS} cannot be read")


def test_one_changed_bit_is_noticed(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / WEIGHTS).write_bytes(bytes(data))
    refused(folder, "damaged, or of another model")


def test_weights_of_another_model_are_refused(folder: Path) -> None:
    shutil.copy(checkpoint.bundled()["qm9"] / WEIGHTS, folder / WEIGHTS)
    refused(folder, "damaged, or of another model")


def test_a_newer_format_asks_for_an_upgrade(folder: Path) -> None:
    edit(folder, lambda card: card.update(format=FORMAT + 1, something_new=[1]))
    refused(folder, f"got format {FORMAT + 1}, this version reads up to {FORMAT}; upgrade moldiff")


@pytest.mark.parametrize(
    "text", [b"", b"{", b"not json", b"\xff\xfe", b"[" * 100_000, b'"text"', b"[]", b"null"]
)
def test_a_card_that_is_not_one_is_refused(folder: Path, text: bytes) -> None:
    (folder / CARD).write_bytes(text)
    refused(folder, CARD)


def test_an_unknown_or_missing_key_of_a_card_is_named(folder: Path) -> None:
    card = (folder / CARD).read_text("utf-8")
    edit(folder, lambda card: card.update(colour="blue"))
    refused(folder, "colour: Extra inputs are not permitted")
    (folder / CARD).write_text(card, "utf-8")
    edit(folder, lambda card: card["config"]["network"].update(height=3))
    refused(folder, "config.network.height: Extra inputs are not permitted")
    (folder / CARD).write_text(card, "utf-8")
    edit(folder, lambda card: card.pop("tokenizer"))
    refused(folder, "tokenizer: Field required")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card: card["config"]["network"].update(width=32), "do not fit its card"),
        (lambda card: card["config"]["network"].update(depth=2), "do not fit its card"),
        (lambda card: card["config"]["network"].update(time=True), "do not fit its card"),
        (lambda card: card["config"]["network"].update(heads=3), "multiple of 2 x heads"),
        (lambda card: card["tokenizer"]["vocab"].pop(), "do not fit its card"),
        (lambda card: card["tokenizer"]["vocab"].append("C"), "each token once"),
        (lambda card: card["conditions"].pop(), "do not fit its card"),
        (lambda card: card.update(max_length=5), "lengths outside 1 to 5"),
        (lambda card: card.update(max_length=500), "do not fit its card"),
        (lambda card: card.update(parameters=7), "weights, expected 7"),
        (lambda card: card["table"].append("mw"), "table lacks mw"),
        (lambda card: card["config"]["process"].update(name="frozen"), "unknown process"),
        (lambda card: card["config"]["data"].update(modality="songs"), "unknown modality"),
    ],
)
def test_a_card_that_its_weights_do_not_fit_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit(folder, change)
    refused(folder, message)


class Bomb:
    """Writes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.path, "boom"))


def test_no_pickle_is_ever_loaded(folder: Path, tmp_path: Path) -> None:
    fuse = tmp_path / "fuse"
    pickled = pickle.dumps({"network.head.bias": Bomb(fuse)})
    pickle.loads(pickled)
    assert fuse.exists()  # the bomb works
    fuse.unlink()
    torch.save({"network.head.bias": Bomb(fuse)}, tmp_path / "archive")
    for data in (pickled, (tmp_path / "archive").read_bytes()):
        replace(folder, data)
        refused(folder, f"{WEIGHTS} cannot be read")
        (folder / CARD).rename(folder / "kept")
        (folder / CARD).write_bytes(data)
        refused(folder, "is not JSON")
        (folder / "kept").rename(folder / CARD)
    assert not fuse.exists()


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of all keys and entries of a card, outermost first."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from leaves(item, (*path, key))


def mangled(card: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Copies of a card, each with one entry gone, null, or of another type or size."""
    inert = {"description", "license", "training", "versions", "metrics", "name"}
    for path in leaves(card):
        if path[0] in inert or path[-2:-1] == ("vocab",):
            continue
        for what in ("gone", None, -1, 0, 10**6, "x", [], {}, True, [None]):
            broken = copy.deepcopy(card)
            place = broken
            for key in path[:-1]:
                place = place[key]
            if what == "gone":
                del place[path[-1]]
            elif what == 10**6 and (path[:2] == ("config", "network") or path == ("max_length",)):
                continue  # a network that large is refused as well, once its memory was found
            else:
                place[path[-1]] = what
            yield f"{path} -> {what}", broken


def test_a_mangled_card_gives_a_model_or_the_error_for_callers(folder: Path) -> None:
    card = json.loads((folder / CARD).read_text("utf-8"))
    arrays = Checkpoint.load(folder).arrays
    refusals = 0
    for what, broken in mangled(card):
        try:
            source = Checkpoint(checkpoint.Card.model_validate(broken), arrays)
            targets = [f"{c.name}={'high' if c.kind == 'class' else c.mean}" for c in source.card.conditions]
            Model(source, "cpu").generate(2, steps=2, targets=targets)
        except (MoldiffError, checkpoint.ValidationError):
            refusals += 1
        except Exception as error:
            raise AssertionError(what) from error
    assert refusals > 100


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card: card["conditions"][0].update(threshold=None), "ring_count lacks threshold"),
        (lambda card: card["conditions"][1].update(minimum=None), "qed lacks minimum"),
        (lambda card: card["conditions"][1].update(std=0), "greater than 0"),
        (lambda card: card["conditions"][1].update(name="hue"), "table lacks condition hue"),
    ],
)
def test_a_condition_that_could_not_be_asked_for_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit(folder, change)
    refused(folder, message)


def test_arrays_that_lack_the_table_or_the_reference_are_refused(folder: Path) -> None:
    arrays = Checkpoint.load(folder).arrays
    for name in ("table.lengths", "table.qed", "reference.hashes", "reference.in_train"):
        replace(folder, save({key: array for key, array in arrays.items() if key != name}))
        refused(folder, "its {} lacks {}".format(*name.split(".")))
    bias = "network.head.bias"
    replace(folder, save({key: array for key, array in arrays.items() if key != bias}))
    refused(folder, "holds .* weights, expected")
    edit(folder, lambda card: card.update(parameters=card["parameters"] - len(arrays[bias])))
    refused(folder, "do not fit its card .head.bias is absent")


def test_what_could_not_be_loaded_is_not_written(tiny: Path, tmp_path: Path) -> None:
    source = Checkpoint.load(tiny)
    diverged = {name: array * torch.nan if "head" in name else array for name, array in source.arrays.items()}
    with pytest.raises(MoldiffError, match=r"cannot be published \(network\.head\.bias holds numbers"):
        Checkpoint(source.card, diverged).save(tmp_path / "diverged")
    assert not (tmp_path / "diverged").exists()


@pytest.fixture
def pair(tiny: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A whole model, and one beside it that shares its table and reference."""
    shutil.copytree(tiny, tmp_path / "whole")
    source = Checkpoint.load(tiny)
    Checkpoint(source.card, source.arrays).save(tmp_path / "light", tmp_path / "whole")
    return tmp_path / "whole", tmp_path / "light"


def test_a_shared_reference_is_stored_once_and_loads_the_same_model(pair: tuple[Path, Path]) -> None:
    whole, light = pair
    alone = (light / WEIGHTS).stat().st_size
    assert (whole / WEIGHTS).stat().st_size - alone > sum(
        array.nbytes for name, array in Checkpoint.load(whole).arrays.items() if "network" not in name
    )
    first, second = Checkpoint.load(whole), Checkpoint.load(light)
    assert second.arrays.keys() == first.arrays.keys()
    assert all(torch.equal(second.arrays[name], array) for name, array in first.arrays.items())
    assert second.card.shared is not None
    assert second.card.shared.of == "whole"
    asked: Any = {"seed": 1, "targets": ["ring_count=high"]}
    frames = [load(str(folder), device="cpu").generate(6, **asked).frame for folder in pair]
    assert frames[0].equals(frames[1])
    # Saved again, it stands alone.
    second.save(light)
    shutil.rmtree(whole)
    assert read_card(light).shared is None
    assert torch.equal(Checkpoint.load(light).arrays["table.qed"], first.arrays["table.qed"])


def test_a_shared_reference_that_is_gone_or_changed_is_refused(pair: tuple[Path, Path]) -> None:
    whole, light = pair
    source = Checkpoint.load(whole)
    for name in ("table.qed", "reference.in_train"):
        changed = source.arrays[name].clone()
        changed[0] = 1 - changed[0].to(torch.int8)
        Checkpoint(source.card, source.arrays | {name: changed}).save(whole)
        refused(light, "those of whole with sha256 .*, which has others")
        with pytest.raises(MoldiffError, match=r"those of whole with sha256 .*, which has others"):
            source.save(light, whole)
    source.save(whole)
    edit(whole, lambda card: card.update(shared={"of": "light", "sha256": ""}))
    refused(light, "those of whole, which has none of its own")
    shutil.rmtree(whole)
    refused(light, "those of whole, which is neither beside it nor bundled")
    edit(light, lambda card: card["shared"].update(of="qm9"))
    refused(light, "those of qm9 with sha256 .*, which has others")
    edit(light, lambda card: card["shared"].update(of="../light"))
    refused(light, "shared.of: String should match pattern")
    edit(light, lambda card: card.update(shared=None))
    refused(light, "its reference lacks hashes")


def test_what_is_shared_is_not_there_twice(pair: tuple[Path, Path]) -> None:
    whole, light = pair
    replace(light, (whole / WEIGHTS).read_bytes())
    refused(light, f"{WEIGHTS} has reference.hashes, its card says whole has")
