"""Scoring: each molecule once, a reason wherever there is no value, whatever an oracle does."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem

import moldiff
from moldiff.chem import scoring
from moldiff.chem.molecule import rdkit_version
from moldiff.chem.oracles import BUILT_IN, ORACLES, oracle
from moldiff.chem.scores import counted
from moldiff.chem.scoring import Scorer, add_columns, score
from moldiff.errors import MoldiffError

Module = Callable[[str], str]
SMILES = ["CCO", "OCC", "C1CCCCC1C", "C(", None, "CC.O", "", "c1ccccc1"]
CANONICAL = ["CCO", "CCO", "CC1CCCCC1", None, None, "CC.O", None, "c1ccccc1"]

#: Each fails for ethanol and gives the length of every other molecule's SMILES.
BAD = {
    "text": ("return ['abc' if x == 'CCO' else len(x) for x in s]", "returned text: 'abc'"),
    "number_as_text": ("return ['3' if x == 'CCO' else len(x) for x in s]", "returned text: '3'"),
    "none": ("return [None if x == 'CCO' else len(x) for x in s]", "returned None"),
    "nan": ("return [float('nan') if x == 'CCO' else len(x) for x in s]", "returned nan"),
    "inf": ("return [1e400 if x == 'CCO' else len(x) for x in s]", "returned an infinite number"),
    "list": ("return [[1.0] if x == 'CCO' else len(x) for x in s]", "returned no number: list"),
    "array": (
        "import numpy; return [numpy.ones(1) if x == 'CCO' else len(x) for x in s]",
        "returned no number: an array of shape (1,)",
    ),
    "fewer": ("return [len(x) for x in s if x != 'CCO']", "returned 0 values for 1"),
    "more": ("return [len(x) for x in s for _ in range(1 + (x == 'CCO'))]", "returned 2 values for 1"),
    "raises": (
        "return [1 / (x != 'CCO') and len(x) for x in s]",
        "raised ZeroDivisionError: division by zero",
    ),
    "exits": ("import sys; 'CCO' in s and sys.exit(1); return [len(x) for x in s]", "raised SystemExit: 1"),
    "scalar": ("return 3 if 'CCO' in s else [len(x) for x in s]", "returned no list: int"),
    "word": ("return 'no' if 'CCO' in s else [len(x) for x in s]", "returned text: 'no'"),
    "dict": ("return {} if 'CCO' in s else [len(x) for x in s]", "returned no list: dict"),
    "table": (
        "import numpy; return numpy.ones((len(s), 1)) if 'CCO' in s else [len(x) for x in s]",
        "returned no list: an array of shape (1, 1)",
    ),
}
FATAL = {
    "sleeps": ("'CCO' in s and time.sleep(3600); return [len(x) for x in s]", "no answer in 2 s"),
    "ends": (
        "'CCO' in s and os._exit(7); return [len(x) for x in s]",
        "the process ended with exit code 7",
    ),
    "killed": (
        "'CCO' in s and os.kill(os.getpid(), 9); return [len(x) for x in s]",
        "the process ended by signal SIGKILL",
    ),
}
MANY = ["C" * n for n in range(1, 40)] + ["CCO"] + ["N" + "C" * n for n in range(1, 40)]


def functions(bodies: dict[str, tuple[str, str]]) -> str:
    return "import os, time\n" + "".join(f"def {name}(s): {body}\n" for name, (body, _) in bodies.items())


@pytest.mark.parametrize("how", [{}, {"workers": 2, "timeout": 60.0}], ids=["here", "pool"])
def test_an_oracle_that_answers_nonsense_costs_that_molecule_alone(
    how: dict[str, float], module: Module
) -> None:
    name = module(functions(BAD))
    found = score(MANY, {key: f"{name}:{key}" for key in BAD}, **how)  # type: ignore[arg-type]
    place = MANY.index("CCO")
    for key, (_, reason) in BAD.items():
        expected = [math.nan if text == "CCO" else len(text) for text in MANY]
        np.testing.assert_array_equal(found.values[key], expected, err_msg=key)
        assert found.reasons[key][place] == reason
        assert found.failures()[key] == {reason.partition(":")[0]: 1}
        assert found.reasons[key].count(None) == len(MANY) - 1


def test_an_oracle_that_hangs_or_ends_its_process_costs_that_molecule_alone(module: Module) -> None:
    name = module(functions(FATAL))
    found = score(MANY, {key: f"{name}:{key}" for key in FATAL}, workers=2, timeout=2.0)
    for key, (_, reason) in FATAL.items():
        expected = [math.nan if text == "CCO" else len(text) for text in MANY]
        np.testing.assert_array_equal(found.values[key], expected, err_msg=key)
        assert found.failures()[key] == {reason: 1}
    assert found.told()[MANY.index("CCO")] == (
        "sleeps: no answer in 2 s; ends: the process ended with exit code 7; "
        "killed: the process ended by signal SIGKILL"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise ValueError('no licence')", "cannot import {} .ValueError: no licence"),
        ("import sys; sys.exit(3)", "cannot import {} .SystemExit: 3"),
        ("import nowhere_to_be_found", "cannot import {} .ModuleNotFoundError"),
        ("def g(s): pass", "there is no f in .*{}.py"),
        ("f = 3", "f is no function"),
    ],
)
@pytest.mark.parametrize("how", [{}, {"timeout": 60.0}], ids=["here", "pool"])
def test_a_function_that_cannot_be_had_is_an_error(
    text: str, message: str, how: dict[str, float], module: Module
) -> None:
    name = module(text)
    with pytest.raises(MoldiffError, match=f"^oracle {name}:f: " + message.format(name)):
        score(["CCO"], [f"{name}:f"], **how)  # type: ignore[arg-type]


def test_an_oracle_that_cannot_be_had_is_told_before_any_work(module: Module) -> None:
    asked: list[str] = []

    def notes(smiles: list[str]) -> list[int]:
        asked.extend(smiles)
        return [1 for _ in smiles]

    with pytest.raises(MoldiffError, match="cannot import nowhere_to_be_found"):
        score(["CCO"], [notes, "nowhere_to_be_found:f"])
    assert asked == []


@pytest.mark.parametrize("how", [{}, {"workers": 2, "timeout": 60.0}], ids=["here", "pool"])
def test_values_are_those_of_the_canonical_spelling_in_order(how: dict[str, float]) -> None:
    names = [*BUILT_IN, "similarity:CCO", "smarts:C", "scaffold:C1CCCCC1"]
    found = score(SMILES, names, scaffold=True, **how)  # type: ignore[arg-type]
    assert found.smiles == CANONICAL
    assert found.unread == [None, None, None, "branch", "missing", None, "empty", None]
    assert found.scaffolds == ["", "", "C1CCCCC1", None, None, "", None, "c1ccccc1"]
    for name in names:
        np.testing.assert_array_equal(found.values[name], oracle(name)(CANONICAL))
        assert found.reasons[name] == [None] * len(SMILES)
    assert found.told() == found.unread
    assert len(found) == len(SMILES)
    assert not found.interrupted


def test_strings_known_to_be_canonical_give_the_same() -> None:
    smiles = [text for text in CANONICAL if text is not None] + ["C("]
    found, again = score(smiles, ["mw"], scaffold=True), Scorer(["mw"], scaffold=True)(smiles, canonical=True)
    assert (again.smiles, again.unread, again.scaffolds) == (found.smiles, found.unread, found.scaffolds)
    np.testing.assert_array_equal(again.values["mw"], found.values["mw"])


def test_each_molecule_is_asked_for_once_and_remembered() -> None:
    asked: list[str] = []

    def length(smiles: list[str]) -> list[int]:
        asked.extend(smiles)
        return [len(text) for text in smiles]

    with Scorer([length, "qed"]) as scorer:
        assert scorer.names == ("length", "qed")
        first = scorer(SMILES)
        # Of two spellings one, and nothing that is not valid.
        assert asked == ["CCO", "CC1CCCCC1", "CC.O", "c1ccccc1"]
        again = scorer(["CO", *SMILES[::-1]])
        assert asked == ["CCO", "CC1CCCCC1", "CC.O", "c1ccccc1", "CO"]
    for name in scorer.names:
        np.testing.assert_array_equal(again.values[name][1:], first.values[name][::-1])


def test_only_so_many_molecules_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "REMEMBERED", 3)
    scorer = Scorer(["mw"])
    for n in range(1, 10):
        assert scorer(["C" * n, "C" * (n + 1)]).values["mw"].tolist() == pytest.approx(
            [14.027 * k + 2.016 for k in (n, n + 1)], abs=1e-2
        )
    assert list(scorer._known) == ["C" * n for n in (8, 9, 10)]


def test_properties_that_fail_take_no_other_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def undefined(mol: object) -> float:
        raise RuntimeError

    broken = type(ORACLES["mw"])("broken", undefined, True, "", "never defined")
    monkeypatch.setitem(BUILT_IN, "broken", broken)
    found = score(["CCO", "C("], ["broken", "mw"])
    assert found.reasons == {"broken": ["not defined", None], "mw": [None, None]}
    assert np.isnan(found.values["broken"]).all()
    assert np.isnan(found.values["mw"]).tolist() == [False, True]


def test_a_built_in_property_that_hangs_takes_no_other_with_it() -> None:
    # A ladder has no ring of odd size, and very many paths that might have become one.
    rungs = 24
    ladder = Chem.RWMol()
    for _ in range(2 * rungs):
        ladder.AddAtom(Chem.Atom(6))
    for rung in range(rungs):
        ladder.AddBond(2 * rung, 2 * rung + 1, Chem.BondType.SINGLE)
        for side in (0, 1) if rung else ():
            ladder.AddBond(2 * rung - 2 + side, 2 * rung + side, Chem.BondType.SINGLE)
    smiles = [Chem.MolToSmiles(ladder), "CCO", "C("]
    endless = "smarts:*1" + 39 * "~*" + "~*1"
    found = score(smiles, ["tpsa", f"endless={endless}", "mw"], scaffold=True, timeout=2.0)
    assert found.reasons["endless"] == ["no answer in 2 s", None, None]
    assert found.values["endless"][1] == 0
    for key in ("tpsa", "mw"):
        np.testing.assert_array_equal(found.values[key], oracle(key)([found.smiles[0], "CCO", None]))
    assert found.scaffolds == [found.smiles[0], "", None]


def test_summary_has_the_figures_of_the_values_that_are_there() -> None:
    found = score(["C", "CC", "CCC", "C("], [heavy], timeout=None)
    assert json.loads(json.dumps(found.summary())) == {
        "molecules": 4,
        "valid": 3,
        "rejects": {"branch": 1},
        "oracles": {
            "heavy": {
                "count": 2,
                "mean": 1.5,
                "se": 0.5,
                "min": 1.0,
                "max": 2.0,
                "unit": "",
                "maximize": True,
                "failures": {"returned None": 1},
            }
        },
        "notes": [],
        "interrupted": False,
        "versions": {"moldiff": moldiff.__version__, "rdkit": rdkit_version()},
    }
    assert score(["C("], ["mw"]).summary()["oracles"]["mw"] == {
        **{"count": 0, "mean": None, "se": None, "min": None, "max": None},
        **{"unit": "g/mol", "maximize": False, "failures": {}},
    }
    assert "heavy" in found._repr_html_()


def heavy(smiles: list[str]) -> list[float | None]:
    return [len(text) if len(text) < 3 else None for text in smiles]


def test_the_mean_of_huge_values_is_finite() -> None:
    figures = score(["C", "CC"], [lambda smiles: [1.7e308] * len(smiles)]).summary()["oracles"]["<lambda>"]
    assert figures["mean"] == 1.7e308
    assert figures["se"] == 0.0


def test_reasons_are_counted_without_their_detail() -> None:
    assert counted(["a: 1", None, "b", "a: 2"]) == {"a": 2, "b": 1}


def test_a_table_has_a_row_a_molecule() -> None:
    frame = score(SMILES, ["mw", heavy], scaffold=True).to_pandas()
    assert list(frame) == ["smiles", "valid", "scaffold", "mw", "heavy", "reason"]
    assert frame["valid"].tolist() == [text is not None for text in CANONICAL]
    assert frame["reason"].tolist()[:4] == [*["heavy: returned None"] * 3, "branch"]


def test_columns_are_added_to_a_table_of_samples() -> None:
    samples = pd.DataFrame({"smiles": CANONICAL, "qed": 0.5, "reason": "as it was"})
    samples["smiles"] = samples["smiles"].astype(object)
    with Scorer(["tpsa", "qed", heavy]) as scorer:
        frame, scores = add_columns(samples, scorer)
    assert list(frame) == ["smiles", "qed", "reason", "tpsa", "heavy", "oracle_reason"]
    assert list(samples) == ["smiles", "qed", "reason"]
    assert (frame["qed"] == 0.5).all()
    assert (frame["reason"] == "as it was").all()
    assert [reason for reason in frame["oracle_reason"] if reason is not None] == ["heavy: returned None"] * 5
    np.testing.assert_array_equal(frame["tpsa"], scores.values["tpsa"])
    with pytest.raises(MoldiffError, match="got the name 'heavy', which is a column already"):
        add_columns(frame, scorer)


def test_nothing_gives_empty_columns() -> None:
    found = score([], ["qed", heavy])
    assert {name: values.shape for name, values in found.values.items()} == {"qed": (0,), "heavy": (0,)}
    assert len(found.to_pandas()) == 0
    assert score(["C"], [], scaffold=True).scaffolds == [""]


def test_progress_runs_through_all_passes() -> None:
    told: list[int] = []
    found = Scorer([heavy, "qed"])
    found(["C", "C", "CC"], told.append)
    assert found.stages == 2
    assert told == sorted(told)
    assert told[-1] == 6


@pytest.mark.parametrize(
    ("oracles", "options", "message"),
    [
        ("qed", {}, "oracles: got 'qed', needs a list of them"),
        (["qed", "qed=mw"], {}, "oracles: got two of the name 'qed'"),
        (["line=qed"], {}, "oracles: got the name 'line', which is another column's"),
        (["gap"], {}, "unknown oracle: got 'gap', choose from qed, .*cmd:PROGRAM ARGUMENTS"),
        ([3], {}, "oracle: got 3, needs a name or a function"),
        ([["qed"]], {}, r"oracle: got \['qed'\], needs a name or a function"),
        (["qed"], {"workers": 0}, "workers must be at least 1: got 0"),
        (["qed"], {"timeout": 0.0}, "timeout: got 0.0, needs seconds above 0"),
        (["qed"], {"timeout": math.nan}, "timeout: got nan"),
        (["cmd:"], {}, "got nothing to run"),
        (["cmd:no-such-program-here"], {}, "there is no program 'no-such-program-here'"),
        (["cmd:echo 'a"], {}, "No closing quotation"),
        (["nowhere.safetensors"], {}, "there is no such file"),
        (["similarity:C1"], {}, "not a valid SMILES"),
        ([lambda smiles: smiles], {"workers": 2}, "cannot go to another process"),
    ],
)
def test_bad_requests_are_refused(oracles: object, options: dict[str, float], message: str) -> None:
    with pytest.raises(MoldiffError, match=message):
        score(["C"], oracles, **options)  # type: ignore[arg-type]


def test_one_string_is_not_taken_for_its_letters() -> None:
    with pytest.raises(MoldiffError, match="got one string 'CCO', needs a sequence of SMILES"):
        score("CCO", ["qed"])


def test_the_package_hands_out_its_names() -> None:
    assert moldiff.score is score
    assert moldiff.Scorer is Scorer
    assert {"score", "Scorer", "Scores"} <= set(dir(moldiff))


def test_a_script_scores_with_several_processes_below_its_guard(tmp_path: Path) -> None:
    import subprocess
    import sys

    script = tmp_path / "script.py"
    script.write_text(
        "import moldiff\n"
        "def size(smiles): return [len(text) for text in smiles]\n"
        "if __name__ == '__main__':\n"
        "    print(moldiff.score(['CCO', 'C'], [size], workers=2).values['size'].tolist())\n"
    )
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("[3.0, 1.0]\n", "", 0)
