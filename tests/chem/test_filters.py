"""Filters: textbook molecules that each rejects and lets pass, what is spelt how, and what nothing passes."""

from pathlib import Path

import numpy as np
import pytest

from moldiff.chem import oracles
from moldiff.chem.filters import FILTERS, UNREADABLE, Bound, Filters, Pattern, bound, counted, read_patterns
from moldiff.chem.molecule import MIN_CHUNK
from moldiff.errors import MoldiffError

QUINONE = "O=C1C=CC(=O)C=C1"
ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"
#: C32 with an acid at either end: rotatable bonds, weight and log P beyond every rule.
LONG = "OC(=O)" + "C" * 32 + "C(=O)O"
SUCROSE = "OCC1OC(OC2(CO)OC(CO)C(O)C2O)C(O)C(O)C1O"


@pytest.mark.parametrize(
    ("name", "smiles", "verdict"),
    [
        ("pains", QUINONE, "pains (quinone_A)"),
        ("pains", ASPIRIN, None),
        ("brenk", "CCBr", "brenk (alkyl_halide)"),
        ("brenk", "CCO", None),
        ("nih", "CC(=O)Cl", "nih (carbonyl_halide)"),
        ("nih", "CCO", None),
        ("lipinski", ASPIRIN, None),
        # One of the four limits may be exceeded, as in the paper: here log P, then donors and acceptors.
        ("lipinski", "C" * 20, None),
        ("lipinski", SUCROSE, "lipinski (donors 8, acceptors 11)"),
        ("veber", ASPIRIN, None),
        ("veber", LONG, "veber (rotatable_bonds 33)"),
        ("veber", SUCROSE, "veber (tpsa 189.5)"),
    ],
)
def test_textbook_molecules(name: str, smiles: str, verdict: str | None) -> None:
    assert Filters.of([name])([smiles]) == [verdict]


@pytest.mark.parametrize("name", ["pains", "brenk", "nih"])
def test_an_alert_rejects_where_its_oracle_counts_one(name: str, textbook: Path) -> None:
    smiles = [line.split()[0] for line in textbook.read_text("utf-8").splitlines() if line]
    alerts = oracles.score(smiles, [name])[name]
    verdicts = Filters.of([name])(smiles)
    rejected = [verdict is not None and verdict != UNREADABLE for verdict in verdicts]
    assert rejected == (alerts > 0).tolist()
    assert 0 < sum(rejected) < len(smiles)


def test_the_first_in_the_order_of_the_labels_rejects() -> None:
    found = Filters.of(["brenk,pains", "sa<=2 , mw < 200"])
    assert found.labels == ["sa<=2", "mw<200", "brenk", "pains"]
    smiles = [QUINONE, ASPIRIN, "CCO", None, "C1CC", LONG]
    verdicts = found(smiles)
    assert verdicts[0].startswith("sa<=2 (")  # type: ignore[union-attr]
    assert verdicts[1:5] == ["brenk (phenol_ester)", None, UNREADABLE, UNREADABLE]
    assert verdicts[5] == "mw<200 (538.9)"
    assert counted(verdicts) == {"sa<=2": 1, "brenk": 1, "mw<200": 1, UNREADABLE: 2}
    assert Filters()(smiles) == [None, None, None, UNREADABLE, None, None]


def test_what_is_known_is_not_computed_again() -> None:
    found = Filters.of(["sa<=3"])
    assert found(["CCO", "CCO"], {"sa": np.array([9.0, 1.0])}) == ["sa<=3 (9)", None]


def test_a_property_without_a_value_rejects() -> None:
    assert Filters.of(["qed>=0"])(["[H][H]"], {"qed": np.array([np.nan])}) == ["qed>=0 (not defined)"]


def test_two_processes_say_what_one_does() -> None:
    found = Filters.of(["brenk,veber", "sa<=4"])
    smiles = ["CCO", "CCBr", LONG, QUINONE, None] * MIN_CHUNK
    assert found(smiles, workers=2) == found(smiles)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("sa<=4", Bound("sa", "<=", 4.0)),
        (" qed >= 0.5 ", Bound("qed", ">=", 0.5)),
        ("logp>-1e0", Bound("logp", ">", -1.0)),
        ("similarity:C=CC<0.4", Bound("similarity:C=CC", "<", 0.4)),
        ("pains", None),
    ],
)
def test_how_a_bound_is_spelt(text: str, wanted: Bound | None) -> None:
    assert bound(text) == wanted


