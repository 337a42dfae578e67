"""Configurations: shipped names, YAML files, overrides, and every way to get one wrong."""

import contextlib
import math
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from moldiff import assembly, config, registry
from moldiff.conditions import ClassCondition, NumericCondition
from moldiff.config import TrainConfig, load
from moldiff.errors import MoldiffError


def write(path: Path, text: str) -> str:
    path.write_text(text, "utf-8")
    return str(path)


def test_each_shipped_configuration_loads_and_all_it_names_can_be_built() -> None:
    assert {"qm9", "tiny"} <= set(config.shipped())
    for name in config.shipped():
        settings = load(name)
        process = assembly.build_process(settings, num_tokens=3)
        places = math.prod(settings.network.grid or (4,))
        network = assembly.build_network(settings, process, places, settings.conditions)
        assert sum(p.numel() for p in network.parameters()) > 0
        assembly.build_sampler(process, settings.default)
        known = registry.build("modality", settings.data.modality).properties
        # How an item is written is a property of what has several writings.
        written = {"writing"} if "writings" in settings.data.options else set()
        assert {c.name for c in settings.conditions} <= set(known) | written


def test_tiny_says_what_the_docs_say() -> None:
    settings = load("tiny")
    assert settings.out == Path("runs/tiny")
    assert settings.data.path is None
    kinds = {type(c): c.name for c in settings.conditions}
    assert kinds == {ClassCondition: "ring_count", NumericCondition: "qed"}


def test_overrides_reach_every_depth_in_order() -> None:
    settings = load(
        "tiny",
        [
            "seed=3",
            "seed=7",
            "out=some/where",
            "data.path=a=b.smi",
            "network.width=32",
            "condition_dropout.name=drop-all",
            "condition_dropout.options.rate=0.25",
            "optimizer.lr=1e-3",
            "conditions=[{kind: numeric, name: logp}]",
        ],
    )
    assert settings.seed == 7
    assert settings.out == Path("some/where")
    assert settings.data.path == Path("a=b.smi")
    assert settings.network.width == 32
    assert settings.network.depth == load("tiny").network.depth
    assert settings.condition_dropout.options == {"rate": 0.25}
    assert settings.optimizer.lr == 1e-3
    assert settings.conditions == (NumericCondition(name="logp"),)


def test_an_override_that_is_not_yaml_is_text() -> None:
    assert load("tiny", ["description=[a", "license=2001-99-99"]).description == "[a"


def test_a_path_is_what_a_person_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    settings = load("tiny", ["out=~/x", "data.path=~/a.smi"])
    assert (settings.out, settings.data.path) == (Path("/home/ada/x"), Path("/home/ada/a.smi"))
    assert load("tiny", ["out=2024"]).out == Path("2024")


def test_a_file_gives_back_what_was_written_into_it(tmp_path: Path) -> None:
    settings = load("qm9", ["data.path=x.smi", "default.options.eta=0.1"])
    path = write(tmp_path / "mine.yaml", yaml.safe_dump(settings.model_dump(mode="json")))
    assert load(path) == settings
    assert load(path, ["seed=5"]) == settings.model_copy(update={"seed": 5})


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load("tiny").seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("seed", "key=value"),
        ("=1", "key=value"),
        ("nope=1", "nope"),
        ("data.nope=1", "data.nope"),
        ("network.width.x=1", "no keys below"),
        ("conditions.0.name=x", "no keys below"),
        ("seed=-1", "seed"),
        (f"seed={2**63}", "seed"),
        ("seed=x", "seed"),
        ("max_steps=0", "max_steps"),
        ("max_steps=1.5", "max_steps"),
        ("batch_tokens=0", "batch_tokens"),
        ("checkpoint_every=0", "checkpoint_every"),
        ("t_min=1", "t_min"),
        ("precision=fp8", "precision"),
        ("logger=paper", "logger"),
        ("devices=0", "devices"),
        ("name=", "name"),
        ("data=3", "data"),
        ("data.heldout=1", "data.heldout"),
        ("data.heldout=-0.1", "data.heldout"),
        ("data.length=padded", "pad_to"),
        ("data.pad_to=32", "pad_to"),
        ("data.length=elastic", "data.length"),
        ("data.workers=0", "data.workers"),
        ("network.depth=0", "network.depth"),
        ("network.dropout=1", "network.dropout"),
        ("optimizer.name=sgd", "optimizer.name"),
        ("optimizer.lr=0", "optimizer.lr"),
        ("optimizer.lr=.nan", "optimizer.lr"),
        ("optimizer.lr=.inf", "optimizer.lr"),
        ("optimizer.ema=1", "optimizer.ema"),
        ("default.steps=0", "default.steps"),
        ("default.temperature=0", "default.temperature"),
        ("default.top_p=1.1", "default.top_p"),
        ("default.scale=-1", "default.scale"),
        ("default.options.eta=.nan", "default.options.eta"),
        ("conditions=3", "conditions"),
        ("conditions=[{kind: class}]", "name"),
        ("conditions=[{kind: shape, name: qed}]", "kind"),
        ("conditions=[{kind: class, name: qed, quantile: 1}]", "quantile"),
    ],
)
def test_a_wrong_override_is_named_in_one_line(override: str, part: str) -> None:
    with pytest.raises(MoldiffError) as caught:
        load("tiny", [override])
    assert part in str(caught.value)
    assert "got" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- 1",
        "word",
        "a: [1,",
        "a: b: c",
        "seed: 2001-99-99",
        "[" * 5000,
        "1: 2",
        "x: !!python/object:a.b {}",
    ],
    ids=["empty", "list", "scalar", "open", "nested", "date", "deep", "number-key", "object"],
)
def test_a_file_that_is_no_configuration_is_refused(text: str, tmp_path: Path) -> None:
    path = write(tmp_path / "bad.yaml", text)
    with pytest.raises(MoldiffError, match=r"bad\.yaml") as caught:
        load(path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_source_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "folder.yaml").mkdir()
    for name in ("binary.yaml", "folder.yaml", "missing.yaml", "x" * 300 + ".yaml"):
        with pytest.raises(MoldiffError, match=r"cannot be read|it is a folder"):
            load(str(tmp_path / name))
    with pytest.raises(MoldiffError, match=r"choose from .*tiny"):
        load("no-such-name")


@given(st.text(max_size=20), st.text(max_size=20))
@example("data.path", "\x00")
@example("seed", "[[[[")
def test_no_override_raises_anything_but_the_error_for_callers(key: str, value: str) -> None:
    with contextlib.suppress(MoldiffError):
        assert isinstance(load("tiny", [f"{key}={value}"]), TrainConfig)
