"""Fuzz: models and checkpoints that were changed at random are refused in one line, and never run."""

import copy
import hashlib
import json
import pickle
import random
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from moldiff import config
from moldiff.checkpoint import CARD, WEIGHTS, find
from moldiff.cli.app import run
from moldiff.training import fit

Change = Callable[[random.Random, Path], object]
#: What a model cannot do without; the rest has defaults.
NEEDED: tuple[str, ...] = (
    "format",
    "name",
    "sha256",
    "parameters",
    "max_length",
    "tokenizer",
    "conditions",
    "length",
)
NEEDED += ("table", "config", "training", "versions", "default")


class Bomb:
    """Writes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.path, "boom"))


def data(folder: Path) -> bytes:
    return (folder / WEIGHTS).read_bytes()


def vouched(folder: Path, changed: bytes) -> None:
    """Puts weights in place, and makes the card vouch for them."""
    assert changed != data(folder)
    (folder / WEIGHTS).write_bytes(changed)
    edit(folder, lambda card: card.update(sha256=hashlib.sha256(changed).hexdigest()))


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    card = json.loads((folder / CARD).read_text("utf-8"))
    before = copy.deepcopy(card)
    change(card)
    assert card != before
    (folder / CARD).write_text(json.dumps(card), "utf-8")


def flipped(raw: bytes, place: int, chance: random.Random) -> bytes:
    return raw[:place] + bytes([raw[place] ^ 1 << chance.randrange(8)]) + raw[place + 1 :]


def header(raw: bytes) -> int:
    """Where the arrays begin."""
    return 8 + int.from_bytes(raw[:8], "little")


def arrays(change: Callable[[random.Random, dict[str, torch.Tensor], str], object], part: str = "") -> Change:
    """A change to the arrays of a model, which is told the name of one of a part."""

    def changed(chance: random.Random, folder: Path) -> None:
        held = load(data(folder))
        change(chance, held, chance.choice(sorted(name for name in held if name.startswith(part))))
        vouched(folder, save(held))

    return changed


def array(change: Callable[[random.Random, torch.Tensor], torch.Tensor], part: str = "") -> Change:
    """A change to one array of a part."""
    return arrays(lambda chance, held, name: held.update({name: change(chance, held[name]).clone()}), part)


def entry(value: float, part: str) -> Change:
    """One entry of an array of another value."""

    def changed(chance: random.Random, held: torch.Tensor) -> torch.Tensor:
        held.view(-1)[chance.randrange(held.numel())] = value
        return held

    return array(changed, part)


def renamed(chance: random.Random, held: dict[str, torch.Tensor], name: str) -> None:
    letters = list(name)
    letters[chance.randrange(len(name))] = chance.choice("xyz.\n\0é")
    held["".join(letters)] = held.pop(name)


def retyped(chance: random.Random, held: torch.Tensor) -> torch.Tensor:
    types = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int8, torch.bool]
    return held.to(chance.choice([kind for kind in types if kind != held.dtype]))


def content(change: Callable[[random.Random, bytes], bytes]) -> Change:
    """A change to the bytes of the weights, for which the card vouches."""
    return lambda chance, folder: vouched(folder, change(chance, data(folder)))


def unvouched(chance: random.Random, folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(flipped(data(folder), chance.randrange(len(data(folder))), chance))


WEIGHTS_CHANGED: dict[str, Change] = {
    "a bit of the file": unvouched,
    "a bit of the header": content(lambda chance, raw: flipped(raw, chance.randrange(header(raw)), chance)),
    "an end cut off": content(lambda chance, raw: raw[: chance.randrange(len(raw))]),
    "an end added": content(lambda chance, raw: raw + chance.randbytes(9)),
    "noise": content(lambda chance, raw: chance.randbytes(chance.randrange(2000))),
    "a huge header": content(lambda chance, raw: (1 << chance.randrange(40, 64)).to_bytes(8, "little")),
    "an array left out": arrays(lambda chance, held, name: held.pop(name)),
    "an array too many": arrays(lambda chance, held, name: held.update({name + "x": held[name].clone()})),
    "an array of no part": arrays(lambda chance, held, name: held.update(junk=torch.zeros(3))),
    "an array renamed": arrays(renamed),
    "another type": array(retyped),
    "another shape": array(lambda chance, held: held[..., None]),
    "a row less": array(lambda chance, held: held[1:]),
    "no row": array(lambda chance, held: held[:0]),
    "no dimension": array(lambda chance, held: held.view(-1)[0]),
    "a weight nan": entry(float("nan"), "network."),
    "a weight infinite": entry(float("-inf"), "network."),
    "a length of nothing": entry(0, "table.lengths"),
    "a length too long": entry(30_000, "table.lengths"),
    "a property unknown": array(lambda chance, held: held * float("nan"), "table.qed"),
    "hashes out of order": array(lambda chance, held: held.flip(0), "reference.hashes"),
}


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of all keys and entries of a card."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from leaves(item, (*path, key))


def put(card: dict[str, Any], path: tuple[Any, ...], value: Any) -> None:
    place: Any = card
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value


def mistyped(chance: random.Random, card: dict[str, Any]) -> None:
    """Puts an object where none belongs; what training noted is free."""
    put(card, chance.choice([p for p in leaves(card) if p[:1] != ("training",)]), {"a": [1, {"b": None}]})


def huge(chance: random.Random, card: dict[str, Any]) -> None:
    """Makes a size larger than any memory."""
    sizes = [("parameters",), ("max_length",), ("config", "network", "width"), ("config", "network", "depth")]
    sizes += [("tokenizer", "pad_to")]
    put(card, chance.choice(sizes), 10 ** chance.randrange(9, 80))


def unknown(chance: random.Random, card: dict[str, Any]) -> None:
    places = [card, card["config"], card["config"]["network"], card["conditions"][0], card["tokenizer"]]
    chance.choice(places)[chance.choice(["colour", "", "a\nb", "__class__"])] = 1


def on_card(change: Callable[[random.Random, dict[str, Any]], object]) -> Change:
    return lambda chance, folder: edit(folder, lambda card: change(chance, card))


def as_text(change: Callable[[random.Random, bytes], bytes]) -> Change:
    def changed(chance: random.Random, folder: Path) -> None:
        text = (folder / CARD).read_bytes()
        (folder / CARD).write_bytes(change(chance, text))
        assert (folder / CARD).read_bytes() != text

    return changed


def spliced(text: bytes, place: int, piece: bytes) -> bytes:
    return text[:place] + piece + text[place:]


def a_number(text: bytes, number: bytes) -> bytes:
    """The card's text with another number of weights."""
    start, key, rest = text.partition(b'"parameters": ')
    return start + key + number + rest[rest.index(b",") :]


