"""The search loop: what counts as a call, what is free, and when it ends."""

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from moldiff.errors import MoldiffError
from moldiff.optimization.calls import Call, Journal
from moldiff.optimization.loop import IDLE, Judge, Search
from moldiff.optimization.objective import Objective, Worth
from moldiff.optimization.population import best, by_rank, by_worth
from moldiff.optimization.proposer import Genetic

Run = Callable[..., Any]


class Listed:
    """Proposes what it is given, generation by generation, and then the last again and again."""

    population, alike, offspring = 10, None, 5

    def __init__(self, *generations: Sequence[str]) -> None:
        self.generations, self.asked = list(generations), []  # type: ignore[var-annotated]

    def propose(self, parents: Sequence[str], scores: Sequence[float], n: int, seed: int) -> list[str]:
        self.asked.append((list(parents), list(scores), n, seed))
        return list(self.generations.pop(0) if len(self.generations) > 1 else self.generations[0])

    def identity(self) -> dict[str, Any]:
        return {}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def search(proposer: Any, start: Sequence[str], budget: int, resume: bool = False) -> Any:
        with (
            Objective("heavy_atoms") as objective,
            Journal(tmp_path / "journal.jsonl", {"of": "a test"}, resume=resume) as journal,
        ):
            return Search(proposer, Judge(objective, {}), journal, budget, seed=0).run(start)

    return search


def call(smiles: str, value: float) -> Call:
    return Call(smiles, Worth(value, (value,), None))


def test_a_call_is_a_new_sane_molecule_and_all_else_is_free(run: Run) -> None:
    proposer = Listed(["OCC", "C(", "CC.C", "CCCC", "C(CC)C", "C[CH2]"], ["CCN"])
    ending = run(proposer, ["CCO", "CCC", "OCC"], 5)
    # Another spelling is a repeat; half a string, two pieces and a radical are no molecules.
    assert [each.smiles for each in ending.calls] == ["CCO", "CCC", "CCCC", "CCN"]
    assert [each.worth.value for each in ending.calls] == [3.0, 3.0, 4.0, 3.0]
    last = ending.last
    assert ending.why == "idle"
    assert last.calls == 4
    assert last.proposed == 3 + 6 + 1 + IDLE
    assert last.invalid == 3
    assert last.repeats == 1 + 2 + IDLE
    assert last.generation == 2 + IDLE


def test_the_proposer_is_given_the_best_first(run: Run) -> None:
    proposer = Listed(["CCCC"], ["CCN"])
    run(proposer, ["CCO", "C"], 4)
    assert proposer.asked[0][:3] == (["CCO", "C"], [3.0, 1.0], 5)
    assert proposer.asked[1][0] == ["CCCC", "CCO", "C"]
    assert proposer.asked[0][3] != proposer.asked[1][3]


def test_the_budget_cuts_a_generation_and_a_larger_one_goes_on_with_it(run: Run) -> None:
    generations = (["CCCC", "CCN", "CCF"], ["CCCl"])
    ending = run(Listed(*generations), ["CCO"], 3)
    assert [each.smiles for each in ending.calls] == ["CCO", "CCCC", "CCN"]
    assert ending.why == "budget"
    proposer = Listed(*generations)
    ending = run(proposer, ["CCO"], 5, resume=True)
    assert [each.smiles for each in ending.calls] == ["CCO", "CCCC", "CCN", "CCF", "CCCl"]
    # What the first proposals were made of was the start set alone.
    assert proposer.asked[0][0] == ["CCO"]


def test_a_smaller_budget_shows_the_first_calls(run: Run) -> None:
    run(Listed(["CCCC", "CCN"]), ["CCO"], 3)
    assert [each.smiles for each in run(Listed([]), ["CCO"], 2, resume=True).calls] == ["CCO", "CCCC"]


