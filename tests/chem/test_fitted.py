"""Fitted oracles: what scikit-learn fitted, in arrays of our own; their errors; and what a file may hold."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import RidgeCV
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.model_selection import KFold

from moldiff.chem import fitted
from moldiff.chem.estimators import ESTIMATORS, Forest, Ridge
from moldiff.chem.fitted import Fingerprint, Fitted, Plan, fit, read_card
from moldiff.chem.molecule import canonical
from moldiff.chem.scoring import score
from moldiff.errors import MoldiffError

#: Chains with one other atom in each place, and how many atoms they have beside twice the oxygens.
SMILES = sorted(
    {
        str(canonical("C" * place + atom + "C" * (length - place)))
        for length in range(1, 8)
        for place in range(length + 1)
        for atom in "NOS"
    }
)
VALUES = [len(text) + 2.0 * text.count("O") for text in SMILES]
SMALL = Fingerprint(size=64)


def counts(smiles: list[str]) -> NDArray[np.float32]:
    return SMALL(smiles)


def reference(name: str) -> Any:
    """The regressor itself, as scikit-learn makes it."""
    if name == "ridge":
        return RidgeCV(**Ridge.settings)
    return RandomForestRegressor(**Forest.settings, random_state=3)


@cache
def example(estimator: str) -> Fitted:
    plan = Plan("size", "y", "atoms", False, estimator, SMALL, folds=4, seed=3, source="made.csv")
    return fit(SMILES, VALUES, plan, rejects={"valence": 2})


@pytest.fixture(params=ESTIMATORS)
def made(request: pytest.FixtureRequest) -> Fitted:
    return example(request.param)


def test_predictions_are_those_of_scikit_learn(made: Fitted) -> None:
    features = counts(SMILES)
    other = counts(["CCCCCCCCCC", "OCC(O)CO", "c1ccccc1", "CCN(CC)CC"])
    theirs = reference(made.card.estimator).fit(features.astype(float), np.array(VALUES))
    for asked in (features, other):
        expected = theirs.predict(asked.astype(float))
        np.testing.assert_allclose(made.estimator.predict(asked), expected, rtol=0, atol=1e-9)


def test_errors_are_those_of_the_folds(made: Fitted) -> None:
    features, targets = counts(SMILES), np.array(VALUES)
    maes, r2s, plain = [], [], []
    for kept, held in KFold(4, shuffle=True, random_state=3).split(features):
        theirs = reference(made.card.estimator).fit(features[kept], targets[kept]).predict(features[held])
        maes.append(mean_absolute_error(targets[held], theirs))
        r2s.append(r2_score(targets[held], theirs))
        plain.append(mean_absolute_error(targets[held], np.full(len(held), targets[kept].mean())))
    errors = made.card.errors
    found = (errors.mae, errors.mae_se, errors.r2, errors.r2_se, errors.mae_of_mean)
    expected = (
        np.mean(maes),
        np.std(maes, ddof=1) / 2,
        np.mean(r2s),
        np.std(r2s, ddof=1) / 2,
        np.mean(plain),
    )
    np.testing.assert_allclose(np.array(found, dtype=float), expected, rtol=1e-6, atol=1e-9)
    assert errors.mae < errors.mae_of_mean


def test_a_file_gives_the_same_oracle_and_card(made: Fitted, tmp_path: Path) -> None:
    path = tmp_path / "size.safetensors"
    made.save(path)
    again = Fitted.load(path)
    assert again.card == made.card == read_card(path)
    np.testing.assert_array_equal(again(SMILES), made(SMILES))
    card = again.card
    assert (card.name, card.target, card.unit, card.maximize) == ("size", "y", "atoms", False)
    assert (card.molecules, card.merged, card.left_out) == (len(SMILES), 0, {"valence": 2})
    assert (card.minimum, card.maximum) == (min(VALUES), max(VALUES))
    assert set(card.versions) == {"rdkit", "moldiff", "scikit-learn", "numpy"}


def test_it_scores_by_its_file_under_its_name(made: Fitted, tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    made.save(path)
    found = score(["OCC", "CCN", "C("], [str(path), f"again={path}"])
    assert list(found.values) == ["size", "again"]
    np.testing.assert_array_equal(found.values["size"], [*made(["CCO", "CCN"]), np.nan])
    np.testing.assert_array_equal(found.values["size"], found.values["again"])
    assert found.units == {"size": "atoms", "again": "atoms"}
    assert found.maximize == {"size": False, "again": False}
    assert found.notes == ()


def test_another_version_is_told(made: Fitted, tmp_path: Path) -> None:
    path = tmp_path / "old.safetensors"
    card = made.card.model_copy(update={"versions": {**made.card.versions, "rdkit": "2019.03.1"}})
    Fitted(card, made.estimator).save(path)
    (note,) = score(["CCO"], [str(path), f"again={path}"]).notes
    assert note.startswith("size: fitted with RDKit 2019.03.1, this is ")


def test_repeats_are_averaged_and_missing_values_left_out() -> None:
    values = [*VALUES, VALUES[0] + 4, np.nan, np.inf]
    plan = Plan("size", fingerprint=SMALL, estimator="ridge")
    card = fit([*SMILES, SMILES[0], "CCCCCCCCC", "O"], values, plan).card
    assert (card.molecules, card.merged, card.left_out) == (len(SMILES), 1, {"no value": 2})
    assert card.mean == pytest.approx((sum(VALUES) + 2) / len(VALUES))


def test_the_same_seed_gives_the_same_oracle(made: Fitted) -> None:
    plan = Plan("size", estimator=made.card.estimator, fingerprint=SMALL, folds=4, seed=3)
    again = fit(SMILES, VALUES, plan, workers=2)
    np.testing.assert_array_equal(again(SMILES), made(SMILES))
    assert again.card.errors == made.card.errors


def test_a_fold_without_spread_has_no_r2() -> None:
    values = [0.0] * (len(SMILES) - 1) + [1.0]
    errors = fit(SMILES, values, Plan("rare", estimator="ridge", fingerprint=SMALL)).card.errors
    assert errors.r2 is errors.r2_se is None
    assert errors.mae >= 0


@pytest.mark.parametrize(
    ("smiles", "values", "plan", "message"),
    [
        (SMILES, VALUES[1:], {}, f"got {len(SMILES)} molecules and values of shape"),
        (SMILES[:9], VALUES[:9], {}, "got 9 molecules with values and 5 folds"),
        (SMILES, VALUES, {"folds": 1}, "needs 2 folds or more"),
        (SMILES, [3.0] * len(SMILES), {"target": "y"}, "all values of y are 3"),
        (SMILES, [1e200, *VALUES[1:]], {}, r"got a value of 1e\+200, at most 1e\+100"),
        (
            SMILES,
            VALUES,
            {"estimator": "oracle-of-delphi"},
            "unknown estimator: .* choose from forest, ridge",
        ),
        (["C("] * len(SMILES), VALUES, {"folds": 2}, "got 1 molecules"),
        (["C(", *SMILES[1:]], VALUES, {}, r"got 'C\(', which is not a valid SMILES"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    smiles: list[str], values: list[float], plan: dict[str, Any], message: str
) -> None:
    with pytest.raises(MoldiffError, match=message):
        fit(smiles, values, Plan("size", **{"fingerprint": SMALL, **plan}))


def test_a_fingerprint_out_of_range_is_refused() -> None:
    with pytest.raises(MoldiffError, match="fingerprint size: got 3, Input should be greater"):
        fitted.fingerprint(2, 3)


def parts(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    with safe_open(path, framework="numpy") as file:
        names = file.keys()
        return {name: file.get_tensor(name) for name in names}, json.loads(file.metadata()["moldiff_oracle"])


def first(array: NDArray[Any], value: float) -> NDArray[Any]:
    out = array.copy()
    out[0] = value
    return out


ARRAYS: dict[str, tuple[str, Any]] = {
    "a root is missing": ("forest", lambda a: {"roots": a["roots"][:0]}),
    "a root out of range": ("forest", lambda a: {"roots": first(a["roots"], len(a["left"]))}),
    "a root below 0": ("forest", lambda a: {"roots": first(a["roots"], -1)}),
    "a child out of range": ("forest", lambda a: {"right": first(a["right"], len(a["left"]))}),
    "a child that is its parent's parent": ("forest", lambda a: {"left": np.zeros_like(a["left"])}),
    "half a leaf": ("forest", lambda a: {"left": first(a["left"], 0)}),
    "a feature out of range": ("forest", lambda a: {"feature": first(a["feature"], 64)}),
    "a feature below 0": ("forest", lambda a: {"feature": first(a["feature"], -1)}),
    "a threshold that is nan": ("forest", lambda a: {"threshold": first(a["threshold"], np.nan)}),
    "a value that is inf": ("forest", lambda a: {"value": first(a["value"], np.inf)}),
    "too few values": ("forest", lambda a: {"value": a["value"][1:]}),
    "another type": ("forest", lambda a: {"value": a["value"].astype(np.float32)}),
    "a table of values": ("forest", lambda a: {"value": a["value"][None]}),
    "too few weights": ("ridge", lambda a: {"weights": a["weights"][1:]}),
    "two intercepts": ("ridge", lambda a: {"intercept": np.ones(2)}),
    "no intercept": ("ridge", lambda a: {"intercept": None}),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_damaged_arrays_are_refused(name: str, tmp_path: Path) -> None:
    kind, change = ARRAYS[name]
    path = tmp_path / "made.safetensors"
    example(kind).save(path)
    arrays, card = parts(path)
    changed = {key: value for key, value in {**arrays, **change(arrays)}.items() if value is not None}
    save_file(changed, path, metadata={"moldiff_oracle": json.dumps(card)})
    with pytest.raises(MoldiffError, match="its arrays are damaged"):
        Fitted.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "its card is damaged .format: "),
        ({"estimator": "magic"}, "unknown estimator in .*: got 'magic', choose from forest, ridge"),
        ({"extra": 1}, "its card is damaged .extra: "),
        ({"mean": "high"}, "its card is damaged .mean: "),
        ({"fingerprint": {"radius": 99, "size": 64}}, "its card is damaged .fingerprint.radius: "),
        ({"estimator": "forest"}, "its arrays are damaged"),
    ],
)
def test_a_damaged_card_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "made.safetensors"
    example("ridge").save(path)
    arrays, card = parts(path)
    save_file(arrays, path, metadata={"moldiff_oracle": json.dumps({**card, **change})})
    with pytest.raises(MoldiffError, match=message):
        Fitted.load(path)


@pytest.mark.parametrize("text", [b"", b"\x80\x04K\x01.", b"{}", b"\xff" * 100])
def test_what_is_no_oracle_is_refused(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "made.safetensors"
    path.write_bytes(text)
    with pytest.raises(MoldiffError, match=r"oracle .*made\.safetensors: cannot be read"):
        Fitted.load(path)
    save_file({"x": np.ones(1)}, path)
    with pytest.raises(MoldiffError, match="no oracle that moldiff fitted"):
        Fitted.load(path)


def test_a_path_that_is_not_its_own_kind_is_refused(made: Fitted, tmp_path: Path) -> None:
    with pytest.raises(MoldiffError, match=r"got .*size\.pkl, a fitted oracle ends in \.safetensors"):
        made.save(tmp_path / "size.pkl")
    with pytest.raises(MoldiffError, match=r"cannot write .*size\.safetensors: No such file"):
        made.save(tmp_path / "missing" / "size.safetensors")
    with pytest.raises(MoldiffError, match="there is no such file"):
        Fitted.load(tmp_path)
