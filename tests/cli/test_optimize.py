"""`moldiff optimize`: its files, its budget, its resuming, and what an oracle can do to it."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

Command = Callable[..., Any]
FOLDER_FILES = {"calls.csv", "journal.jsonl", "summary.json", "top.csv", "top.smi"}
#: An oracle that ends its own process, which is that of the command, after so many molecules as it is told.
FATAL = """
import os, signal
from pathlib import Path
seen = 0
def f(smiles):
    global seen
    fatal = Path("fatal")
    for each in smiles:
        seen += 1
        if fatal.exists() and seen > int(fatal.read_text()):
            os.kill(os.getpid(), signal.SIGKILL)
    return [each.count("C") / (1 + len(each)) for each in smiles]
"""


def arguments(out: str, start: object, *more: object) -> list[object]:
    common = ("--out", out, "--start", start, "--start-size", 20, "--timeout", 0, "--quiet")
    return ["optimize", "--oracle", "qed", "--budget", 90, "--method", "ga", *common, *more]


def facts(path: str) -> Any:
    return json.loads(Path(path).read_text("utf-8"))


def files(folder: str) -> dict[str, bytes]:
    """What a run has written, but for the command by which it was."""
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in Path(folder).rglob("*.*")}
    summary = json.loads(found.pop("summary.json"))
    del summary["command"]
    return {**found, "summary": json.dumps(summary).encode()}


def test_a_search_leaves_its_calls_the_best_and_a_summary(moldiff: Command, textbook: Path) -> None:
    ran = moldiff(*arguments("out", textbook, "--seeds", "1,4", "--top", 5, "--json"))
    assert (ran.code, ran.err) == (0, "")
    assert {path.name for path in Path("out").iterdir()} == {
        "ga-1", "ga-4", "start.json", "start-1.smi", "start-4.smi", "summary.json", "curve.png"
    }  # fmt: skip
    for seed in (1, 4):
        folder = Path(f"out/ga-{seed}")
        assert {path.name for path in folder.iterdir()} == FOLDER_FILES
        calls = pd.read_csv(folder / "calls.csv")
        assert calls["order"].tolist() == list(range(1, 91))
        assert calls["smiles"].is_unique
        assert calls["smiles"].tolist()[:20] == Path(f"out/start-{seed}.smi").read_text().split()
        top = pd.read_csv(folder / "top.csv")
        assert top["score"].tolist() == sorted(calls["score"], reverse=True)[:5]
        assert (folder / "top.smi").read_text().split() == top["smiles"].tolist()
        summary = facts(f"out/ga-{seed}/summary.json")
        assert (summary["calls"], summary["ended_by"], summary["oracle"]) == (90, "budget", "qed")
        assert summary["top_1"] == calls["score"].max()
        assert summary == {**summary, **ran.json["runs"]["ga"][str(seed)]}
        # It has found better ones than it was given.
        assert calls["score"][20:].max() > calls["score"][:20].max()
    assert ran.json["methods"]["ga"]["calls"] == {"mean": 90.0, "se": 0.0}
    assert ran.json == facts("out/summary.json")


@pytest.mark.parametrize("fatal", [7, 55])
def test_a_killed_search_goes_on_to_the_same_files(fatal: int, moldiff: Command, textbook: Path) -> None:
    Path("deadly.py").write_text(FATAL)
    asked = [*arguments("out", textbook), "--oracle", "deadly:f", "--seeds", "0,3"]
    command = [sys.executable, "-m", "moldiff", *map(str, asked)]
    assert subprocess.run(command, check=False).returncode == 0
    whole = files("out")
    shutil.rmtree("out")
    Path("fatal").write_text(str(fatal))
    # Killed twice, each time after some calls more.
    for number, resume in enumerate([[], ["--resume"]]):
        assert subprocess.run([*command, *resume], check=False).returncode == -signal.SIGKILL
        calls = Path("out/ga-0/journal.jsonl").read_text().count('"smiles"')
        assert calls > number
    Path("fatal").unlink()
    assert subprocess.run([*command, "--resume"], check=False).returncode == 0
    assert files("out") == whole


def test_both_methods_start_alike_and_go_on_after_a_kill(moldiff: Command) -> None:
    """With the model that comes with the package; of the two the oracle is asked about a molecule once."""
    Path("deadly.py").write_text(FATAL)
    asked = (
        "optimize --oracle deadly:f --budget 60 --start-size 20 --timeout 0 --quiet --out out --device cpu"
    )
    command = [sys.executable, "-m", "moldiff", *asked.split()]
    assert subprocess.run(command, check=False).returncode == 0
    whole = files("out")
    calls = {name: pd.read_csv(f"out/{name}-0/calls.csv") for name in ("moldiff", "ga")}
    for name, table in calls.items():
        assert table["smiles"].tolist()[:20] == Path("out/start-0.smi").read_text().split()
        assert len(table) == 60 == table["smiles"].nunique()
        assert facts(f"out/{name}-0/summary.json")["start_size"] == 20
    assert calls["moldiff"]["smiles"].tolist() != calls["ga"]["smiles"].tolist()
    summary = facts("out/moldiff-0/summary.json")
    # What the model redraws is nearly always a molecule.
    assert summary["invalid"] < 0.3 * summary["proposed"]
    shutil.rmtree("out")
    Path("fatal").write_text("35")
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    Path("fatal").unlink()
    assert subprocess.run([*command, "--resume"], check=False).returncode == 0
    assert files("out") == whole


def test_a_torn_line_does_not_count_and_a_larger_budget_goes_on(moldiff: Command, textbook: Path) -> None:
    assert moldiff(*arguments("whole", textbook)).code == 0
    assert moldiff(*arguments("out", textbook), "--budget", 50).code == 0
    with Path("out/ga-0/journal.jsonl").open("ab") as file:
        file.write(b'{"smiles": "CC')
    assert moldiff(*arguments("out", textbook), "--resume").code == 0
    assert files("out") == files("whole")


def test_a_run_that_is_there_is_not_overwritten_nor_mixed_with_another(
    moldiff: Command, textbook: Path
) -> None:
    assert moldiff(*arguments("out", textbook)).code == 0
    before = files("out")
    ran = moldiff(*arguments("out", textbook))
    assert (ran.code, ran.err) == (
        2,
        "moldiff: output: out has a run's calls; go on with --resume, or delete it\n",
    )
    ran = moldiff(*arguments("out", textbook), "--oracle", "fraction_csp3", "--resume")
    assert ran.code == 2
    assert "oracle was qed, is fraction_csp3" in ran.err
    # Nor are its calls taken for those of another oracle by a method that was not there before.
    more = ("--oracle", "fraction_csp3", "--method", "moldiff", "--resume")
    ran = moldiff(*arguments("out", textbook), *more)
    assert ran.code == 2
    assert "oracle was qed, is fraction_csp3" in ran.err
    assert moldiff(*arguments("out", textbook), "--resume").code == 0
    assert files("out") == before


def test_what_an_oracle_cannot_say_is_worth_nothing_and_counted(moldiff: Command, textbook: Path) -> None:
    Path("moody.py").write_text(
        "import time\n"
        "def f(smiles):\n"
        "    if len(smiles) == 1 and len(smiles[0]) % 5 == 0: raise RuntimeError(smiles[0])\n"
        "    if any(len(x) % 5 == 0 for x in smiles): raise RuntimeError('one of them')\n"
        "    return [float('nan') if len(x) % 3 == 0 else 1 / len(x) for x in smiles]\n"
    )
    ran = moldiff(*arguments("out", textbook), "--oracle", "moody:f")
    assert ran.code == 0
    calls = pd.read_csv("out/ga-0/calls.csv")
    raised, nan = (calls["smiles"].str.len() % each == 0 for each in (5, 3))
    assert (calls["score"] == 0).tolist() == (raised | nan).tolist()
    assert set(calls["reason"][~raised & nan]) == {"moody:f: returned nan"}
    assert calls["reason"][raised].str.startswith("moody:f: raised RuntimeError: ").all()
    counts = facts("out/ga-0/summary.json")["without_a_value"]
    assert counts == {
        "moody:f: returned nan": (~raised & nan).sum(),
        "moody:f: raised RuntimeError": raised.sum(),
    }
    assert "worth 0 for want of a value: moody:f: " in ran.out


def test_a_program_may_judge(moldiff: Command, textbook: Path) -> None:
    Path("judge.py").write_text(
        "import json, sys\n"
        "for line in sys.stdin:\n"
        "    smiles = json.loads(line)['smiles']\n"
        "    print(json.dumps({'error': 'too long'} if len(smiles) > 20 else {'value': smiles.count('C')}))\n"
    )
    ran = moldiff(*arguments("out", textbook), "--oracle", f"carbons=cmd:{sys.executable} judge.py")
    assert ran.code == 0
    calls = pd.read_csv("out/ga-0/calls.csv")
    long = calls["smiles"].str.len() > 20
    assert set(calls["reason"][long]) == {"carbons: error: too long"}
    assert calls["score"].tolist() == (calls["smiles"].str.count("C") * ~long).tolist()


def test_an_oracle_that_hangs_costs_the_molecule_alone(moldiff: Command, textbook: Path) -> None:
    Path("hangs.py").write_text(
        "import time\n"
        "def f(smiles):\n"
        "    return [time.sleep(600) if len(x) == 13 else 1 / len(x) for x in smiles]\n"
    )
    Path("start.smi").write_text("CCCCO\nCC(C)CC(N)CCO\nCCOC\nc1ccccc1\n")
    more = ("--oracle", "hangs:f", "--timeout", 1, "--budget", 4, "--start", "start.smi")
    ran = moldiff(*arguments("out", textbook), *more)
    assert ran.code == 0
    calls = pd.read_csv("out/ga-0/calls.csv", keep_default_na=False)
    assert calls["reason"].tolist() == ["", "hangs:f: no answer in 1 s", "", ""]


def test_a_goal_file_has_a_column_an_oracle(moldiff: Command, textbook: Path) -> None:
    Path("goal.yaml").write_text(
        "parts:\n  - oracle: qed\n    weight: 2\n  - {oracle: mw, between: [100, 150], width: 20}\n"
    )
    assert moldiff(*arguments("out", textbook), "--oracle", "goal.yaml").code == 0
    calls = pd.read_csv("out/ga-0/calls.csv")
    assert list(calls) == ["order", "smiles", "score", "qed", "mw", "reason"]
    inside = calls[calls["mw"].between(100, 150)]
    assert inside["score"].tolist() == pytest.approx((inside["qed"] ** (2 / 3)).tolist())
    assert facts("out/ga-0/summary.json")["goal"][1]["between"] == [100.0, 150.0]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--budget", 0), "budget: got 0, must be at least 1"),
        (("--method", "magic"), "unknown method: got 'magic', choose from"),
        (("--method", "ga,ga"), "methods: got"),
        (("--target", "qed=high"), "target: got qed=high, it goes with the method moldiff only"),
        (("--method", "moldiff", "--target", "charm=3"), "target: got property 'charm', this model knows"),
        (("--oracle", "nothing"), "unknown oracle: got 'nothing'"),
        (("--oracle", "sa"), "oracle sa: less of it is better"),
        (("--oracle", "gone.yaml"), "goal gone.yaml: cannot be read"),
        (("--seed", -1), "--seed: got -1, must be at least 0"),
        (("--seed", 1, "--seeds", 2), "leave one off"),
        (("--start", "gone.smi"), "gone.smi"),
        (("--start", "empty.smi"), "empty.smi"),
        (("--model", "nothing"), "unknown model"),
        (("--out", "empty.smi"), "output: got empty.smi, cannot write there"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_calls(
    more: tuple[object, ...], message: str, moldiff: Command, textbook: Path
) -> None:
    Path("empty.smi").write_text("C(\n")
    method = ("--method", "moldiff") if "--model" in more else ()
    ran = moldiff(*arguments("out", textbook), *method, *more)
    assert ran.code == 2
    assert ran.err.startswith("moldiff: ")
    assert ran.err.count("\n") == 1
    assert message in ran.err
    assert not list(Path().rglob("journal.jsonl"))
