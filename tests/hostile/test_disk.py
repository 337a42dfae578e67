"""Full disks, closed outputs and signals: what stood there stays, and nothing half-written is left."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from moldiff.cli.app import run

#: A file of this many bytes fills the disk; what is printed has fewer.
FULL = 2000
SMALL = "device=cpu network.width=16 network.depth=1 network.heads=2 max_steps=1 logger=none"
DRAW = "generate MODEL -n 40 --steps 8 --temperature 0.5 --complete --device cpu --quiet"
#: What writes each kind of file, and the file; {} stands for a file of molecules that has one more bad row.
WRITERS = {
    **{f"score {{}} --timeout 0 --out x{end}": f"x{end}" for end in (".csv", ".jsonl", ".parquet")},
    "evaluate {} --out x.csv": "x.csv",
    "likelihood {} MODEL --times 2 --device cpu --out x.csv": "x.csv",
    "data prepare {} --out x.safetensors": "x.safetensors",
    "data prepare bad.csv --out ../x.safetensors --rejects x.csv": "x.csv",
    "oracle fit measured.csv --column y --folds 2 --quiet --out x.safetensors": "x.safetensors",
    **{
        f"{DRAW} --{kind} x{end}": f"x{end}"
        for kind, end in (("grid", ".png"), ("grid", ".svg"), ("report", ".html"))
    },
    f"train tiny out=x data.path={{}} {SMALL}": "x",
}  # fmt: skip


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A disk that is full once a file has so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def room(tmp_path: Path, tiny: Path, textbook: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the writers read."""
    folder = tmp_path / "room"
    folder.mkdir()
    (folder / "MODEL").symlink_to(tiny)
    smiles = textbook.read_text("utf-8").split()
    (folder / "bad.csv").write_text("smiles\nCCO\n" + "C1CCC((\n" * 200, "utf-8")
    rows = (f"{text},{place}\n" for place, text in enumerate(smiles[:40]))
    (folder / "measured.csv").write_text("smiles,y\n" + "".join(rows), "utf-8")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("line", WRITERS, ids=[line[:45] for line in WRITERS])
def test_a_full_disk_is_told_in_one_line_and_leaves_no_half_of_a_file(
    line: str, room: Path, textbook: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = Path(WRITERS[line])
    if out.suffix:
        out.write_text("mine", "utf-8")
    before = {path.name for path in room.iterdir()}
    with largest_file(FULL):
        code = run(line.format(textbook).split())
        told, error = capfd.readouterr()
    assert code == 2
    assert "wrote" not in told
    assert error.startswith("moldiff: cannot write ")
    assert error.endswith(" File too large\n")
    assert error.count("\n") == 1
    if out.suffix:
        assert out.read_text("utf-8") == "mine"
    else:
        assert [path for path in out.rglob("*") if path.is_file()] == []
    assert {path.name for path in room.iterdir()} - {"x"} == before


# What only a process of its own can show


def started(*line: str | bytes, **options: object) -> "subprocess.CompletedProcess[bytes]":
    """A command line in a process of its own, which ends in time."""
    command = [sys.executable, "-m", "moldiff", *line]
    return subprocess.run(command, capture_output="stdout" not in options, timeout=120, **options)  # type: ignore[call-overload]


def test_a_full_output_is_told_and_a_closed_one_is_not_minded(room: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        found = started("show", "MODEL", stdout=full, stderr=subprocess.PIPE)
    assert (found.returncode, found.stderr) == (
        2,
        b"moldiff: cannot write any more: No space left on device\n",
    )
    closed = "exec {} -m moldiff {} <&- >&- 2>&-"
    for line, code in {"show MODEL --json": 0, "show nothing": 2}.items():
        command = closed.format(sys.executable, line)
        assert subprocess.run(["sh", "-c", command], check=False, timeout=120).returncode == code


def test_names_that_are_no_text_and_a_plain_terminal_are_no_trouble(room: Path, textbook: Path) -> None:
    plain = {**os.environ, "PYTHONIOENCODING": "ascii"}
    found = started("score", str(textbook), "--oracle", "mw", "--out", b"\xff\xfe.csv", env=plain)
    assert (found.returncode, found.stderr) == (0, b"")
    assert b"\xff\xfe.csv" in os.listdir(b".")
    assert b"wrote \\udcff\\udcfe.csv" in found.stdout
    found = started(
        "generate", "MODEL", "-n", "1", "--grid", b"\xff.svg", "--report", b"\xff.html", "--out", b"\xff.csv"
    )
    assert (found.returncode, found.stderr) == (0, b"")
    found = started("score", b"\xff.smi")
    assert (found.returncode, found.stderr) == (
        2,
        b"moldiff: cannot read \\udcff.smi: No such file or directory\n",
    )


def test_a_signal_ends_what_waits_for_a_program(room: Path, textbook: Path) -> None:
    program = room / "sleeps.sh"
    program.write_text("#!/bin/sh\ntouch begun\nexec sleep 600\n", "utf-8")
    program.chmod(0o755)
    command = [
        sys.executable,
        "-m",
        "moldiff",
        "score",
        str(textbook),
        "--oracle",
        "cmd:./sleeps.sh",
        "--out",
        "x.csv",
    ]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        while not (room / "begun").exists():
            assert running.poll() is None
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 130, err.decode()
    assert err.endswith(b"moldiff: interrupted\n")
