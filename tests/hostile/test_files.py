"""Hostile files as inputs and outputs of every verb: one line that says what was wrong, nothing written."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from moldiff.cli.app import run

#: Ways to give a verb a file of molecules.
READERS = (
    "score {} --oracle mw",
    "evaluate {}",
    "likelihood {} MODEL",
    "data prepare {} --out new.safetensors",
    "train tiny out=new data.path={}",
)
#: Files that no verb reads, and what has to be said of them.
UNREAD = {
    "pipe.smi": "a named pipe", "pipe.csv": "a named pipe", "pipe.sdf": "a named pipe",
    "pipe.smi.gz": "a named pipe", "pipe.parquet": "a named pipe", "zero.smi": "a device",
    "zero.parquet": "a device", "full.csv": "a device", "null.sdf": "a device", "zero.smi.gz": "a device",
    "loop.smi": "leads nowhere", "loop.parquet": "leads nowhere", "nowhere.csv": "leads nowhere",
    "folder.smi": "a folder", "folder.parquet": "a folder", "missing.smi": "No such file",
    "file.txt/x.smi": "Not a directory", "x": "unknown kind", "..": "unknown kind",
    "/dev/stdin": "unknown kind", "'a\0b.smi'": "a\\x00b.smi", "<LONG>.smi": "too long",
    "x.exe": "unknown kind", "empty.csv": "no header", "empty.sdf": "no row", "empty.tsv": "no header",
    "blank.smi": "no row", "blank.csv": "no header", "header.csv": "no row", "header.smi": "no row",
    "nameless.csv": "no header", "semicolons.csv": "name one of a;b", "quote.csv": "line 2",
    "quoted.csv": "line 2", "twice.csv": "2 columns", "cases.csv": "SMILES, Smiles", "utf16.csv": "not UTF-8",
    "utf32.tsv": "not UTF-8", "latin.csv": "byte 0xe9", "surrogate.smi": "byte 0xed",
    "noise.csv": "not UTF-8", "nul.csv": "no SMILES column", "long-header.csv": "no SMILES column",
    "wide.csv": "c0, c1, ", "noise.smi.gz": "gzip", "plain.smi.gz": "gzip", "zip.smi.gz": "gzip",
    "cut.csv.gz": "broken gzip", "crc.smi.gz": "CRC", "noise.parquet": "cannot read noise.parquet",
    "cut.parquet": "cannot read cut.parquet", "foot.parquet": "cannot read foot.parquet",
    "holed.parquet": "cannot read holed.parquet", "numbers.parquet": "int64, not text",
    "lists.parquet": "not text", "others.parquet": "name one of y", "rowless.parquet": "no row",
}  # fmt: skip
#: Files whose rows are read, and none of which gives a molecule: how many of each reason.
BARREN: dict[str, dict[str, int]] = {
    "long.smi": {"length": 1}, "long.csv": {"length": 1}, "deep.smi": {"length": 1},
    "nested.smi": {"branch": 2}, "rings.smi": {"ring": 3, "parse": 2}, "signs.smi": {"parse": 5, "branch": 1},
    "letters.smi": {"parse": 5}, "nul-row.csv": {"parse": 1}, "short-rows.csv": {"empty": 3},
    "cut.sdf": {"parse": 1}, "counts.sdf": {"parse": 1}, "v3000.sdf": {"parse": 1},
    "dollars.sdf": {"parse": 5}, "noise.sdf": {"parse": 1},
}  # fmt: skip
#: Files that are odd and no less good: how many molecules they hold.
READ = {
    "bom.smi": 1,
    "bom.csv": 1,
    "returns.csv": 2,
    "case.csv": 1,
    "no-end.sdf": 1,
    "rows.csv": 3,
    "whole.parquet": 9,
}
#: All verbs read by the same functions, so each file is given to two of them, in turn.
LINES = [
    (READERS[(place + step) % len(READERS)].format(name), words)
    for place, (name, words) in enumerate(UNREAD.items())
    for step in range(2)
]
BARE = [
    (reader.format(name), "all are left out" if "out" in reader else "none of")
    for name in BARREN
    for reader in READERS[2:]
]


@pytest.mark.parametrize(("line", "words"), LINES + BARE, ids=[line[:60] for line, _ in LINES + BARE])
def test_a_file_that_is_no_set_of_molecules_is_refused(
    line: str, words: str, refused: Callable[[str, str], None]
) -> None:
    refused(line, words)


@pytest.mark.parametrize("name", BARREN)
def test_rows_that_are_no_molecules_are_counted_by_reason(
    name: str, there: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    verbs = [["score", name, "--oracle", "mw"], ["evaluate", name]]
    # What is evaluated is text, and what cannot be read of a record has none.
    for verb in verbs[:1] if name.endswith(".sdf") else verbs:
        assert run([*verb, "--json"]) == 0
        out, err = capfd.readouterr()
        assert (json.loads(out)["rejects"], err) == (BARREN[name], "")


@pytest.mark.parametrize("name", READ)
def test_what_is_odd_and_no_less_good_is_read(
    name: str, there: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["score", name, "--oracle", "mw", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["valid"] == READ[name]


# Outputs, models, targets and other files

WRITERS = {
    "generate MODEL -n 1 --out": ("csv", "jsonl", "parquet", "smi", "sdf"),
    "generate MODEL -n 1 --grid": ("png", "svg"),
    "generate MODEL -n 1 --report": ("html",),
    "score ok.smi --oracle mw --out": ("csv", "jsonl", "parquet"),
    "evaluate ok.smi --out": ("csv",),
    "likelihood ok.smi MODEL --out": ("csv",),
    "data prepare ok.smi --out": ("safetensors",),
    "data prepare ok.smi --out new.safetensors --rejects": ("csv",),
    "oracle fit ok.csv --column y --folds 2 --out": ("safetensors",),
}
#: Where nothing can be written, not even by root.
PLACES = {
    "full.{}": "a device", "null.{}": "a device", "/dev/full": "a device", "pipe.{}": "a named pipe",
    "folder.{}": "a folder", "loop.{}": "leads nowhere", "nowhere.{}": "leads nowhere",
    "missing/x.{}": "no folder", "file.txt/x.{}": "no folder", "/proc/x.{}": "cannot write there",
    "''": "a folder", "'a\0b.{}'": "a\\x00b", "<LONG>.{}": "cannot write there", "new.exe": "exe",
    "new": "new",
}  # fmt: skip
OUTPUTS = [
    (f"{verb} {place.format(suffix)}", words)
    for verb, suffixes in WRITERS.items()
    for place, words in PLACES.items()
    # A place is refused by one and the same check, whatever the suffix.
    for suffix in (suffixes if place == "full.{}" else suffixes[:1])
]
OVER = [
    "score ok.csv --oracle mw --out ok.csv",
    "score ok.csv --oracle mw --out ./MODEL/../ok.csv",
    "evaluate ok.csv --out ok.csv",
    "evaluate ok.smi --reference ok.csv --out ok.csv",
    "likelihood ok.csv MODEL --out ok.csv",
    "data prepare ok.csv --out new.safetensors --rejects ok.csv",
    "generate MODEL --targets-from asked.csv --out asked.csv",
]
MODELS = {
    "card-bom": "BOM", "card-deep": "recursion", "card-long": "format None", "card-pipe": "a named pipe",
    "card-folder": "a folder", "card-loop": "leads nowhere", "card-none": "No such file", ".": "No such file",
    "/dev/null": "unknown model", "pipe.smi": "unknown model", "file.txt": "unknown model",
    "''": "unknown model", "../..": "No such file", "<LONG>": "unknown model", "'\0'": "unknown model",
    "'\u202eqm9'": "\\u202eqm9", "'\udcff'": "\\udcff", "\U0001f600": "unknown model",
    "'qm9 '": "unknown model", "QM9": "unknown model",
}  # fmt: skip
WEIGHTS = {
    "weights-pipe": "a named pipe", "weights-zero": "a device", "weights-none": "No such file",
    "weights-others": "of another model",
}  # fmt: skip
LOADERS = (
    "show {}",
    "generate {} -n 1",
    "likelihood ok.smi {}",
    "train tiny out=new data.path=ok.smi --init-from {}",
)
LOADS = [(each.format(name), words) for name, words in MODELS.items() for each in LOADERS]
LOADS += [(each.format(name), words) for name, words in WEIGHTS.items() for each in LOADERS[1:]]
ARRAYS = {
    "missing": "no such file|cannot be read", "pipe": "no such file|a named pipe",
    "zero": "no such file|a device", "folder": "no such file|a folder", "empty": "header too small",
    "noise": "header", "header": "header too large", "other": "no oracle|format None",
    "facts": "no oracle|damaged", "oracle": "damaged|format None", "oracle-of-others": "damaged|format None",
}  # fmt: skip
TOKENS = [
    (line.format(f"{name}.safetensors"), words.split("|")[place % len(words.split("|"))])
    for name, words in ARRAYS.items()
    for place, line in enumerate(("score ok.smi --oracle {}", "evaluate ok.smi --reference {}"))
]
TOKENS += [
    (f"train tiny out=new data.path={name}.safetensors", words.split("|")[-1])
    for name, words in ARRAYS.items()
]
TOKENS += [(f"oracle show {name}.safetensors", words.split("|")[0]) for name, words in ARRAYS.items()]
ASKED = {
    "t-twice.csv": "distinct", "t-case.csv": "'QED'", "t-short.csv": "line 2: got 1 cells",
    "t-quote.csv": "line 2", "t-nul.csv": "line 2", "t-header.csv": "no line below",
    "t-utf16.csv": "not UTF-8", "t-latin.csv": "byte 7", "t-nan.csv": "finite", "t-inf.csv": "finite",
    "t-digits.csv": "write a number", "t-long.csv": "line 2: field larger",
    "t-long-header.csv": "line 1: field larger", "t-columns.csv": "50,000 columns",
    "t-cells.csv": "got 50001 cells", "t-name.csv": "\\x1b[31mqed", "pipe.csv": "a named pipe",
    "zero.csv": "a device", "null.csv": "a device", "folder.csv": "a folder", "loop.csv": "leads nowhere",
    "nowhere.csv": "leads nowhere", "noise.csv": "not UTF-8", "nul.csv": "no line", "empty.csv": "distinct",
    "blank.csv": "distinct", "''": "a folder", "-": "No such file",
}  # fmt: skip
TARGETS = [(f"generate MODEL --targets-from {name}", words) for name, words in ASKED.items()]
CONFIGS = {
    "pipe.yaml": "a named pipe", "zero.yaml": "a device", "folder.yaml": "a folder",
    "loop.yaml": "leads nowhere", "missing.yaml": "No such file", "''": "choose from",
    "tiny.yml": "No such file", "../tiny": "choose from", "bom.yaml": "seed", "words.yaml": "key: value",
    "keys.yaml": "Keys should be strings", "two.yaml": "not YAML", "tag.yaml": "not YAML",
    "deep.yaml": "not YAML", "endless.yaml": "not YAML", "self.yaml": "data.path",
    "nul-path.yaml": "data.path: a path has no NUL", "nul-out.yaml": "out: a path has no NUL",
    "laughs.yaml": "conditions.0: ",
}  # fmt: skip
TARGETS += [(f"train {name}", words) for name, words in CONFIGS.items()]
STUDIES = {"pipe.yaml": "a named pipe", "missing.yaml": "cannot be read", "words.yaml": "got str"}
TARGETS += [(f"pareto --out new --settings {name}", words) for name, words in STUDIES.items()]
FOLDERS = {
    "file.txt": "cannot write there", "file.txt/x": "cannot write there", "/dev/null": "cannot write there",
    "/dev/full/x": "cannot write there", "pipe.smi": "cannot write there", "loop.smi": "cannot write there",
    "/proc/x": "cannot write there", "MODEL": "holds a run", "''": "not a valid path",
    "null": "not a valid path", "<LONG>": "cannot write there",
}  # fmt: skip
TARGETS += [(f"train tiny data.path=ok.smi out={name}", words) for name, words in FOLDERS.items()]
ORIGINS = {
    "missing.csv": "No such file", "pipe.csv": "a named pipe", "zero.csv": "a device",
    "folder.csv": "a folder", "loop.csv": "leads nowhere", "ok.csv": "ok.csv is not qm9",
    "noise.csv": "not qm9", "zip.smi.gz": "not qm9", "crc.smi.gz": "CRC", "cut.csv.gz": "not qm9, or damaged",
    "''": "a folder", "ftp://x/y": "only http", "file:///etc/passwd": "only http", "://": "only http",
    "http://": "no host", "http:///x": "no host", "'http://[::1'": "IPv6", "http://127.0.0.1:port/": "Port",
    "http://127.0.0.1:99999/": "Port", "'http://127.0.0.1:1/a b'": "as %XX", "http://\U0001f600/": "as %XX",
    "'http://a\0b/'": "as %XX", "'http://a/\nb'": "as %XX", "javascript://x": "only http",
}  # fmt: skip
TARGETS += [(f"data download qm9 --from {name}", words) for name, words in ORIGINS.items()]
OTHERS = [*OUTPUTS, *((line, "which is read too") for line in OVER), *LOADS, *TOKENS, *TARGETS]


@pytest.mark.parametrize(("line", "words"), OTHERS, ids=[line[:60] for line, _ in OTHERS])
def test_any_other_file_that_cannot_be_used_is_refused(
    line: str, words: str, refused: Callable[[str, str], None]
) -> None:
    refused(line, words)
