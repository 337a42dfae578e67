"""Unfinished runs of `moldiff generate`: what ends them, and the same file in the end."""

import json
import resource
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest

from moldiff.generation import batches, journal, stream

Command = Callable[..., Any]

#: What depends on the clock, and on how often a run was begun.
PASSING = ("seconds", "molecules_per_second", "command", "resumed_after")
GROUP, SCORED = 12, 5
#: A setting at which the small model draws a molecule now and then.
EASY = ("--steps", 12, "--complete", "--temperature", 0.5)
ASKED = "qed,ring_count\n0.5,\n,high\n0.4..0.6,low\n"

#: A process that stops in the middle of a row, after so many pieces, and waits for what comes.
STOPS = f"""
import sys, time
from moldiff.generation import journal
from moldiff.generation import stream
from moldiff.cli.app import main
stream.GROUP, stream.SCORED = {{"cpu": {GROUP}}}, {SCORED}
append, left = journal.Journal.append, int(sys.argv.pop(1))
def stops(self, frame, state):
    global left
    if not left:
        self._table.write(b"C1CC,C1")
        self._table.flush()
        print("ready", flush=True)
        time.sleep(3600)
    left -= 1
    append(self, frame, state)
journal.Journal.append = stops
main()
"""


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "GROUP", {"cpu": GROUP})
    monkeypatch.setattr(stream, "SCORED", SCORED)


def arguments(tiny: Path, *more: object, n: int | None = 30) -> list[object]:
    count = [] if n is None else ["-n", n]
    return ["generate", tiny, *count, *EASY, "--device", "cpu", "--quiet", *more]


def names() -> set[str]:
    return {path.name for path in Path().iterdir()}


def facts(path: str) -> dict[str, Any]:
    found = json.loads(Path(path).read_text("utf-8"))
    return {name: value for name, value in found.items() if name not in PASSING}