def test_a_comma_in_brackets_parts_nothing() -> None:
    assert Filters.of(["smarts:[Cl,Br]C<1,pains"]).labels == ["smarts:[Cl,Br]C<1", "pains"]
    assert Filters.of(["smarts:[Cl,Br]C<1"])(["CCCl", "CCF"]) == ["smarts:[Cl,Br]C<1 (1)", None]


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["pain"], "unknown filter: got 'pain' (pains?), choose from pains, brenk, nih, lipinski, veber"),
        ([""], "unknown filter: got ''"),
        (["hue<=1"], "unknown property: got 'hue'"),
        (["sa<=low"], "write PROPERTY<=NUMBER"),
        (["sa<=nan"], "write PROPERTY<=NUMBER"),
        (["sa<=inf"], "write PROPERTY<=NUMBER"),
        (["sa<=0.9"], "got sa<=0.9, which nothing passes: sa is 1 to 10"),
        (["sa<1"], "got sa<1, which nothing passes"),
        (["sa>10"], "got sa>10, which nothing passes"),
        (["qed>=1.1"], "got qed>=1.1, which nothing passes: qed is 0 to 1"),
        (["mw<0"], "got mw<0, which nothing passes: mw is 0 or more"),
        (["logp>=3", "logp<=1"], "got logp>=3 and logp<=1, which nothing passes"),
        (["logp>2,logp<=2"], "got logp>2 and logp<=2, which nothing passes"),
        (["logp>=2,logp>2,logp<=2"], "got logp>2 and logp<=2, which nothing passes"),
        (["scaffold:CCO>=1"], "which has no ring"),
    ],
)
def test_what_is_no_filter_or_what_nothing_passes_is_refused(texts: list[str], says: str) -> None:
    with pytest.raises(MoldiffError) as caught:
        Filters.of(texts)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bounds_that_meet_in_a_point_are_let_be() -> None:
    assert Filters.of(["sa<=1", "ring_count>=2,ring_count<=2"])(["C1CC1"]) == ["sa<=1 (1.014)"]


def test_a_file_of_patterns(tmp_path: Path) -> None:
    path = tmp_path / "bad.smarts"
    path.write_text("# mine\n\nC#N  nitrile or worse # why\n[#6]O[#6]\n\t#[x]\n[OX1]=C #\n", "utf-8")
    assert read_patterns(path) == (
        Pattern("nitrile or worse", "C#N"),
        Pattern("[#6]O[#6]", "[#6]O[#6]"),
        Pattern("[OX1]=C", "[OX1]=C"),
    )
    found = Filters.of([], path)
    assert found(["CC#N", "COC", "CC=O", "CCO"]) == [
        "smarts (nitrile or worse)",
        "smarts ([#6]O[#6])",
        "smarts ([OX1]=C)",
        None,
    ]
    assert found.labels == ["smarts"]


def test_what_fixes_a_file_of_patterns_is_what_it_says(tmp_path: Path) -> None:
    texts = ("C#N nitrile\n", "# again\nC#N   nitrile\n", "C#N cyanide\n")
    facts = []
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.smarts").write_text(text, "utf-8")
        facts.append(Filters.of(["pains"], tmp_path / f"{number}.smarts").facts())
    assert facts[0] == facts[1]
    assert facts[0]["patterns"] == 1
    assert facts[0]["patterns_sha256"] != facts[2]["patterns_sha256"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"CCO\nC(C ether\n", "line 2: got 'C(C', which is not a SMARTS pattern"),
        (b"# nothing\n\n", "has no pattern"),
        (b"\xff\xfe", "is not UTF-8 text: byte 0"),
        (None, "No such file"),
    ],
)
def test_a_file_that_is_none_of_patterns_is_refused(data: bytes | None, says: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.smarts"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(MoldiffError) as caught:
        Filters.of(["pains"], path)
    assert str(path) in str(caught.value)
    assert says in str(caught.value)


def test_every_named_filter_has_a_line_of_description() -> None:
    assert all(name == row.name and row.description for name, row in FILTERS.items())


def test_no_value_is_beyond_what_an_oracle_says_it_can_be(textbook: Path) -> None:
    smiles = [line.split()[0] for line in textbook.read_text("utf-8").splitlines() if line]
    for name, values in oracles.score(smiles, list(oracles.BUILT_IN)).items():
        known = values[np.isfinite(values)]
        assert known.min() >= oracles.oracle(name).least, name
        assert known.max() <= oracles.oracle(name).most, name
