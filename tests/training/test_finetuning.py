"""Fine-tuning: what a model knew it keeps, what is new is added, what cannot fit is refused before work."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from moldiff import config, registry
from moldiff.assembly import build_network, build_process, build_tokenizer
from moldiff.checkpoint import CARD, WEIGHTS, Checkpoint, read_card
from moldiff.cli.app import run as command
from moldiff.conditions import fit_all
from moldiff.config import TrainConfig
from moldiff.errors import MoldiffError
from moldiff.generation.model import load
from moldiff.training import finetuning, fit, intake

Small = Callable[..., TrainConfig]
#: Elements that the first half of the textbook lacks, and a row longer than any in it.
OWN = ["C[Si](C)(C)C", "CI", "ICI", "CB(O)O", "CCB(O)O", "OB(O)c1ccc2ccccc2c1", "CC[Si](C)(C)C", "C" * 60]
#: Steps that change nothing.
STILL = ("max_steps=1", "optimizer.lr=1e-30", "data.heldout=0")


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory, textbook: Path) -> Path:
    """A small model, trained on the first half of the textbook; not to be changed."""
    folder = tmp_path_factory.mktemp("half")
    lines = textbook.read_text("utf-8").splitlines()
    (folder / "half.smi").write_text("\n".join(lines[: len(lines) // 2]), "utf-8")
    given = ["device=cpu", "network.width=16", "network.depth=1", "network.heads=2", "batch_tokens=512"]
    given += [f"data.path={folder / 'half.smi'}", f"out={folder / 'model'}", "max_steps=80", "logger=none"]
    fit.run(config.load("tiny", given))
    return folder / "model"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A handful of one's own molecules."""
    (tmp_path / "own.smi").write_text("\n".join(OWN), "utf-8")
    return tmp_path / "own.smi"


def prepared(path: Path, **options: Any) -> Any:
    return registry.build("modality", "molecules").prepare(path, **{"heldout": 0.0, **options})


def step_0(half: Path, settings: TrainConfig, data: Any) -> tuple[Any, Any]:
    """The network that a run of ``settings`` starts with, and its tokenizer."""
    start = finetuning.start(str(half))
    settings, data = start.settings(settings), start.tokens(data)
    values = {name: column.astype(float) for name, column in data.properties.items()}
    conditions = start.conditions(fit_all(settings.conditions, values, ~data.heldout), values)
    tokenizer = build_tokenizer(data.info["modality"], data.info["tokenizer"])
    process = build_process(settings, tokenizer.vocab_size)
    network = build_network(settings, process, start.places(int(data.lengths.max())), conditions)
    start.fill(network, conditions)
    return network.eval(), tokenizer


