"""Plans: what each row is asked, the same of all or by the lines of a file."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from moldiff.conditions import ClassCondition, ConditionSpec, NumericCondition
from moldiff.errors import MoldiffError
from moldiff.generation.plan import Alike, ByLine, read_targets
from moldiff.targets import Table, TargetSampler, parse

N = 1000
A = np.linspace(0.0, 10.0, N)
B = np.tile([0.0, 1.0, 2.0, 3.0], N // 4)
TABLE = Table(np.arange(1, N + 1), {"a": A, "b": B})
SPECS: tuple[ConditionSpec, ...] = (
    ClassCondition(name="b", quantile=0.7).fit(B),
    NumericCondition(name="a").fit(A),
)
LINES = "a,b\n2,high\n,\n4..6, low \n\n2,high\ntop5%,\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "asked.csv"
    path.write_text(LINES, "utf-8")
    return path


def single(*texts: str) -> TargetSampler:
    return TargetSampler(TABLE, SPECS, [parse(text, SPECS, TABLE) for text in texts])


def test_a_file_is_read_by_its_lines(path: Path) -> None:
    file = read_targets(path, 3)
    assert file.lines.tolist() == [2, 3, 4, 6, 7]
    assert file.rows == 15
    assert file.cells["b"].tolist() == ["high", "", "low", "high", ""]
    assert file.facts() == {"sha256": file.sha256, "lines": 5, "per_target": 3}
    marked = path.with_name("marked.csv")
    marked.write_bytes(b"\xef\xbb\xbf" + LINES.replace("\n", "\r\n").encode())
    assert read_targets(marked).cells.equals(file.cells)


def test_an_empty_cell_in_a_file_of_one_column_is_quoted(path: Path) -> None:
    path.write_text('a\n""\n\n3\n', "utf-8")
    file = read_targets(path)
    assert file.cells["a"].tolist() == ["", "3"]
    assert file.lines.tolist() == [2, 4]


@pytest.mark.parametrize("per_target", [1, 3])
def test_each_row_is_what_its_line_alone_would_give(per_target: int, path: Path) -> None:
    plan = ByLine(TABLE, SPECS, read_targets(path, per_target))
    ids = np.arange(5 * per_target)
    drawn = plan.draw(ids, seed=4)
    assert drawn.cond is not None
    asked = [("a=2", "b=high"), (), ("a=4..6", "b=low"), ("a=2", "b=high"), ("a=top5%",)]
    for row in ids:
        alone = single(*asked[row // per_target])
        length, cond = alone.draw(torch.tensor([row]), seed=4)
        assert cond is not None
        assert drawn.lengths[row] == length[0]
        torch.testing.assert_close(drawn.cond[row], cond[0], rtol=0, atol=0, equal_nan=True)
        assert drawn.distance[row] == alone.distance
    # Any rows, in any order, are those of the whole.
    some = np.array([4, 0, 3]) * per_target
    again = plan.draw(some, seed=4)
    assert again.lengths.tolist() == drawn.lengths[some].tolist()


def test_what_is_asked_of_each_row_is_told(path: Path) -> None:
    plan = ByLine(TABLE, SPECS, read_targets(path, 2))
    ids = np.array([0, 1, 2, 5, 9])
    goals = plan.goals(ids)
    assert plan.asked == dict.fromkeys(("a", "b"), "by the lines of asked.csv")
    np.testing.assert_allclose(goals["a"].low, [2, 2, math.nan, 4, 9.5])
    np.testing.assert_allclose(goals["a"].high, [2, 2, math.nan, 6, 10])
    np.testing.assert_allclose(goals["b"].label, [1, 1, math.nan, 0, math.nan])
    assert plan.columns(ids) == {
        "target_a": ["2", "2", None, "4..6", "top5%"],
        "target_b": ["high", "high", None, "low", None],
    }
    values = np.array([3.0, 1.0, 5.0, 8.0, 9.0])
    spread = A.std()
    np.testing.assert_allclose(
        goals["a"].misses(values, TABLE, "a"), np.array([1, 1, 0, 2, 0.5]) / spread, rtol=1e-12
    )
    into = (values - B.mean()) / B.std()
    np.testing.assert_allclose(goals["b"].misses(values, TABLE, "b"), into * [-1, -1, 0, 1, 0])


def test_a_column_that_asks_nothing_is_no_target(path: Path) -> None:
    path.write_text("a,b\n,high\n,low\n", "utf-8")
    plan = ByLine(TABLE, SPECS, read_targets(path))
    assert set(plan.asked) == set(plan.goals(np.arange(2))) == {"b"}
    assert plan.columns(np.arange(2))["target_a"] == [None, None]


def test_the_same_of_all_is_told_with_what_a_class_means() -> None:
    plan = Alike(TABLE, SPECS, ["a=2..3", "b=low"])
    assert plan.asked == {"a": "2..3", "b": "low (not above 2)"}
    assert plan.columns(np.arange(3)) == {}
    assert plan.goals(np.arange(3))["a"].high.tolist() == [3, 3, 3]
    lengths, cond = single("a=2..3", "b=low").draw(torch.arange(3), seed=1)
    drawn = plan.draw(np.arange(3), seed=1)
    assert drawn.cond is not None
    assert cond is not None
    assert drawn.lengths.tolist() == lengths.tolist()
    torch.testing.assert_close(drawn.cond, cond, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "needs distinct properties in its first line, got nothing"),
        (b"a,b\n", "has no line below its header"),
        (b"a,\n1,2\n", "needs distinct properties in its first line, got 'a', ''"),
        (b"a,a\n1,2\n", "needs distinct properties"),
        (b"a,b\n1,high\n2\n", "line 3: got 1 cells, the header has 2"),
        (b"a,b\n1,high,3\n", "line 2: got 3 cells, the header has 2"),
        (b'a,b\n1,"high\n', "line 2: unexpected end of data"),
        (b"a,b\n" + b"1" * 200_000 + b",high\n", "line 2: field larger than field limit"),
        (b"a,b\n\xff,high\n", "is not UTF-8 text: byte 4"),
        (b"a,b\n2,high\n\n99,low\n", r"line 4: target 'a=99': out of reach"),
        (b"a,b\n2,high\nx,low\n", "line 3: target 'a=x': got 'x'"),
        (b"a,b\n2,3\n", "line 2: target b: this model does not know it in that form"),
        (b"a,hue\n2,3\n", "line 1: got property 'hue', this model knows a, b"),
        (b"a,b\n2,high\n\0,low\n", "line 3: "),
    ],
)
def test_a_bad_file_is_refused_in_one_line_that_names_its_line(data: bytes, message: str, path: Path) -> None:
    path.write_bytes(data)
    with pytest.raises(MoldiffError, match=message) as caught:
        ByLine(TABLE, SPECS, read_targets(path))
    assert "asked.csv" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_other_bad_requests_are_refused(path: Path) -> None:
    with pytest.raises(MoldiffError, match=r"cannot read .*missing\.csv"):
        read_targets(path.with_name("missing.csv"))
    for count in (0, 1.5):
        with pytest.raises(MoldiffError, match=f"per target: got {count}"):
            read_targets(path, count)  # type: ignore[arg-type]
    with pytest.raises(MoldiffError, match="none: this model has no conditions"):
        ByLine(TABLE, (), read_targets(path))