def test_a_killed_run_goes_on_to_the_same_file(moldiff: Command, tiny: Path) -> None:
    assert moldiff(*arguments(tiny, "--out", "whole.csv")).code == 0
    command = [*arguments(tiny, "--out", "m.csv")]
    running = subprocess.Popen(
        [sys.executable, "-c", STOPS, "3", *map(str, command)], stdout=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    with running.stdout:
        assert running.stdout.readline() == "ready\n"
        for more in ((), ("--resume",)):
            found = moldiff(*command, *more)
            assert found.code == 2
            assert found.err == "moldiff: output: m.csv.part is being written by another run\n"
        running.send_signal(signal.SIGKILL)
    assert running.wait(60) == -signal.SIGKILL
    assert {"m.csv.part", "m.csv.part.log"} <= names()
    assert "m.csv" not in names()
    torn = Path("m.csv.part").read_bytes()
    assert torn.endswith(b"\nC1CC,C1")
    # Rows of an unfinished run are not thrown away.
    refused = moldiff(*command)
    assert refused.code == 2
    assert "m.csv.part has 12 rows of an unfinished run; go on with --resume, or delete it" in refused.err
    other = moldiff(*command, "--resume", "--seed", 7, "--temperature", 0.9)
    assert other.code == 2
    differing = "seed was 0, is 7; setting temperature was 0.5, is 0.9"
    assert other.err == f"moldiff: --resume: m.csv.part is of another run: {differing}\n"
    assert Path("m.csv.part").read_bytes() == torn
    done = moldiff(*command, "--resume")
    assert done.code == 0
    assert done.err == "going on after 12 rows of m.csv.part\n"
    assert Path("m.csv").read_bytes() == Path("whole.csv").read_bytes()
    assert facts("m.csv.json") == facts("whole.csv.json")
    assert json.loads(Path("m.csv.json").read_text("utf-8"))["resumed_after"] == 12
    assert names() == {"m.csv", "m.csv.json", "whole.csv", "whole.csv.json"}


@contextmanager
def copied(monkeypatch: pytest.MonkeyPatch, pieces: int) -> Iterator[None]:
    """Copies to ``crash`` what a kill would leave after so many pieces, with a torn row."""
    append, left = journal.Journal.append, [pieces]

    def copying(self: journal.Journal, *piece: Any) -> None:
        append(self, *piece)
        left[0] -= 1
        if not left[0]:
            Path("crash").mkdir()
            for file in (self.part, self.log):
                shutil.copy(file, "crash")
            with (Path("crash") / self.part.name).open("ab") as part:
                part.write(b"C1CC,C1")

    with monkeypatch.context() as patch:
        patch.setattr(journal.Journal, "append", copying)
        yield


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize(
    ("suffix", "more"),
    [
        (".smi", ()), (".sdf", ()), (".parquet", ()), (".jsonl", ("--oracle", "np_score")),
        (".csv", ("--unique", "--max-samples", "60")),
        (".csv", ("--targets-from", "ASKED", "--per-target", "7")),
    ],
    ids=["smi", "sdf", "parquet", "jsonl", "unique", "targets"],
)  # fmt: skip
def test_any_output_goes_on_to_the_same_file(
    suffix: str,
    more: tuple[str, ...],
    pieces: int,
    moldiff: Command,
    tiny: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("asked.csv").write_text(ASKED, "utf-8")
    Path("run").mkdir()
    monkeypatch.chdir("run")
    by_line = "--targets-from" in more
    more = tuple(str(Path("../asked.csv").resolve()) if each == "ASKED" else each for each in more)
    command = arguments(tiny, *more, "--out", f"m{suffix}", n=None if by_line else 24)
    with copied(monkeypatch, pieces):
        whole = moldiff(*command)
    assert whole.code in (0, 3)
    assert json.loads(Path(f"m{suffix}.json").read_text("utf-8"))["valid"] > 0
    monkeypatch.chdir("crash")
    done = moldiff(*command, "--resume")
    assert done.code == whole.code
    assert done.err == f"going on after {5 * pieces - 3 * (pieces // 3)} rows of m{suffix}.part\n"
    assert Path(f"m{suffix}").read_bytes() == Path(f"../m{suffix}").read_bytes()
    assert facts(f"m{suffix}.json") == facts(f"../m{suffix}.json")
    assert names() == {f"m{suffix}", f"m{suffix}.json"}


def test_an_interrupted_run_is_saved_and_can_go_on(
    moldiff: Command, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = arguments(tiny, "--batch-size", 1, "--out", "m.jsonl")
    assert moldiff(*arguments(tiny, "--batch-size", 1, "--out", "whole.jsonl")).code == 0
    sampled, left = batches.Batches._sampled, [17]

    def stops(self: batches.Batches, *rows: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return sampled(self, *rows)

    with monkeypatch.context() as patch:
        patch.setattr(batches.Batches, "_sampled", stops)
        stopped = moldiff(*command)
    assert stopped.code == 130
    assert stopped.err == "the first 12 rows are in m.jsonl.part: --resume goes on\nmoldiff: interrupted\n"
    assert "wrote m.jsonl" in stopped.out
    # The rows that were drawn, of which the last four need not be the next four.
    rows, whole = lines("m.jsonl"), lines("whole.jsonl")
    summary = json.loads(Path("m.jsonl.json").read_text("utf-8"))
    numbers = [i for first, last in summary["samples"] for i in range(first, last + 1)]
    assert len(rows) == summary["drawn"] == 16
    assert numbers[:12] == list(range(12))
    assert rows == [whole[i] for i in numbers]
    assert moldiff(*command, "--resume").code == 0
    assert Path("m.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()
    assert facts("m.jsonl.json") == facts("whole.jsonl.json")
    assert names() == {"m.jsonl", "m.jsonl.json", "whole.jsonl", "whole.jsonl.json"}


def lines(path: str) -> list[str]:
    return Path(path).read_text("utf-8").splitlines()


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A disk that is full once a file has so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_ends_in_one_line_and_the_run_can_go_on(moldiff: Command, tiny: Path) -> None:
    command = arguments(tiny, "--out", "m.csv")
    assert moldiff(*arguments(tiny, "--out", "whole.csv")).code == 0
    size = Path("whole.csv").stat().st_size
    with largest_file(size * 2 // 3):
        full = moldiff(*command)
    assert full.code == 2
    assert full.out == ""
    told, error = full.err.splitlines()
    rows = int(told.split()[2])
    assert 5 <= rows < 30
    assert told == f"the first {rows} rows are in m.csv.part: --resume goes on"
    assert error.startswith("moldiff: cannot write m.csv.part: File too large; ")
    assert error.endswith(f"its first {rows} rows stay, make room and go on with --resume")
    assert moldiff(*command, "--resume").code == 0
    assert Path("m.csv").read_bytes() == Path("whole.csv").read_bytes()


def test_a_disk_that_fills_up_at_the_end_leaves_the_rows(moldiff: Command, tiny: Path) -> None:
    command = arguments(tiny, "--out", "m.jsonl")
    assert moldiff(*arguments(tiny, "--out", "whole.jsonl")).code == 0
    Path("m.jsonl").write_text("mine", "utf-8")
    with largest_file(Path("whole.jsonl").stat().st_size - 100):
        full = moldiff(*command)
    assert full.code == 2
    assert "moldiff: cannot write m.jsonl: File too large" in full.err
    assert Path("m.jsonl").read_text("utf-8") == "mine"
    assert "m.jsonl.new" not in names()
    done = moldiff(*command, "--resume")
    assert done.err == "going on after 30 rows of m.jsonl.part\n"
    assert Path("m.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()


def test_nothing_to_go_on_with_is_begun(moldiff: Command, tiny: Path) -> None:
    found = moldiff(*arguments(tiny, "--out", "m.csv", "--resume", n=3))
    assert (found.code, found.err) == (0, "going on after 0 rows of m.csv.part\n")
    assert len(pd.read_csv("m.csv")) == 3
    assert names() == {"m.csv", "m.csv.json"}
    assert "resumed_after" not in json.loads(Path("m.csv.json").read_text("utf-8"))


# What a run can make besides


def test_fewer_distinct_molecules_than_asked_have_their_own_code(moldiff: Command, tiny: Path) -> None:
    found = moldiff(*arguments(tiny, "--unique", "--max-samples", 40, "--out", "m.csv", n=30))
    assert (found.code, found.err) == (3, "")
    frame, summary = pd.read_csv("m.csv"), json.loads(Path("m.csv.json").read_text("utf-8"))
    assert 0 < len(frame) == summary["kept"] < 30
    assert frame["sane"].all()
    assert frame["smiles"].is_unique
    ended = f"the budget ended first: {len(frame)} of 30 distinct sane molecules in 40 draws"
    assert f"{ended}; allow more with --max-samples\n" in found.out
    assert "of drawn" in found.out
    code = moldiff(*arguments(tiny, "--unique", "--max-samples", 40, "--json", n=30))
    assert (code.code, code.json["kept"], code.json["drawn"]) == (3, len(frame), 40)


def test_each_line_of_a_file_is_asked_in_its_turn(moldiff: Command, tiny: Path) -> None:
    Path("asked.csv").write_text(ASKED, "utf-8")
    found = moldiff(
        *arguments(tiny, "--targets-from", "asked.csv", "--per-target", 2, "--out", "m.csv", n=None)
    )
    assert found.code == 0
    frame = pd.read_csv("m.csv", dtype=str)
    assert frame["target_qed"].fillna("").tolist() == ["0.5", "0.5", "", "", "0.4..0.6", "0.4..0.6"]
    assert frame["target_ring_count"].fillna("").tolist() == ["", "", "high", "high", "low", "low"]
    assert "by the lines of asked.csv" in found.out
    summary = json.loads(Path("m.csv.json").read_text("utf-8"))
    assert summary["requested"] == 6
    assert summary["targets_from"]["lines"] == 3
    Path("asked.csv").write_text("qed\n0.5\n\n0.6000\n17\n", "utf-8")
    found = moldiff(*arguments(tiny, "--targets-from", "asked.csv", n=None))
    assert found.code == 2
    assert found.err.startswith("moldiff: targets: asked.csv line 5: target 'qed=17': out of reach")


def test_a_picture_and_a_page_come_from_the_same_run(moldiff: Command, tiny: Path) -> None:
    asked = arguments(tiny, "--oracle", "np_score", "--grid", "m.svg", "--report", "m.html", n=48)
    found = moldiff(*asked)
    assert (found.code, found.err) == (0, "")
    assert names() == {"m.svg", "m.svg.json", "m.html"}
    assert "np_score: " in found.out
    metadata = ElementTree.parse("m.svg").getroot().find("{http://www.w3.org/2000/svg}metadata")
    assert metadata is not None
    notes = json.loads(metadata.text or "")
    assert notes["Command"] == shlex.join(["moldiff", *map(str, asked)])
    assert {"Software", "Model", "Seed", "Versions"} <= set(notes)
    page = Path("m.html").read_text("utf-8")
    summary = json.loads(Path("m.svg.json").read_text("utf-8"))
    assert summary["valid"] > 0
    for histogram in summary["histograms"].values():
        assert sum(histogram["generated"]) == summary["valid"]
        assert len(histogram["edges"]) == len(histogram["training"]) + 1
    assert "<html" in page