def test_a_handful_of_molecules_with_new_elements(
    half: Path, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["max_steps=150", "batch_tokens=64", "optimizer.lr=0.02", "optimizer.ema=0.5", "device=cpu"]
    given += ["network={}", "data.heldout=0", "logger=none", f"data.path={own}", f"out={tmp_path / 'run'}"]
    assert command(["train", "tiny", "--init-from", str(half), *given]) == 0
    source, card = read_card(half), read_card(tmp_path / "run")
    added = ("B", "I", "[Si]")
    assert capsys.readouterr().out.splitlines()[1] == (
        f"from model (sha256 {source.sha256[:12]}): 3 tokens added: B I [Si]; "
        f"rows up to 60 tokens, {source.max_length} before; conditions: 2 kept, 0 new, 0 given up"
    )
    assert card.origin is not None
    assert (card.origin.name, card.origin.sha256) == (source.name, source.sha256)
    assert card.origin.tokens_added == added
    assert card.tokenizer["vocab"] == [*source.tokenizer["vocab"], *added]
    assert card.max_length == 60
    assert card.config.network == source.config.network
    assert command(["show", str(tmp_path / "run")]) == 0
    assert f"fine-tuned from model (sha256 {source.sha256[:12]})" in capsys.readouterr().out

    model = load(str(tmp_path / "run"), "cpu")
    found = model.generate(40, sampler="mdlm", steps=60, complete=False)
    assert set(map(len, map(model.tokenizer.encode, found.frame["raw"]))) <= {
        len(model.tokenizer.encode(m)) for m in OWN
    }
    for token in added:
        assert found.frame["raw"].str.contains(token, regex=False).any()


def test_at_step_0_it_says_what_the_model_says(half: Path, own: Path, small: Small) -> None:
    network, tokenizer = step_0(half, small(), prepared(own))
    model = load(str(half), "cpu")
    known = model.card.tokenizer["vocab"]
    mask, new_mask = len(known), tokenizer.vocab_size
    bound = math.log(tokenizer.vocab_size / len(known))
    assert bound > 0
    for smiles in ("CCO", "c1ccccc1", "CC(=O)O"):
        x, y = (torch.tensor([each.encode(smiles)]) for each in (model.tokenizer, tokenizer))
        hidden = torch.arange(x.shape[1]) % 3 > 0
        x[:, hidden], y[:, hidden] = mask, new_mask
        for cond in (None, torch.tensor([[1.0, 0.7]]), torch.tensor([[torch.nan, -2.0]])):
            with torch.no_grad():
                old, new = model.network(x, torch.ones(1), cond), network(y, torch.ones(1), cond)
            taken = old - new[..., : len(known)]
            torch.testing.assert_close(taken, taken[..., :1].expand_as(taken), rtol=0, atol=1e-5)
            assert taken.min() > 0
            assert taken.max() <= bound + 1e-5


def test_weights_and_their_average_start_at_the_model(half: Path, own: Path, small: Small) -> None:
    settings = small(*STILL, f"data.path={own}")
    published = fit.run(settings, init_from=str(half))
    network, _ = step_0(half, settings, prepared(own))
    for name, weights in network.state_dict().items():
        torch.testing.assert_close(published.part("network")[name], weights.bfloat16(), rtol=0, atol=0)


def test_a_token_file_in_another_order_is_mapped(half: Path, own: Path) -> None:
    data = prepared(own, pad_to=None)
    vocab = data.info["tokenizer"]["vocab"]
    added = [token for token in vocab if token in ("B", "I", "[Si]")]
    # Turned round, but for the order of what is new.
    turned = [*added, *reversed([token for token in vocab if token not in added])]
    ids = np.array([turned.index(token) for token in vocab], dtype=np.uint16)
    info = {**data.info, "tokenizer": {**data.info["tokenizer"], "vocab": turned}}
    other = replace(data, tokens=ids[data.tokens], info=info)
    start = finetuning.start(str(half))
    one, two = start.tokens(data), start.tokens(other)
    np.testing.assert_array_equal(one.tokens, two.tokens)
    assert not np.array_equal(one.tokens, data.tokens)
    assert one.info == two.info
    assert one.fingerprint() == two.fingerprint()
    tokenizer = build_tokenizer("molecules", one.info["tokenizer"])
    written = [build_tokenizer("molecules", info["tokenizer"]).decode(other.item(i)) for i in range(len(OWN))]
    assert [tokenizer.decode(one.item(i)) for i in range(len(OWN))] == written
    # Once mapped, it stays.
    np.testing.assert_array_equal(start.tokens(one).tokens, one.tokens)


def test_padding_stays_behind_the_new_tokens(own: Path, small: Small, tmp_path: Path, textbook: Path) -> None:
    padded = ["data={length: padded, pad_to: 12, heldout: 0}", f"data.path={textbook}", "max_steps=2"]
    fit.run(small(*padded, f"out={tmp_path / 'padded'}"))
    lines = textbook.read_text("utf-8").splitlines()
    (tmp_path / "new.smi").write_text("CB(O)O\n[SeH2]\n" + lines[0], "utf-8")
    for pad_to in (12, 14):
        out = tmp_path / f"tuned{pad_to}"
        longer = [f"data={{pad_to: {pad_to}, length: padded}}"] if pad_to > 12 else ["data={}"]
        settings = small(*longer, f"data.path={tmp_path / 'new.smi'}", f"out={out}", "max_steps=2")
        tuned = fit.run(settings, init_from=str(tmp_path / "padded")).card
        assert tuned.max_length == pad_to == tuned.config.data.pad_to
        tokens = registry.resolve("data", "token-file").load(out / intake.TOKENS)
        mapped = finetuning.start(str(tmp_path / "padded")).tokens(tokens)
        last = len(mapped.info["tokenizer"]["vocab"])
        assert mapped.item(2) == [tuned.tokenizer["vocab"].index("C"), *[last] * (pad_to - 1)]
        assert len(load(str(out), "cpu").generate(3)) == 3


def test_the_kind_of_tokens_is_the_models(own: Path, small: Small, tmp_path: Path, textbook: Path) -> None:
    path = f"data.path={textbook}"
    fit.run(small("data.tokenizer=selfies", path, "max_steps=1", f"out={tmp_path / 'selfies'}"))
    (tmp_path / "boron.smi").write_text("CB(O)O\nCO\n", "utf-8")
    settings = small("data={heldout: 0}", f"data.path={tmp_path / 'boron.smi'}", "max_steps=1")
    tuned = fit.run(settings, init_from=str(tmp_path / "selfies")).card
    assert tuned.config.data.tokenizer == tuned.tokenizer["name"] == "selfies"
    assert tuned.origin is not None
    assert tuned.origin.tokens_added == ("[B]",)
    with pytest.raises(
        MoldiffError, match=r"data\.tokenizer: got smiles, but selfies has selfies; leave it out"
    ):
        fit.run(small("data.tokenizer=smiles", "out=new"), init_from=str(tmp_path / "selfies"))


def test_numbers_mean_what_they_meant(half: Path, own: Path, small: Small) -> None:
    slots = "[{kind: numeric, name: qed}, {kind: numeric, name: mw},"
    slots += " {kind: class, name: ring_count, quantile: 0.75}]"
    tuned = fit.run(small(*STILL, f"data.path={own}", f"conditions={slots}"), init_from=str(half)).card
    before = {(c.kind, c.name): c for c in read_card(half).conditions}
    qed, mw, rings = tuned.conditions
    old = before["numeric", "qed"]
    assert (qed.mean, qed.std) == (old.mean, old.std)
    # What can be asked for is what the new rows span.
    assert qed.minimum != old.minimum
    assert mw.name == "mw"
    assert mw.mean is not None
    old = before["class", "ring_count"]
    assert (rings.quantile, rings.threshold) == (old.quantile, old.threshold)
    assert rings.base_rate == pytest.approx(1 / 8)
    # Asked for another quantile, a class is measured anew.
    slots = "[{kind: class, name: ring_count, quantile: 0.5}]"
    out = f"out={half.parent / 'quantile'}"
    anew = fit.run(small(*STILL, f"data.path={own}", f"conditions={slots}", out), init_from=str(half)).card
    assert anew.conditions[0].threshold == 0.0
    assert anew.conditions[0].quantile == 0.5


def test_what_is_left_out_is_the_models(half: Path, own: Path, tmp_path: Path) -> None:
    given = ["max_steps=2", "logger=none", "device=cpu", f"data.path={own}", f"out={tmp_path / 'run'}"]
    bare = config.load("finetune", given)
    tuned, source = fit.run(bare, init_from=str(half)).card, read_card(half)
    for key in ("network", "process", "conditions", "condition_dropout"):
        assert getattr(tuned.config, key) == getattr(source.config, key)
    assert tuned.default == source.default
    assert tuned.config.optimizer == bare.optimizer
    assert [(c.kind, c.name) for c in tuned.conditions] == [(c.kind, c.name) for c in source.conditions]
    asked = config.load("finetune", ["network.dropout=0.2", "default.steps=7"])
    settled = finetuning.start(str(half)).settings(asked)
    assert settled.network == source.config.network.model_copy(update={"dropout": 0.2})
    assert settled.default.steps == 7


@pytest.mark.parametrize("token_file", [False, True])
def test_a_resumed_run_ends_as_if_it_had_not_stopped(
    token_file: bool, half: Path, own: Path, small: Small, tmp_path: Path
) -> None:
    shutil.copytree(half, tmp_path / "origin")
    data = own
    if token_file:
        data = tmp_path / "own.safetensors"
        prepared(own).save(data)
    steps = ("max_steps=14", "checkpoint_every=7", "validate_every=14", f"data.path={data}")
    settings = small(*steps)
    fit.run(settings, init_from=str(tmp_path / "origin"))
    whole = {name: (settings.out / name).read_bytes() for name in (WEIGHTS, CARD)}
    for name in (*whole, "checkpoints/step=14.ckpt"):
        (settings.out / name).unlink()
    shutil.rmtree(tmp_path / "origin")
    # The model it came from is neither needed nor read again.
    fit.run(settings, resume=True, init_from=str(tmp_path / "origin") if token_file else None)
    assert {name: (settings.out / name).read_bytes() for name in whole} == whole


def test_a_run_is_resumed_from_where_it_started(half: Path, tiny: Path, own: Path, small: Small) -> None:
    steps = ("max_steps=2", "checkpoint_every=1", f"data.path={own}")
    fit.run(small(*steps), init_from=str(half))
    with pytest.raises(MoldiffError, match="but this run started from another, model"):
        fit.run(small(*steps), resume=True, init_from=str(tiny))
    other = small(*steps, f"out={half.parent / 'scratch'}")
    fit.run(other)
    with pytest.raises(MoldiffError, match="but this run started from scratch; leave it out"):
        fit.run(other, resume=True, init_from=str(half))


def test_a_run_may_grow_deeper_and_not_back(half: Path, own: Path, small: Small, tmp_path: Path) -> None:
    deeper = small("network={depth: 2}", f"data.path={own}", "max_steps=2")
    network, _ = step_0(half, deeper, prepared(own))
    assert len(network.blocks) == 2
    x = torch.zeros(1, 4, dtype=torch.long)
    same, _ = step_0(half, small(f"data.path={own}"), prepared(own))
    torch.testing.assert_close(network(x, torch.ones(1)), same(x, torch.ones(1)), rtol=0, atol=0)
    fit.run(deeper, init_from=str(half))
    assert load(str(deeper.out)).network.config.depth == 2
    shallower = small("network={depth: 1}", f"data.path={own}", f"out={tmp_path / 'back'}")
    with pytest.raises(MoldiffError, match=r"network\.depth: got 1, but run has 2; it can only grow"):
        fit.run(shallower, init_from=str(deeper.out))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("network.width=32", r"network\.width: got 32, but model has 16; leave network out"),
        ("network.time=true", r"network\.time: got True, but model has False"),
        ("process.name=uniform", r"process\.name: got uniform, but model is masked"),
        (
            "data={length: padded, pad_to: 80}",
            r"data\.length: got padded, but model has empirical; leave it out",
        ),
        ("data.modality=songs", r"data\.modality: got songs, but model has molecules"),
        ("conditions=[{kind: numeric, name: hue}]", "got 'hue', choose from"),
    ],
)
def test_what_cannot_fit_is_refused_before_any_work(
    change: str, message: str, half: Path, own: Path, small: Small
) -> None:
    settings = small(change, *([f"data.path={own}"] if "padded" not in change else []))
    with pytest.raises(MoldiffError, match=message) as caught:
        fit.run(settings, init_from=str(half))
    assert len(str(caught.value).splitlines()) == 1
    assert not settings.out.exists()