CARD_CHANGED: dict[str, Change] = {
    "a key missing": on_card(lambda r, card: card.pop(r.choice(NEEDED))),
    "another type of value": on_card(mistyped),
    "a huge size": on_card(huge),
    "an unknown key": on_card(unknown),
    "a newer format": on_card(lambda r, card: card.update(format=r.randrange(2, 10**6))),
    "no such format": on_card(
        lambda r, card: card.update(format=r.choice([0, -1, "1", 1.5, True, None, [1]]))
    ),
    "another hash": on_card(lambda r, card: card.update(sha256=r.randbytes(32).hex())),
    "another number of weights": on_card(lambda r, card: card.update(parameters=r.randrange(1, 1000))),
    "a vocabulary of another size": on_card(lambda r, card: card["tokenizer"]["vocab"].pop(r.randrange(9))),
    "a token twice": on_card(
        lambda r, card: put(card, ("tokenizer", "vocab", 0), card["tokenizer"]["vocab"][5])
    ),
    "half a character": on_card(lambda r, card: card.update(name="\ud800")),
    "a list around it": as_text(lambda r, text: b"[" + text + b"]"),
    "no object": as_text(lambda r, text: r.choice([b"", b"null", b"1", b'"card"', b"[]", b"{}", b"\n"])),
    "cut off": as_text(lambda r, text: text[: r.randrange(len(text) - 3)]),
    "not UTF-8": as_text(lambda r, text: spliced(text, r.randrange(len(text)), b"\xff\xfe")),
    "another encoding": as_text(lambda r, text: text.decode().encode(r.choice(["utf-16", "utf-32"]))),
    "a NUL byte": as_text(lambda r, text: spliced(text, r.randrange(1, len(text) - 1), b"\0")),
    "deep lists": as_text(lambda r, text: b"[" * r.choice([100, 900, 100_000])),
    "a deep value": as_text(lambda r, text: a_number(text, b"[" * 400 + b"]" * 400)),
    "a deep note": on_card(lambda r, card: card["training"].update(note=json.loads("[" * 300 + "]" * 300))),
    "an endless number": as_text(lambda r, text: a_number(text, b"9" * 5000)),
    "an infinite number": as_text(lambda r, text: a_number(text, r.choice([b"1e999", b"NaN", b"-Infinity"]))),
}


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the small model, to be changed."""
    (tmp_path / "model").mkdir()
    for name in (WEIGHTS, CARD):
        shutil.copy(tiny / name, tmp_path / "model" / name)
    return tmp_path / "model"


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line with which a command line is refused."""
    capsys.readouterr()
    code = run(arguments)
    out, err = capsys.readouterr()
    assert code == 2
    assert len(out.splitlines()) < 2  # on what was read
    assert err.startswith("moldiff: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert len(err) < 1000
    assert "Warning" not in err
    return err


MODEL_CHANGED = {**WEIGHTS_CHANGED, **CARD_CHANGED}


@pytest.mark.parametrize("what", MODEL_CHANGED)
def test_a_changed_model_is_refused(what: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = {name: (folder / name).read_bytes() for name in (WEIGHTS, CARD)}
    for seed in range(3):
        for name, contents in whole.items():
            (folder / name).write_bytes(contents)
        MODEL_CHANGED[what](random.Random(f"{what} {seed}"), folder)
        refused(["generate", str(folder), "-n", "2", "--device", "cpu"], capsys)


def test_a_whole_model_is_not_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["generate", str(folder), "-n", "2", "--device", "cpu"]) == 0
    edit(folder, lambda card: card.update(name="renamed", description="é\n"))
    assert run(["generate", str(folder), "-n", "2", "--device", "cpu"]) == 0
    assert run(["generate", str(find("qm9")), "-n", "2", "--device", "cpu", "--steps", "2"]) == 0


def test_a_changed_model_is_refused_as_a_start_and_as_a_reference_too(
    folder: Path, textbook: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    MODEL_CHANGED["a weight nan"](random.Random(0), folder)
    for line in (
        ["likelihood", str(textbook), str(folder)],
        ["train", "tiny", f"data.path={textbook}", "--init-from", str(folder), f"out={folder / 'new'}"],
    ):
        assert "not finite" in refused(line, capsys)
    MODEL_CHANGED["a newer format"](random.Random(0), folder)
    assert "upgrade moldiff" in refused(["show", str(folder)], capsys)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, textbook: Path) -> tuple[list[str], Path]:
    """The command line of a run that can be resumed, and its folder; not to be changed."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    given = ["device=cpu", "network.width=16", "network.depth=1", "network.heads=2", "logger=none"]
    given += ["max_steps=4", "checkpoint_every=2", "batch_tokens=512", f"data.path={textbook}"]
    fit.run(config.load("tiny", [*given, f"out={out}"]))
    return ["train", "tiny", "--resume", *given], out


def inside(change: Callable[[dict[str, Any]], object]) -> Change:
    """A change to what a checkpoint holds."""

    def changed(chance: random.Random, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        torch.save(change(state) or state, path)

    return changed


def in_an_array(chance: random.Random, path: Path) -> None:
    """Flips a bit in the longest entry of the archive."""
    with zipfile.ZipFile(path) as archive:
        entry = max(archive.infolist(), key=lambda entry: entry.file_size)
        contents = archive.read(entry)
    raw = path.read_bytes()
    path.write_bytes(flipped(raw, raw.index(contents) + chance.randrange(len(contents)), chance))


def archived(name: str, contents: Callable[[Path], bytes]) -> Change:
    """An archive with one entry."""

    def changed(chance: random.Random, path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, contents(path))

    return changed


def bomb(path: Path) -> Bomb:
    return Bomb(path.parents[1] / "fuse")


CHECKPOINT_CHANGED: dict[str, Change] = {
    "cut off": lambda chance, path: path.write_bytes(
        path.read_bytes()[: chance.randrange(path.stat().st_size)]
    ),
    "empty": lambda chance, path: path.write_bytes(b""),
    "noise": lambda chance, path: path.write_bytes(chance.randbytes(3000)),
    "a bit of an array": in_an_array,
    "text": lambda chance, path: path.write_text("step 4\n" * 99, "utf-8"),
    "an archive of something else": archived("readme.txt", lambda path: b"hello"),
    "an archive of noise": archived("run/data.pkl", lambda path: b"\x80\x02noise"),
    "a pickle that runs code": lambda chance, path: path.write_bytes(pickle.dumps(bomb(path))),
    "an archive that runs code": lambda chance, path: torch.save({"state_dict": bomb(path)}, path),
    "a state that runs code": inside(lambda state: state.update(shared=Bomb(Path("fuse")))),
    "a list": inside(lambda state: [1, 2]),
    "another dictionary": inside(lambda state: {"weights": torch.zeros(3)}),
    "no weights": inside(lambda state: state.pop("state_dict") and None),
    "weights of another kind": inside(lambda state: state.update(state_dict=3)),
    "weights that are texts": inside(
        lambda state: state.update(state_dict=dict.fromkeys(state["state_dict"], "x"))
    ),
    "a weight less": inside(lambda state: state["state_dict"].popitem() and None),
    "another shape": inside(lambda state: state["ema"].update({"head.bias": torch.zeros(2)})),
    "no average": inside(lambda state: state.update(ema={})),
    "another seed": inside(lambda state: state["shared"].update(seed=7)),
    "no settings": inside(lambda state: state.update(shared=None)),
    "no optimizer": inside(lambda state: state.update(optimizer_states=[])),
    "an optimizer of another kind": inside(lambda state: state.update(optimizer_states="muon")),
    "loops of another kind": inside(lambda state: state.update(loops={"fit_loop": 3})),
    "another step": inside(lambda state: state.update(global_step=1)),
    "a step of another kind": inside(lambda state: state.update(global_step="four")),
    "an origin that is no card": inside(lambda state: state.update(origin="{}")),
    "an origin of another kind": inside(lambda state: state.update(origin=["\ud800"])),
}


@pytest.mark.parametrize("what", CHECKPOINT_CHANGED)
def test_a_changed_checkpoint_is_refused_and_not_run(
    what: str, stopped: tuple[list[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, source = stopped
    out = tmp_path / "run"
    shutil.copytree(source, out)
    for name in (WEIGHTS, CARD):
        (out / name).unlink()
    for number, path in enumerate(sorted((out / "checkpoints").glob("*.ckpt"))):
        CHECKPOINT_CHANGED[what](random.Random(f"{what} {number}"), path)
    refused([*arguments, f"out={out}"], capsys)
    assert not list(tmp_path.rglob("fuse"))
    assert not Path("fuse").exists()
    assert not (out / CARD).exists()


def test_a_run_that_nobody_touched_is_resumed(stopped: tuple[list[str], Path], tmp_path: Path) -> None:
    arguments, source = stopped
    shutil.copytree(source, tmp_path / "run")
    assert run([*arguments, f"out={tmp_path / 'run'}"]) == 0


def test_the_bomb_works(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "fuse")))
    assert (tmp_path / "fuse").read_text("utf-8") == "boom"


def test_there_are_enough_changes() -> None:
    assert len(WEIGHTS_CHANGED) + len(CARD_CHANGED) + len(CHECKPOINT_CHANGED) >= 50
