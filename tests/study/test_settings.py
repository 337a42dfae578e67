"""Settings of a study: what a file may say, what wins, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from moldiff import config, registry
from moldiff.errors import MoldiffError
from moldiff.study.settings import Method, Settings, load


def method(**said: object) -> Method:
    return Method.model_validate({"model": "qm9", "sampler": "remdm-cap", **said})


def test_the_shipped_settings_name_samplers_that_there_are_and_are_no_training_configuration() -> None:
    found = load()
    assert list(found.methods) == ["ar", "udlm", "mdlm", "remdm", "proseco", "remdm-proseco", "self-correct"]
    assert {each.sampler for each in found.methods.values()} <= set(registry.SAMPLERS)
    assert "study" not in config.shipped()


def test_later_overrides_win_where_they_hold() -> None:
    found = method(
        options={"eta": 0.1},
        overrides=[
            {"when": {"guidance": "cfg"}, "temperature": 0.8, "options": {"other": 1}},
            {"when": {"guidance": "cfg", "steps": 32}, "temperature": 0.5, "options": {"eta": 0.3}},
            {"when": {"property": "qed"}, "sampler": "mdlm"},
        ],
    )
    rings = {"property": "ring_count"}
    assert found.asked(**rings, guidance="none", steps=32)["temperature"] == 1
    assert found.asked(**rings, guidance="cfg", steps=64)["options"] == {"eta": 0.1, "other": 1}
    both = found.asked(**rings, guidance="cfg", steps=32)
    assert (both["temperature"], both["options"]) == (0.5, {"eta": 0.3, "other": 1})
    # The options of one sampler are none of another's.
    other = found.asked(property="qed", guidance="none", steps=8)
    assert (other["sampler"], other["options"]) == ("mdlm", {})


def test_a_kind_of_guidance_adds_what_it_needs() -> None:
    found = method(
        options={"eta": 0.1},
        also={"precision": "fp32"},
        guidance={"cbg": {"classifier": "c", "temperature": 0.7, "options": {"eta": 0.2}}},
    )
    asked = found.asked(property="qed", guidance="cbg", steps=8)
    assert (asked["classifier"], asked["temperature"], asked["options"]) == ("c", 0.7, {"eta": 0.2})
    assert asked["precision"] == found.asked(property=None, guidance="none", steps=8)["precision"] == "fp32"
    assert "classifier" not in found.asked(property="qed", guidance="cfg", steps=8)


def test_models_can_be_exchanged() -> None:
    found = Settings(methods={"a": method(), "b": method()})
    assert [m.model for m in found.with_models(["a=x", "b=y=z"]).methods.values()] == ["x", "y=z"]
    assert [m.model for m in found.with_models(["x"]).methods.values()] == ["x", "x"]
    for text, message in {"c=x": "method: got 'c'", "a=": "write MODEL or METHOD=MODEL"}.items():
        with pytest.raises(MoldiffError, match=re.escape(message)):
            found.with_models([text])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "got NoneType, needs methods"),
        ("- a", "got list, needs methods"),
        ("methods: {}", "methods"),
        ("methods: {a: {model: x}}", "methods.a.sampler"),
        ("methods: {a: {model: x, sampler: y, colour: red}}", "methods.a.colour"),
        ("methods: {A/B: {model: x, sampler: y}}", "needs lower-case letters"),
        ("methods: {a: {model: x, sampler: y, temperature: 0}}", "methods.a.temperature"),
        ("methods: [", "not YAML"),
    ],
)
def test_a_file_that_says_something_else_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(MoldiffError, match=re.escape(message)) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "none.yaml", tmp_path, tmp_path / "bytes.yaml"):
        with pytest.raises(MoldiffError, match=r"cannot be read|it is a folder"):
            load(path)


def test_settings_survive_the_way_through_a_file(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(load().model_dump(exclude_defaults=True)), "utf-8")
    assert load(path) == load()
