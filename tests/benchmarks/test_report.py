"""What benchmarks leave in their folder, and how a folder is claimed."""

import json
import math
import os
from pathlib import Path

import pandas as pd
import pytest

from moldiff.benchmarks.report import Report, averaged, cell, claim, markdown
from moldiff.errors import MoldiffError


def test_a_folder_is_of_one_thing(tmp_path: Path) -> None:
    claim(tmp_path / "a" / "b", {"n": 1, "setting": {"steps": 2}})
    claim(tmp_path / "a" / "b", {"setting": {"steps": 2}, "n": 1})
    for other, words in (
        ({"n": 2, "setting": {"steps": 2}}, "holds runs with n 1, not 2"),
        ({"n": 1, "setting": {"steps": 2}, "more": True}, "holds runs with more null, not true"),
        ({"n": 1}, 'holds runs with setting {"steps": 2}, not null'),
    ):
        with pytest.raises(MoldiffError, match=words):
            claim(tmp_path / "a" / "b", other)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "asked.json")
    with pytest.raises(MoldiffError, match="a named pipe"):
        claim(tmp_path, {"n": 1})


def test_means_leave_out_what_is_undefined() -> None:
    found = averaged([{"a": 1.0, "b": math.nan}, {"a": 3.0}], ["a", "b"])
    assert (found["a"], found["a_se"]) == (2.0, pytest.approx(1.0))
    assert math.isnan(found["b"])
    assert math.isnan(found["b_se"])


def test_cells() -> None:
    assert [cell(value) for value in (None, math.nan, 3, 0.123456, "text")] == [
        "-",
        "-",
        "3",
        "0.1235",
        "text",
    ]
    assert cell(0.5, 0.0123) == "0.5 ± 0.012"
    assert cell(0.5, math.nan) == "0.5"
    assert cell(math.nan, math.nan) == "-"


def test_a_table_is_markdown() -> None:
    assert markdown(["a", "long"], [["x|y", "1"]]) == "| a    | long |\n| ---- | ---- |\n| x\\|y | 1    |"


def test_a_report_is_json_and_a_table(tmp_path: Path) -> None:
    frame = pd.DataFrame({"what": ["x", "y"], "figure": [0.5, math.nan], "figure_se": [0.1, math.nan]})
    report = Report("b", frame, {"n": 2}, {"figure": math.nan}, (0, 1), ("a note",))
    report.save(tmp_path, "moldiff b")
    facts = json.loads((tmp_path / "manifest.json").read_text("utf-8"))
    assert facts == report.manifest("moldiff b")
    assert (facts["metrics"], facts["seeds"], facts["command"]) == ({"figure": None}, [0, 1], "moldiff b")
    assert {"moldiff", "python", "rdkit", "torch"} <= facts["versions"].keys()
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "table.csv"), frame)
    assert report.markdown().splitlines()[2:] == ["| x    | 0.5 ± 0.1 |", "| y    | -         |"]
