"""Figures of images: distances with a closed form, neighbours counted by hand, and real sets of digits."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from moldiff.data.datasets import hold_out
from moldiff.data.digit_features import shipped
from moldiff.data.image_figures import _covered, evaluate
from moldiff.data.image_files import read_images
from moldiff.data.image_tables import spell
from moldiff.errors import MoldiffError
from moldiff.moments import frechet


@pytest.fixture(scope="module")
def digits():
    return read_images(Path("digits"))


def test_the_distance_of_equal_sets_is_nothing(digits):
    features = shipped().features(digits.images)
    assert frechet(features, features) == pytest.approx(0, abs=1e-9)
    # The order of the rows does not matter.
    assert frechet(features, features[::-1]) == pytest.approx(0, abs=1e-9)


def test_neighbours_by_hand():
    """Radii to the third neighbour on a line: of 0, 1, 2, 3 these are 3, 2, 2, 3."""
    others = np.array([[0.0], [1.0], [2.0], [3.0]])
    points = np.array([[-3.0], [-3.1], [1.5], [6.0], [6.1]])
    assert _covered(points, others) == pytest.approx(3 / 5)
    assert math.isnan(_covered(points, others[:3]))


def test_the_classifier_knows_digits_it_has_not_seen(digits):
    """At least 98 % of the rows that neither it nor the shipped generators were trained on."""
    held = hold_out(len(digits), 0.1, 0)
    right = shipped().classes(digits.images[held]) == digits.classes[held]
    assert right.mean() >= 0.98


def test_other_shapes_have_no_class():
    found = shipped().classes([np.zeros((8, 8), np.uint8), np.zeros((4, 4), np.uint8)])
    assert np.isnan(found).tolist() == [False, True]
    with pytest.raises(MoldiffError, match="got 4 x 4 pixels, the features are those of 8 x 8"):
        shipped().features(np.zeros((1, 4, 4), np.uint8))


def test_the_reference_beside_itself(tmp_path, digits):
    np.save(tmp_path / "all.npy", digits.images)
    found = evaluate(tmp_path / "all.npy")
    facts = found.summary
    assert facts["frechet_digits"] == pytest.approx(0, abs=1e-9)
    assert (facts["precision"], facts["recall"], facts["uniqueness"], facts["novelty"]) == (1, 1, 1, 0)
    assert sum(kind["share"] for kind in facts["classes"].values()) == pytest.approx(1)
    assert facts["agreement"] is None
    assert json.loads(found.to_json()) == facts
    assert len(found) == len(digits)


def test_noise_is_far_and_new(tmp_path):
    np.save(tmp_path / "noise.npy", np.random.default_rng(0).integers(0, 256, (200, 8, 8), dtype=np.uint8))
    facts = evaluate(tmp_path / "noise.npy").summary
    assert facts["frechet_digits"] > 10 * facts["frechet_digits_se"] > 0
    assert facts["novelty"] == 1
    assert facts["recall"] < 0.2
    assert evaluate(tmp_path / "noise.npy", seed=0).summary == facts


@pytest.mark.parametrize("told", ["column", "summary", "caller"])
def test_agreement_is_with_the_class_asked(told, tmp_path, digits):
    images, kinds = digits.images[:40], digits.classes[:40].astype(int)
    path, asked = tmp_path / "a.csv", None
    frame = pd.DataFrame({"raw": [spell(image) for image in images]})
    if told == "column":
        goals = [*map(str, kinds[:30]), *[""] * 5, *map(str, (kinds[35:] + 1) % 10)]
        frame["target_class"] = goals
    frame.to_csv(path, index=False)
    if told == "summary":
        (tmp_path / "a.csv.json").write_text(json.dumps({"targets": ["class=3"]}))
    if told == "caller":
        asked = 3
    facts = evaluate(path, asked=asked).summary
    expected = (30, 35) if told == "column" else (int((kinds == 3).sum()), 40)
    assert facts["asked"] == expected[1]
    assert facts["agreement"] == pytest.approx(expected[0] / expected[1])


def test_other_shapes_have_figures_too(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (9, 3, 4), dtype=np.uint8)
    np.save(tmp_path / "a.npy", np.concatenate([images, images[:3]]))
    np.save(tmp_path / "b.npy", images[:6])
    found = evaluate(tmp_path / "a.npy", reference=str(tmp_path / "b.npy"))
    assert found.summary["frechet_digits"] is None
    assert found.summary["uniqueness"] == pytest.approx(9 / 12)
    assert found.summary["novelty"] == pytest.approx(3 / 12)
    assert found.rows[2][:2] == ("frechet digits", "-")
    found.save(tmp_path / "out.csv")
    assert pd.read_csv(tmp_path / "out.csv")["novel"].sum() == 3


def test_refusals(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 3, 4), np.uint8))
    with pytest.raises(MoldiffError, match="got 3 x 4 pixels, the reference has 8 x 8"):
        evaluate(tmp_path / "a.npy")
    with pytest.raises(MoldiffError, match="seed: got -1"):
        evaluate(tmp_path / "a.npy", seed=-1)
    with pytest.raises(MoldiffError, match=r"ends in \.csv"):
        evaluate(tmp_path / "a.npy", reference=str(tmp_path / "a.npy")).save(tmp_path / "a.json")
