"""The benchmark from fragments: the shipped drugs, and its figures on draws that were made by hand."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from rdkit import Chem
from rdkit.Chem import Descriptors

from moldiff.benchmarks import fragments
from moldiff.benchmarks.fragments import FIGURES, TASKS, Drug, drugs, figures, run
from moldiff.chem.cores import attachments, keeps
from moldiff.chem.fingerprints import morgan
from moldiff.errors import MoldiffError

#: Molar masses of the free bases, g/mol, from their labels.
MASSES = {
    "imatinib": 493.60,
    "erlotinib": 393.44,
    "celecoxib": 381.37,
    "haloperidol": 375.86,
    "donepezil": 379.49,
    "sildenafil": 474.58,
    "risperidone": 410.48,
    "linezolid": 337.35,
    "pioglitazone": 356.44,
    "sitagliptin": 407.31,
}
#: The one stereo centre that the active form has.
CENTRES = {"linezolid": "S", "sitagliptin": "R"}


@pytest.fixture(scope="module")
def shipped() -> list[Drug]:
    return drugs()


def test_the_shipped_drugs_are_what_they_are_called(shipped: list[Drug]) -> None:
    assert {each.name for each in shipped} == MASSES.keys()
    for each in shipped:
        mol = Chem.MolFromSmiles(each.smiles)
        assert Descriptors.MolWt(mol) == pytest.approx(MASSES[each.name], abs=0.02), each.name
        centres = [label for _, label in Chem.FindMolChiralCenters(mol, useLegacyImplementation=False)]
        assert centres == ([CENTRES[each.name]] if each.name in CENTRES else []), each.name


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_core_is_part_of_its_drug_with_something_at_each_point(
    task: fragments.Task, shipped: list[Drug]
) -> None:
    for each in shipped:
        core = getattr(each, task.core)
        assert keeps(core)(each.smiles), each.name
        assert attachments(core) >= task.points, each.name
        whole = Chem.MolFromSmiles(each.smiles)
        for piece in core.split("."):
            # With the points as any heavy atom, so the drug is substituted where they are.
            query = Chem.AdjustQueryProperties(Chem.MolFromSmiles(piece), any_atom_points())
            assert whole.HasSubstructMatch(query), (each.name, piece)
            assert query.GetNumHeavyAtoms() < whole.GetNumHeavyAtoms()


def any_atom_points() -> Chem.AdjustQueryParameters:
    query = Chem.AdjustQueryParameters.NoAdjustments()
    query.makeDummiesQueries = True
    return query


def test_figures_of_a_draw_counted_by_hand() -> None:
    drug, core = "Cc1ccccc1", "[*]c1ccccc1"
    # Kept: benzene, toluene twice. A ring that is lost, two pieces, and what is no molecule.
    raw = ["c1ccccc1", "Cc1ccccc1", "c1ccccc1C", "C1CCCCC1", "c1ccccc1.C", "C(", "CC", "c1ccc"]
    found = figures(raw, core, drug)
    assert found["validity"] == 6 / 8
    assert found["retained"] == 3 / 8
    assert found["uniqueness"] == pytest.approx(2 / 3)
    assert found["quality"] == 0.0  # of QED below 0.6, both
    assert found["distance"] == pytest.approx((1 - tanimoto("c1ccccc1", drug)) / 2)
    assert found["diversity"] == pytest.approx(1 - tanimoto("c1ccccc1", drug, 2048))


def test_quality_counts_distinct_molecules_of_all_that_were_drawn() -> None:
    celecoxib = "Cc1ccc(-c2cc(C(F)(F)F)nn2-c2ccc(S(N)(=O)=O)cc2)cc1"
    found = figures([celecoxib, celecoxib, "CCO", "C("], "[*]c1ccc(S(N)(=O)=O)cc1", celecoxib)
    assert (found["retained"], found["uniqueness"], found["quality"]) == (0.5, 0.5, 0.25)
    assert found["distance"] == 0.0
    assert math.isnan(found["diversity"])


def test_nothing_kept_has_no_diversity_and_no_distance() -> None:
    found = figures(["CC", "C("], "[*]c1ccccc1", "Cc1ccccc1")
    assert (found["validity"], found["retained"], found["quality"]) == (0.5, 0.0, 0.0)
    assert all(math.isnan(found[name]) for name in ("uniqueness", "diversity", "distance"))


def tanimoto(first: str, second: str, size: int = 1024) -> float:
    a, b = (set(morgan([text], size).bits.indices.tolist()) for text in (first, second))
    return len(a & b) / len(a | b)


@pytest.fixture
def drawer(shipped: list[Drug]):
    """Draws the drugs themselves, and with them what breaks; counts its calls."""
    calls: list[tuple[str, str, int, int]] = []

    def draw(verb: str, core: str, n: int, seed: int) -> Sequence[str]:
        calls.append((verb, core, n, seed))
        return [each.smiles for each in shipped if keeps(core)(each.smiles)][:1] + ["C("] * (n - 1)

    draw.calls = calls  # type: ignore[attr-defined]
    return draw


def test_a_run_asks_each_task_of_each_drug_and_goes_on_where_it_was(drawer, shipped, tmp_path: Path) -> None:
    two = shipped[:2]
    found = run(drawer, two, 4, [0], tmp_path, asked={"model": "m"})
    assert found.frame["task"].tolist() == [task.name for task in TASKS]
    assert (found.frame["retained"] == 0.25).all()
    assert (found.frame["drawn"] == 8).all()
    assert (found.frame[["distance", "distance_se"]] == 0).all().all()
    asked = [(t.verb, getattr(d, t.core), 4, 0) for t in TASKS for d in two]
    assert drawer.calls == asked
    run(drawer, two, 4, [0, 1], tmp_path, asked={"model": "m"})
    assert drawer.calls == asked + [(*call[:3], 1) for call in asked]
    table = pd.read_csv(tmp_path / fragments.DRUGS)
    assert len(table) == 10
    assert set(FIGURES) <= set(table)
    with pytest.raises(MoldiffError, match='holds runs with model "m", not "other"'):
        run(drawer, two, 4, [0], tmp_path, asked={"model": "other"})


def test_means_are_over_drugs(tmp_path: Path) -> None:
    both = [
        Drug("a", "Cc1ccccc1", "[*]C.[*]c1ccccc1", "[*]c1ccccc1", "[*]c1ccccc1", "c1ccccc1"),
        Drug("b", "CC1CCCCC1", "[*]C.[*]C1CCCCC1", "[*]C1CCCCC1", "[*]C1CCCCC1", "C1CCCCC1"),
    ]
    # The second drug's cores are kept by none.
    found = run(lambda verb, core, n, seed: ["Cc1ccccc1"] * n, both, 2, [3], tmp_path, asked={}).frame
    assert (found["validity"] == 1).all()
    assert (found["retained"] == 0.5).all()
    assert (found["retained_se"] == 0.5).all()
    # One drug has a distance, so there is a mean and no error.
    assert (found["distance"] == 0).all()
    assert found["distance_se"].isna().all()


def test_a_draw_of_another_number_is_refused(shipped, tmp_path: Path) -> None:
    with pytest.raises(MoldiffError, match="link: got 1 strings"):
        run(lambda verb, core, n, seed: ["C"], shipped[:1], 2, [0], tmp_path, asked={})


HEADER = "name,smiles,linker_fragments,motif,scaffold,superstructure\n"
GOOD = "t,Cc1ccccc1,[*]C.[*]c1ccccc1,[*]c1ccccc1,[*]c1ccccc1,c1ccccc1\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "got no column name, smiles"),
        (HEADER, "it has no row"),
        ("name,smiles\na,C\n", "got no column linker_fragments, motif, scaffold, superstructure"),
        (HEADER + GOOD + GOOD, "got 't' twice"),
        (HEADER + GOOD.replace("Cc1ccccc1", "C("), "which is not a valid SMILES"),
        (HEADER + GOOD.replace("[*]c1ccccc1,c1", "[*]c1ccncc1,c1"), "scaffold '.*' , which is no part"),
        (HEADER + GOOD.replace("[*]C.", "C."), "with 1 attachment points, linker design needs 2"),
        (HEADER + "t,CC\n", "linker_fragments: core: got ''"),
        (HEADER + GOOD.replace(",c1ccccc1\n", ",[*]\n"), "nothing but attachment points"),
    ],
)
def test_tables_that_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "drugs.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(MoldiffError, match=message.replace(" ,", ",")):
        drugs(path)


def test_a_good_table_is_read(tmp_path: Path) -> None:
    path = tmp_path / "drugs.csv"
    path.write_text(HEADER + GOOD, "utf-8")
    assert [each.name for each in drugs(path)] == ["t"]


def test_a_damaged_draw_is_drawn_again(drawer, shipped, tmp_path: Path) -> None:
    run(drawer, shipped[:1], 2, [0], tmp_path, asked={})
    victim = tmp_path / fragments.DRAWS / "extend-1-seed-0.json"
    kept = json.loads(victim.read_text("utf-8"))
    victim.write_text('{"raw": ["C', "utf-8")
    run(drawer, shipped[:1], 2, [0], tmp_path, asked={})
    assert json.loads(victim.read_text("utf-8")) == kept
    assert len(drawer.calls) == len(TASKS) + 1
