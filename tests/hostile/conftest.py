"""A folder of files that no program wants to meet, and how a command line is to end that names them."""

import gzip
import io
import json
import os
import shlex
import shutil
import signal
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save

from moldiff.checkpoint import CARD, WEIGHTS
from moldiff.chem.molecule import MAX_LENGTH
from moldiff.cli.app import LONGEST, run

#: What a line may have that is merely long.
LONG = 10_000_000
DEEP = 50_000
#: A record of an SDF file, whose end is left out on purpose.
BLOCK = (
    "\n     x\n\n  1  0  0  0  0  0  0  0  0  0999 V2000\n    0.0000    0.0000    0.0000 O   0  0\nM  END\n"
)
TABLE = "smiles,y\nCCO,1\nCCN,2\nCCC,3\nCCCC,4\nCCCO,5\nCCCN,6\n"
#: Suffixes under which there is one of everything that is no file.
SUFFIXES = ("smi", "csv", "sdf", "parquet", "safetensors", "yaml", "png", "svg", "html", "jsonl", "smi.gz")
NOISE = bytes(range(128, 256)) * 20

TEXTS: dict[str, bytes | str] = {
    "ok.smi": "CCO\nCCN\nc1ccccc1\n",
    "ok.csv": TABLE,
    "file.txt": "here",
    "empty.csv": "",
    "empty.sdf": "",
    "empty.tsv": "",
    "blank.smi": " \n\t\n  \n\n",
    "blank.csv": "\n\n\n",
    "header.csv": "smiles,y\n",
    "header.smi": "smiles\n",
    "nameless.csv": ",,\n1,2,3\n",
    "semicolons.csv": "a;b\n1;2\n",
    "quote.csv": 'smiles,y\n"CCO,1\nCCN,2\n',
    "quoted.csv": 'smiles,y\n"CC"O,1\n',
    "twice.csv": "smiles,smiles,y\nCCO,CCN,1\n",
    "cases.csv": "SMILES,Smiles,y\nCCO,CCN,1\n",
    "values-twice.csv": "smiles,y,y\nCCO,1,2\n",
    "utf16.csv": TABLE.encode("utf-16"),
    "utf16.smi": "CCO\n".encode("utf-16-le"),
    "utf32.tsv": TABLE.encode("utf-32"),
    "latin.csv": "smiles,name\nCCO,éthanol\n".encode("latin-1"),
    "surrogate.smi": b"CC\xed\xa0\x80\n",
    "nul.csv": b"\0" * 5000,
    "noise.csv": NOISE,
    "noise.parquet": NOISE,
    "long-header.csv": "x" * LONG + "\nCCO\n",
    "wide.csv": ",".join(f"c{i}" for i in range(DEEP)) + "\n",
    "noise.smi.gz": NOISE,
    "plain.smi.gz": "CCO\n",
    "cut.csv.gz": gzip.compress(os.urandom(50_000).hex().encode())[:-9],
    "crc.smi.gz": gzip.compress(b"CCO\n", mtime=0)[:-8] + bytes(8),
    # What is read, row by row, and none of it a molecule.
    "long.smi": "C" * LONG + "\n",
    "long.csv": "smiles,y\n" + "C" * LONG + ",1\n",
    "deep.smi": "C(" * DEEP + "C" + ")" * DEEP + "\n",
    "nested.smi": "C(" * (MAX_LENGTH // 4) + "\n" + ")" * MAX_LENGTH + "\n",
    "rings.smi": "C%99CC\nC%100CC%100\nC%(99999)CC\nC%(1000000)CC%(1000000)\n" + "C1" * 255 + "\n",
    "signs.smi": "%%%%\n[[[[\n....\n((((\n====\n@@@@\n",
    "letters.smi": "C\u202eCO\nCC\U0001f600\nC\0C\n\u0661\nC\u00adO\n",
    "nul-row.csv": "smiles,y\nCC\0O,1\n",
    "short-rows.csv": "y,smiles\n1\n2\n,\n",
    "cut.sdf": "x\n\n\n999999",
    "counts.sdf": "x\n\n\n999999999  0  0  0  0  0  0  0  0  0999 V2000\n$$$$\n",
    "v3000.sdf": "x\n\n\n  0  0     0  0            999 V3000\nM  V30 COUNTS 999999999 0 0 0 0\n$$$$\n",
    "dollars.sdf": "$$$$\n" * 5,
    "noise.sdf": NOISE,
    # Molecules for all that.
    "bom.smi": b"\xef\xbb\xbfCCO\n",
    "bom.csv": b"\xef\xbb\xbfsmiles\nCCO\n",
    "returns.csv": "smiles,y\rCCO,1\rCCN,2\r",
    "case.csv": "name,SmIlEs\nx,CCO\n",
    "no-end.sdf": BLOCK,
    "rows.csv": "smiles,y\nCCO\nCCN,1,2,3\n,\nCCC,4\n",
}
ASKED: dict[str, bytes | str] = {
    "asked.csv": "qed\n0.5\n",
    "t-twice.csv": "qed,qed\n0.5,0.5\n",
    "t-case.csv": "QED\n0.5\n",
    "t-short.csv": "qed,ring_count\n0.5\n",
    "t-quote.csv": 'qed\n"0.5\n',
    "t-nul.csv": "qed\n0\0.5\n",
    "t-header.csv": "qed\n",
    "t-utf16.csv": "qed\n0.5\n".encode("utf-16"),
    "t-latin.csv": b"qed\n0.5\xe9\n",
    "t-nan.csv": "qed\nnan\n",
    "t-inf.csv": "qed\n1e400\n",
    "t-digits.csv": "qed\n\u0660.\u0665\n",
    "t-long.csv": "qed\n" + "1" * LONG + "\n",
    "t-long-header.csv": "q" * LONG + "\n1\n",
    "t-columns.csv": ",".join(f"c{i}" for i in range(DEEP)) + "\n" + "," * (DEEP - 1) + "\n",
    "t-cells.csv": "qed\n" + "0.5," * DEEP + "\n",
    "t-name.csv": "\u202e\x1b[31mqed\n0.5\n",
}
CODE: dict[str, bytes | str] = {
    "hostile_raises.py": 'raise RuntimeError("boom\\nsecond line")\n',
    "hostile_exits.py": "import sys\nsys.exit(0)\n",
    "hostile_keys.py": "raise KeyboardInterrupt\n",
    "hostile_base.py": "class B(BaseException): pass\nraise B('b')\n",
    "hostile_dies.py": "import os\nos._exit(7)\n",
    "hostile_shouts.py": "raise ValueError('x' * 10_000_000)\n",
    "hostile_syntax.py": "def (\n",
    "hostile_nul.py": b"\0\0",
    "hostile_latin.py": b'x = "\xe9"\n',
    "hostile_value.py": "x = 3\n",
    "silent.sh": "#!/bin/sh\necho hi\n",
}
#: Programs, which may be run.
PROGRAMS: dict[str, bytes | str] = {
    "unread.sh": "#!/no/such/interpreter\n",
    "noise.sh": b"\0\1\2",
    "floods.sh": "#!/bin/sh\nyes\n",
    "garbage.sh": "#!/bin/sh\nwhile read line; do echo garbage; done\n",
    "quits.sh": "#!/bin/sh\nexit 1\n",
    "lines.sh": "#!/bin/sh\nhead -c 2000000 /dev/zero | tr '\\0' a\n",
}
SETTINGS: dict[str, bytes | str] = {
    "bom.yaml": b"\xef\xbb\xbfseed: x\n",
    "words.yaml": "just words\n",
    "keys.yaml": "1: 2\nnull: 3\n",
    "two.yaml": "a: 1\n---\nb: 2\n",
    "tag.yaml": 'a: !!python/object/apply:os.system ["touch pwned"]\n',
    "deep.yaml": "a: " + "[" * DEEP + "]" * DEEP + "\n",
    "endless.yaml": "seed: " + "9" * 5000 + "\n",
    "self.yaml": "data: &d {path: *d}\n",
    "nul-path.yaml": 'data: {path: "a\\0b"}\nout: o\n',
    "nul-out.yaml": 'out: "a\\0b"\n',
    # A billion of entries, by names for names.
    "laughs.yaml": "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
    + "".join(
        f"{b}: &{b} [{','.join(['*' + a] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    + "conditions: [*i]\n",
}


def arrays(**metadata: str) -> bytes:
    """A file of one array."""
    return save({"tokens": np.zeros(3, dtype=np.uint16)}, metadata)


ARRAYS: dict[str, bytes | str] = {
    "other.safetensors": arrays(),
    "header.safetensors": struct.pack("<Q", 2**63) + b"{}",
    "empty.safetensors": "",
    "noise.safetensors": NOISE,
    "facts.safetensors": arrays(format="1", info="[" * DEEP),
    "oracle.safetensors": arrays(moldiff_oracle='{"format":1,"x":' + "[" * DEEP),
    "oracle-of-others.safetensors": arrays(moldiff_oracle='{"format":2}'),
}


def write(folder: Path, contents: Mapping[str, bytes | str]) -> None:
    for name, data in contents.items():
        (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)


def make(folder: Path, model: Path) -> None:
    """Fills a folder; ``model`` is a good one."""
    for contents in (TEXTS, ASKED, CODE, PROGRAMS, SETTINGS, ARRAYS):
        write(folder, contents)
    for name in PROGRAMS:
        (folder / name).chmod(0o755)
    _no_files(folder)
    _packed(folder)
    _models(folder, model)


def _no_files(folder: Path) -> None:
    """What stands where a file belongs; the devices are reached by links, as none can be made."""
    for suffix in SUFFIXES:
        (folder / f"folder.{suffix}").mkdir()
        os.mkfifo(folder / f"pipe.{suffix}")
        (folder / f"loop.{suffix}").symlink_to(f"loop.{suffix}")
        (folder / f"nowhere.{suffix}").symlink_to(f"nothing.{suffix}")
        for device in ("full", "null", "zero"):
            (folder / f"{device}.{suffix}").symlink_to(f"/dev/{device}")


def _packed(folder: Path) -> None:
    """Archives and tables that are not what their names say, or not whole."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.smi", "CCO\n")
    (folder / "zip.smi.gz").write_bytes(archive.getvalue())
    tables = {
        "whole": {"smiles": ["CCO"] * 9, "y": range(9)},
        "numbers": {"smiles": [1, 2]},
        "lists": {"smiles": [["CCO"], ["C"]]},
        "others": {"y": ["a"]},
        "rowless": {"smiles": pd.Series([], dtype=str)},
    }
    for name, columns in tables.items():
        pd.DataFrame(columns).to_parquet(folder / f"{name}.parquet")
    whole = (folder / "whole.parquet").read_bytes()
    (folder / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    (folder / "foot.parquet").write_bytes(b"PAR1" + b"\xff" * 100 + b"PAR1")
    (folder / "holed.parquet").write_bytes(whole[:-60] + bytes(40) + whole[-20:])


def _models(folder: Path, model: Path) -> None:
    """A good model, and others of which a part is not what it should be."""
    names = ("card-bom", "card-deep", "card-long", "card-pipe", "card-folder", "card-loop", "card-none")
    for name in ("MODEL", *names, "weights-pipe", "weights-none", "weights-zero", "weights-others"):
        (folder / name).mkdir()
        for file in (CARD, WEIGHTS):
            shutil.copy(model / file, folder / name / file)
    card = (model / CARD).read_text("utf-8")
    (folder / "card-bom" / CARD).write_text(card, "utf-8-sig")
    (folder / "card-deep" / CARD).write_text('{"a":' * DEEP + "1" + "}" * DEEP, "utf-8")
    (folder / "card-long" / CARD).write_text(json.dumps({"name": "x" * LONG}), "utf-8")
    for name in ("pipe", "folder", "loop", "none"):
        (folder / f"card-{name}" / CARD).unlink()
    os.mkfifo(folder / "card-pipe" / CARD)
    (folder / "card-folder" / CARD).mkdir()
    (folder / "card-loop" / CARD).symlink_to(CARD)
    for name in ("pipe", "none", "zero"):
        (folder / f"weights-{name}" / WEIGHTS).unlink()
    os.mkfifo(folder / "weights-pipe" / WEIGHTS)
    (folder / "weights-zero" / WEIGHTS).symlink_to("/dev/zero")
    (folder / "weights-others" / WEIGHTS).write_bytes(arrays())


Snapshot = dict[str, tuple[int, int, int]]
Refused = Callable[[str, str], None]
#: Seconds after which a command line hangs.
PATIENCE = 60


def snapshot(folder: Path) -> Snapshot:
    """Every name in a folder, with the kind, size and time of what it names."""
    found = {}
    for path in folder.rglob("*"):
        facts = path.lstat()
        found[str(path)] = (facts.st_mode, facts.st_size, 0 if path.is_dir() else facts.st_mtime_ns)
    return found


@contextmanager
def patient() -> Iterator[None]:
    """A block that fails where it takes too long, whatever it waits for."""
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail(f"hangs for {PATIENCE} s"))
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """The folder; a test that changes it fails."""
    folder = tmp_path_factory.mktemp("hostile")
    make(folder, tiny)
    return folder


@pytest.fixture
def there(hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, in which the test runs, with a cache of its own elsewhere."""
    monkeypatch.chdir(hostile)
    monkeypatch.setenv("MOLDIFF_HOME", str(tmp_path / "home"))
    return hostile


@pytest.fixture
def refused(there: Path, capfd: pytest.CaptureFixture[str]) -> Refused:
    """Runs a command line that has to be refused in one line, which says some words, and leaves no trace."""

    def check(line: str, words: str) -> None:
        before = snapshot(there)
        capfd.readouterr()
        with patient():
            code = run(arguments(line))
        out, err = capfd.readouterr()
        assert (code, out) == (2, ""), err
        assert err.startswith("moldiff: ")
        assert err.count("\n") == 1
        assert err.endswith("\n")
        assert err[:-1].isprintable()
        assert len(err) <= LONGEST + 20
        assert words in err
        assert snapshot(there) == before

    return check


def arguments(line: str) -> list[str]:
    """The arguments of a command line, in which <LONG> stands for as long a one as the system takes."""
    return [each.replace("<LONG>", "x" * 100_000) for each in shlex.split(line)]