def test_a_smaller_budget_asks_for_nothing_more(run: Run, tmp_path: Path) -> None:
    alkanes = ["C" * n for n in range(2, 40)]
    run(Listed(alkanes), alkanes, 20)
    # The journal ends inside the start, of which there is more.
    asked = (tmp_path / "journal.jsonl").read_bytes()
    assert len(run(Listed(alkanes), alkanes, 8, resume=True).calls) == 8
    assert (tmp_path / "journal.jsonl").read_bytes() == asked


def test_pieces_grow_with_what_was_asked_alone() -> None:
    known = ["C" * n for n in range(2, 80)]
    asked: list[int] = []

    def objective(molecules: Sequence[str]) -> list[Worth]:
        asked.append(len(molecules))
        return [Worth(1.0, (1.0,), None)] * len(molecules)

    judge = Judge(objective, {smiles: Worth(0.0, (0.0,), None) for smiles in known})  # type: ignore[arg-type]
    assert sum(len(piece) for piece in judge.ask(known)) == len(known)
    list(judge.ask(["N" + smiles for smiles in known]))
    assert asked[0] == 1  # what nobody has timed is asked one by one at first


def test_a_start_without_a_molecule_is_refused(run: Run) -> None:
    with pytest.raises(MoldiffError, match="start: got no sane molecule"):
        run(Listed(["C"]), ["C("], 3)


def test_a_damaged_journal_is_refused(run: Run, tmp_path: Path) -> None:
    run(Listed(["CCCC"]), ["CCO"], 2)
    path = tmp_path / "journal.jsonl"
    whole = path.read_text()
    path.write_text(whole + '{"odd": 1}\n')
    with pytest.raises(MoldiffError, match="is damaged or of another version"):
        run(Listed(["CCCC"]), ["CCO"], 2, resume=True)
    path.write_text("no json\n")
    with pytest.raises(MoldiffError, match="is damaged or of another version"):
        run(Listed(["CCCC"]), ["CCO"], 2, resume=True)
    assert path.read_text() == "no json\n"


def test_one_run_at_a_time_writes_a_journal(tmp_path: Path) -> None:
    with (
        Journal(tmp_path / "j", {}, resume=False),
        pytest.raises(MoldiffError, match="is being written by another run"),
    ):
        Journal(tmp_path / "j", {}, resume=True)


def test_no_scaffold_takes_more_than_its_share_of_the_best() -> None:
    calls = [call(f"c1ccccc1{'C' * n}", 9 - n) for n in range(5)] + [call("CCO", 2), call("C1CC1", 1)]
    assert [each.smiles for each in best(calls, 4, alike=2)] == ["c1ccccc1", "c1ccccc1C", "CCO", "C1CC1"]
    assert best(calls, 3) == calls[:3]
    assert best([call("C", 1), call("CC", 1)], 1)[0].smiles == "C"


def test_the_chances_of_parents() -> None:
    random = Random(0)
    places = by_worth([3.0, 0.0, 1.0], 4000, random)
    # 3 in 4 with a standard deviation of 0.7 %.
    assert places.count(0) / 4000 == pytest.approx(0.75, abs=0.03)
    assert 1 not in places
    assert set(by_worth([0.0, 0.0], 50, random)) == {0, 1}
    ranks = by_rank(10, 4000, random)
    # The best has 1/0.1 of 1/0.1 + 1/1.1 + ... + 1/9.1 = 12.49, the last 1/9.1.
    assert ranks.count(0) / 4000 == pytest.approx(0.80, abs=0.03)
    assert 0 < ranks.count(9) < 100


def test_the_genetic_algorithm_proposes_the_same_again_and_others_with_another_seed() -> None:
    parents, scores = ["CCOc1ccccc1", "CC(=O)NC1CCCC1", "CCN(C)C"], [0.5, 0.4, 0.1]
    first = Genetic().propose(parents, scores, 20, seed=5)
    assert first == Genetic().propose(parents, scores, 20, seed=5)
    assert first != Genetic().propose(parents, scores, 20, seed=6)
    # A child depends on its own number, not on how many are asked for.
    assert Genetic().propose(parents, scores, 10, seed=5) == first[:10]
    assert len(first) > 15
