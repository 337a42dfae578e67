"""The registry: every row of every table is resolved, built and run; a wrong name or option is refused."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from moldiff import Model, config, load, registry
from moldiff.assembly import build_network, build_process, build_sampler, samplers_of
from moldiff.checkpoint import Checkpoint
from moldiff.config import Setting, TrainConfig
from moldiff.errors import MoldiffError
from moldiff.training import fit, intake
from moldiff.types import Rows

ROWS = [(table, name) for table, rows in registry.TABLES.items() for name in rows]


def toy(process: str = "masked") -> tuple[Any, Any]:
    """A process and a random network over five tokens."""
    settings = TrainConfig.model_validate(
        {"process": {"name": process}, "network": {"width": 16, "depth": 1, "heads": 2}}
    )
    built = build_process(settings, num_tokens=5)
    network = build_network(settings, built, 8, ())
    torch.nn.init.normal_(network.head.weight, generator=torch.Generator().manual_seed(0))
    return built, network.eval()


def draw(sampler: Any, network: Any, seed: int = 0) -> torch.Tensor:
    out: torch.Tensor = sampler(network, Rows(torch.arange(64), 8), seed=seed)
    return out


def test_every_row_resolves_to_something_that_can_be_called() -> None:
    assert len(ROWS) == len(set(ROWS)) > 20
    for table, name in ROWS:
        assert callable(registry.resolve(table, name)), (table, name)


def test_the_tables_are_disjoint_from_typos() -> None:
    for table, rows in registry.TABLES.items():
        with pytest.raises(MoldiffError) as caught:
            registry.resolve(table, "no-such-row")
        assert all(name in str(caught.value) for name in rows)


def test_an_option_that_a_row_does_not_take_is_refused_with_those_it_takes() -> None:
    with pytest.raises(MoldiffError, match="got option 'nu', it takes rate"):
        registry.build("condition dropout", "drop-all", nu=1)
    with pytest.raises(MoldiffError, match="got option 'nu', it takes always"):
        registry.build("guidance", "cfg", 2.0, nu=1)


@pytest.mark.parametrize("process", registry.PROCESSES)
@pytest.mark.parametrize("name", registry.SAMPLERS)
def test_each_sampler_samples_from_each_process_it_fits(name: str, process: str) -> None:
    built, network = toy(process)
    setting = Setting(sampler=name, steps=16, top_p=0.9)
    choices = samplers_of(built)
    if name not in choices:
        with pytest.raises(MoldiffError) as caught:
            build_sampler(built, setting)
        said = re.fullmatch(
            r"sampler (\S+): got an? (\S+) model, it takes .+ only; choose from (.+)", str(caught.value)
        )
        assert said is not None
        assert said.groups() == (name, process, ", ".join(choices))
        return
    sampler = build_sampler(built, setting)
    tokens = draw(sampler, network)
    assert tokens.shape == (64, 8)
    # No mask survives, and no token is out of the vocabulary; rows that ended by themselves are filled up.
    assert tokens.min() >= 0
    assert tokens.max() < (6 if process == "autoregressive" else 5)
    assert torch.equal(tokens, draw(sampler, network))
    assert not torch.equal(tokens, draw(sampler, network, seed=1))


@pytest.mark.parametrize("process", registry.PROCESSES)
def test_no_two_samplers_are_one(process: str) -> None:
    built, network = toy(process)
    drawn = {
        name: draw(build_sampler(built, Setting(sampler=name, steps=16)), network)
        for name in samplers_of(built)
    }
    for name, tokens in drawn.items():
        same = [other for other, theirs in drawn.items() if torch.equal(tokens, theirs)]
        assert same == [other for other in drawn if registry.SAMPLERS[other] == registry.SAMPLERS[name]]


def test_the_page_says_which_sampler_runs_on_which_process() -> None:
    page = (Path(__file__).parents[1] / "docs" / "samplers.md").read_text("utf-8")
    table = page.partition("\n| name | models |")[2].partition("\n\n")[0]
    told = dict(re.findall(r"^\| `([a-z-]+)` \| ([a-z, -]+) \|", table, re.MULTILINE))
    found = {process: samplers_of(toy(process)[0]) for process in registry.PROCESSES}
    assert told == {
        name: ", ".join(process for process in found if name in found[process]) for name in registry.SAMPLERS
    }


def test_each_process_has_a_sampler_of_its_own_that_runs_on_it() -> None:
    assert set(registry.DEFAULT_SAMPLERS) == set(registry.PROCESSES)
    for process, name in registry.DEFAULT_SAMPLERS.items():
        assert name in samplers_of(toy(process)[0])
        given = {"process": {"name": process}}
        assert TrainConfig.model_validate(given).default.sampler == name
        named = TrainConfig.model_validate({**given, "default": {"sampler": "dfm", "steps": 9}})
        assert (named.default.sampler, named.default.steps) == ("dfm", 9)


def test_completable_rows_are_refused_where_nothing_is_masked() -> None:
    built, _ = toy("uniform")
    with pytest.raises(
        MoldiffError, match="complete: got a uniform model, it takes masks only; leave it off"
    ):
        build_sampler(built, Setting(complete=True))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (name, {"eta": eta})
        for name, eta in {
            "remdm-cap": 0.4,
            "remdm-rescale": 0.9,
            "remdm-conf": 0.1,
            "remdm-switch": 0.1,
            "remdm-loop": 0.1,
            "remdm-loop-literal": 0.1,
            "remdm-loop-cap": 0.4,
            "dfm": 1.0,
        }.items()
    ]
    + [
        ("remdm-conf", {"normalize": "mean"}),
        ("remdm-switch", {"start": 0.2}),
        ("remdm-loop", {"on": 0.5}),
        ("remdm-loop", {"off": 0.3}),
        ("remdm-loop-literal", {"on": 0.5}),
        ("remdm-loop-literal", {"off": 0.3}),
        ("remdm-loop-cap", {"on": 0.8}),
        ("remdm-loop-cap", {"off": 0.3}),
        ("remdm-loop-cap", {"alpha_on": 0.5}),
        ("dfm", {"adaptive": True}),
        ("proseco", {"every": 2}),
        ("proseco", {"corrections": 3}),
        ("proseco", {"start": 9}),
        ("proseco", {"mode": "sample"}),
        ("proseco", {"top_k": 1}),
        ("proseco", {"draw": "predictor"}),
        ("proseco", {"final": 1}),
        ("remdm-proseco", {"eta": 0.1}),
        ("remdm-proseco", {"remasking": "cap"}),
        ("remdm-proseco", {"remasking": "rescale"}),
        ("remdm-proseco", {"remasking": "switch"}),
        ("remdm-proseco", {"remasking": "loop"}),
        ("adaptive-order", {"noise": 0.0}),
        ("margin-order", {"noise": 1.0}),
        ("confidence-order", {"noise": 1.0}),
        ("entropy-order", {"noise": 1.0}),
        ("entropy-bound", {"gamma": 5.0}),
    ],
)
def test_each_option_of_a_sampler_changes_what_it_draws(name: str, options: dict[str, Any]) -> None:
    built, network = toy()
    plain = draw(build_sampler(built, Setting(sampler=name, steps=16)), network)
    tuned = draw(build_sampler(built, Setting(sampler=name, steps=16, options=options)), network)
    assert not torch.equal(plain, tuned)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mdlm", {"eta": 0.1}, "got option 'eta', it takes none"),
        ("remdm-conf", {"heat": 0.1}, "it takes eta, normalize"),
        ("remdm-cap", {"eta": "much"}, "needs a number"),
        ("remdm-conf", {"normalize": 1.0}, "needs a name"),
        ("remdm-conf", {"normalize": "median"}, "choose from sum, mean"),
        ("proseco", {"every": 2.5}, "got every = 2.5, needs a whole number"),
        ("proseco", {"gate": "maybe"}, "got gate = 'maybe', needs true or false"),
        ("proseco", {"well_formed": 1.0}, "got option 'well_formed'"),
        ("proseco", {"mode": "posterior"}, "choose from argmax, sample"),
        ("remdm-proseco", {"remasking": "dfm"}, "choose from cap, rescale, conf, switch, loop"),
        ("remdm-cap", {"process": 1.0}, "got option 'process'"),
        ("remdm-cap", {"readout": 1.0}, "got option 'readout'"),
    ],
)
def test_a_wrong_option_of_a_sampler_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    built, _ = toy()
    with pytest.raises(MoldiffError, match=message):
        build_sampler(built, Setting(sampler=name, steps=16, options=options))


# Those of other models: tests/test_autoregressive.py, tests/diffusion/test_rewriting.py.
OTHERS = {"autoregressive", "self-correct"}


@pytest.mark.parametrize("name", [name for name in registry.SAMPLERS if name not in OTHERS])
def test_each_sampler_makes_molecules_under_guidance(
    name: str, tiny_model: Model, tiny_corrected: Path
) -> None:
    if "proseco" in name:
        with pytest.raises(MoldiffError, match="not trained to correct itself; choose mdlm"):
            tiny_model.generate(4, sampler=name)
    model = load(str(tiny_corrected), "cpu") if "proseco" in name else tiny_model
    found = model.generate(4, sampler=name, steps=16, targets={"qed": 0.5}, scale=2.0)
    assert len(found) == 4
    assert found.summary["forwards_per_molecule"] > 0
    assert (found.frame["raw"].str.len() > 0).all()


@pytest.mark.parametrize(
    ("process", "schedule", "dropout"),
    [
        (process, schedule, list(registry.CONDITION_DROPOUTS)[number % len(registry.CONDITION_DROPOUTS)])
        for number, (process, schedule) in enumerate(
            (process, schedule)
            for process in registry.PROCESSES
            for schedule in (registry.SCHEDULES if process != "autoregressive" else ["loglinear"])
        )
    ],
)
def test_each_process_schedule_and_dropout_trains_and_generates(
    process: str, schedule: str, dropout: str, small: Callable[..., TrainConfig]
) -> None:
    settings = small(
        f"process.name={process}",
        f"process.schedule={schedule}",
        f"condition_dropout.name={dropout}",
        f"network.time={process == 'uniform'}",
        "max_steps=2",
    )
    trained = fit.run(settings)
    assert math.isfinite(trained.card.training["heldout_nats_per_token"])
    found = Model(Checkpoint.load(settings.out), "cpu").generate(3, steps=4)
    assert len(found) == 3


def test_every_row_of_the_training_tables_was_trained_above() -> None:
    marks = test_each_process_schedule_and_dropout_trains_and_generates.pytestmark  # type: ignore[attr-defined]
    cases = marks[0].args[1]
    assert {case[0] for case in cases} == set(registry.PROCESSES) == set(registry.OBJECTIVES)
    assert {case[1] for case in cases} == set(registry.SCHEDULES)
    assert {case[2] for case in cases} == set(registry.CONDITION_DROPOUTS)


def test_the_guidances_are_those_run_below() -> None:
    assert set(registry.GUIDANCES) == {"cfg", "completable", "fudge", *CLASSIFIER_BASED}


#: The forms of classifier-based guidance, with the options that they need.
CLASSIFIER_BASED = {"cbg-token": {}, "cbg-exact": {}, "cbg-first-order": {"states": 3}}


@pytest.mark.parametrize("name", CLASSIFIER_BASED)
def test_each_form_of_classifier_based_guidance_is_built_and_weighs(name: str) -> None:
    def classifier(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        x = x_t if x_t.is_floating_point() else torch.nn.functional.one_hot(x_t, 3).double()
        high = x[:, 0] @ torch.tensor([0.1, 0.2, 0.4], dtype=x.dtype).log()
        return torch.stack([high, high], -1)[:, None]

    inner = registry.build("guidance", "cfg", 1.0)
    guidance = registry.build("guidance", name, inner, classifier, 1, scale=2.0, **CLASSIFIER_BASED[name])
    log_p = torch.full((1, 1, 3), 1 / 3).log()
    state = torch.zeros(1, 1, dtype=torch.int64)
    told = torch.ones(1, 1)
    guided = guidance(lambda conds: [log_p for c in conds if c(told) is not None], state, torch.ones(1))
    torch.testing.assert_close(guided.exp(), torch.tensor([[[1 / 21, 4 / 21, 16 / 21]]]))


def test_completable_guidance_is_built_and_makes_balanced_rows(tiny_model: Model) -> None:
    found = tiny_model.generate(60, sampler="first-hitting", complete=True, targets="qed=0.4", scale=2.0)
    assert found.summary["setting"]["complete"] is True
    for raw in found.frame["raw"]:
        assert raw.count("(") == raw.count(")")
        assert all(raw.count(label) % 2 == 0 for label in "123456789")
    with pytest.raises(MoldiffError, match="complete: got level posterior"):
        tiny_model.generate(2, complete=True, level="posterior")


def test_classifier_free_guidance_is_built_and_sharpens() -> None:
    name = "cfg"
    log_p = {"given": torch.tensor([[0.7, 0.3]]).log(), "null": torch.tensor([[0.5, 0.5]]).log()}
    guidance = registry.build("guidance", name, scale=2.0)
    guided = guidance(
        lambda conds: [log_p[c.__name__] for c in conds], torch.zeros(1, 1), torch.ones(1)
    ).exp()
    torch.testing.assert_close(guided, torch.tensor([[0.49 / 0.58, 0.09 / 0.58]]))
    with pytest.raises(MoldiffError, match="got option"):
        registry.build("guidance", name, strength=2.0)


#: By modality, what is read where no file is needed, and two kinds of file that take its items.
SOURCES = {
    "molecules": (Path(__file__).parent / "data" / "textbook.smi", (".csv", ".smi")),
    "images": (Path("digits"), (".csv", ".npy")),
    "text": (Path("pydoc"), (".csv", ".txt")),
}


@pytest.mark.parametrize("name", registry.MODALITIES)
def test_each_modality_walks_from_source_to_files(name: str, tmp_path: Path) -> None:
    source, suffixes = SOURCES[name]
    modality = registry.build("modality", name)
    data = modality.prepare(source, tokenizer=registry.tokenizer_name(name, None), heldout=0.1)
    assert data.info["modality"] == modality.name == name
    assert set(data.properties) == set(modality.properties)
    assert 0.05 * len(data) < data.heldout.sum() < 0.15 * len(data) or name == "text"

    path = tmp_path / "tokens.safetensors"
    data.save(path)
    again = registry.resolve("data", "token-file").load(path)
    np.testing.assert_array_equal(again.tokens, data.tokens)
    assert again.info == data.info

    tokenizer = modality.tokenizer(again.info["tokenizer"])
    raw = [tokenizer.decode(again.item(i)) for i in range(8)]
    order = np.argsort(data.identities)
    arrays = {"hashes": data.identities[order], "in_train": ~data.heldout[order]}
    reference = modality.reference(arrays, {"rdkit": data.info.get("rdkit", "")})
    frame = modality.evaluate(raw, reference)
    summary = modality.summarise(frame, reference)
    assert summary["valid"] == summary["sane"] == summary["unique"] == 8
    assert not frame["novel"].any()

    for suffix in suffixes:
        modality.check_output(tmp_path / f"out{suffix}")
        modality.write(frame, tmp_path / f"out{suffix}")
        again = modality.texts(tmp_path / f"out{suffix}")["raw"].tolist()
        assert [str(each) for each in again] == frame["raw"].tolist()
    with pytest.raises(MoldiffError, match="choose from"):
        modality.check_output(tmp_path / "out.docx")


def test_molecules_are_read_measured_and_drawn(textbook: Path, tmp_path: Path) -> None:
    modality = registry.build("modality", "molecules")
    data = modality.prepare(textbook, heldout=0.1)
    assert data.heldout.sum() == round(0.1 * len(data))
    tokenizer = modality.tokenizer(data.info["tokenizer"])
    raw = [tokenizer.decode(data.item(i)) for i in range(8)]
    arrays = {"hashes": np.sort(data.identities), "in_train": np.ones(len(data), dtype=bool)}
    frame = modality.evaluate(raw, modality.reference(arrays, {"rdkit": data.info["rdkit"]}))
    assert modality.read(textbook)[modality.key].tolist()[:8] == frame[modality.key].tolist()
    np.testing.assert_allclose(frame["qed"], data.properties["qed"][:8], rtol=1e-6)
    modality.write(frame, tmp_path / "out.smi")
    assert (tmp_path / "out.smi").read_text("utf-8").split() == raw
    for suffix, start in {".png": b"\x89PNG\r\n\x1a\n", ".svg": b"<?xml"}.items():
        modality.check_picture(tmp_path / f"out{suffix}")
        modality.picture(frame, modality.shown, tmp_path / f"out{suffix}")
        assert (tmp_path / f"out{suffix}").read_bytes().startswith(start)
    with pytest.raises(MoldiffError, match="choose from"):
        modality.check_picture(tmp_path / "out.docx")


def test_the_data_rows_feed_training(tiny: Path) -> None:
    data = registry.resolve("data", "token-file").load(tiny / intake.TOKENS)
    module = intake.data_module(data, config.load("tiny", ["batch_tokens=64", "max_steps=3"]), ())
    assert isinstance(module, registry.resolve("data", "token-module"))
    batches = list(module.train_dataloader())
    assert [batch.step for batch in batches] == [0, 1, 2]
    assert all(batch.cond is None for batch in batches)