def test_tokens_of_another_kind_are_refused(half: Path, own: Path, small: Small, tmp_path: Path) -> None:
    path = tmp_path / "tokens.safetensors"
    settings = small(f"data.path={path}")

    def refused(message: str) -> None:
        with pytest.raises(MoldiffError, match=message):
            fit.run(settings, init_from=str(half))
        assert not settings.out.exists()

    prepared(own, pad_to=80).save(path)
    refused(r"data\.pad_to: got None, but the token file has 80")
    data = prepared(own)
    replace(data, tokens=data.tokens + np.uint16(40)).save(path)
    refused("token file: got uint16 ids up to .* damaged")
    replace(data, tokens=data.tokens.astype(np.float32)).save(path)
    refused("token file: got float32 ids .* damaged")
    state = {"name": "selfies", "vocab": ["[C]", "[O]"], "pad_to": None}
    replace(data, tokens=data.tokens % 2, info={**data.info, "tokenizer": state}).save(path)
    refused(r"data\.tokenizer: got smiles, but the token file has selfies")
    tokens = registry.resolve("data", "token-file").load(path)
    with pytest.raises(MoldiffError, match=r"the tokens of model are molecules .*smiles.* data .*selfies"):
        finetuning.start(str(half)).tokens(tokens)


def test_a_model_that_is_not_whole_is_refused(half: Path, small: Small, tmp_path: Path) -> None:
    with pytest.raises(MoldiffError, match="unknown model: got 'nope'"):
        fit.run(small(), init_from="nope")
    shutil.copytree(half, tmp_path / "broken")
    card = json.loads((half / CARD).read_text("utf-8"))
    card["config"]["network"]["width"] = 32
    (tmp_path / "broken" / CARD).write_text(json.dumps(card), "utf-8")
    with pytest.raises(MoldiffError, match="its weights do not fit its card"):
        fit.run(small(), init_from=str(tmp_path / "broken"))
    (tmp_path / "broken" / WEIGHTS).unlink()
    with pytest.raises(MoldiffError, match="cannot be read"):
        fit.run(small(), init_from=str(tmp_path / "broken"))
    assert not small().out.exists()


def test_a_model_from_scratch_has_no_origin(tiny: Path) -> None:
    assert Checkpoint.load(tiny).card.origin is None
