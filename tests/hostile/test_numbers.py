"""Hostile numbers for every option of every verb: one line that says what was wrong, and nothing written."""

from collections.abc import Callable

import pytest

#: By option, with what it goes with, the values that it refuses; what the line has to name comes last.
WHOLE = ("nan", "1e3", "1.5", "0x10", "''", "½", "9" * 5000)
#: Of a list of numbers, in which a comma is none of a fraction.
LISTS = ("''", "0x1", "1e", "½", "one", "1,,2")
REAL = ("''", "0x1", "1e", "1,5", "½", "one")
NUMBERS: list[tuple[str, tuple[str, ...], str]] = [
    ("generate MODEL -n", WHOLE, "'-n' / '--num'"),
    ("generate MODEL -n", ("0", "-0", "-1"), "n: got"),
    ("generate MODEL -n", ("9" * 30, str(2**63)), "n: got 9"),
    ("generate MODEL --unique --max-samples", WHOLE, "--max-samples"),
    ("generate MODEL --unique --max-samples", ("-5", "9" * 30), "max samples: got"),
    ("generate MODEL --seed", WHOLE, "--seed"),
    ("generate MODEL --steps", WHOLE, "--steps"),
    ("generate MODEL --steps", ("0", "-3", "1000001", "9" * 30), "steps: Input should be"),
    ("generate MODEL --batch-size", WHOLE, "batch-size"),
    ("generate MODEL --batch-size", ("0", "-1"), "batch size: got"),
    ("generate MODEL --workers", WHOLE, "--workers"),
    ("generate MODEL --workers", ("-1", "1025", "9" * 30), "workers"),
    ("generate MODEL --temperature", REAL, "--temperature"),
    (
        "generate MODEL --temperature",
        ("0", "-0", "-1", "1e400", "1e-400", "-nan"),
        "temperature: Input should",
    ),
    ("generate MODEL --top-p", REAL, "--top-p"),
    ("generate MODEL --top-p", ("0", "-0", "-1", "1.1", "1e400", "1e-400", "nan"), "top_p: Input should"),
    ("generate MODEL --target qed=0.5 --scale", REAL, "--scale"),
    ("generate MODEL --target qed=0.5 --scale", ("-1", "1e400", "1e300", "nan"), "scale:"),
    ("generate MODEL --sampler remdm-cap --eta", REAL, "--eta"),
    ("generate MODEL --sampler remdm-cap --eta", ("-1", "2", "1e400", "nan"), "eta"),
    ("generate MODEL --oracle np_score --oracle-timeout", REAL, "--oracle-timeout"),
    (
        "generate MODEL --oracle np_score --oracle-timeout",
        ("-1", "nan", "inf", "1e400"),
        "oracle timeout: got",
    ),
    ("generate MODEL --oracle-timeout", ("nan", "5"), "no oracle"),
    ("generate MODEL --targets-from asked.csv --per-target", WHOLE, "--per-target"),
    ("generate MODEL --targets-from asked.csv --per-target", ("0", "-1", "9" * 30), "got"),
    ("generate MODEL --reward qed --best-of", (*WHOLE, "0", "-1", "9" * 30), "best-of"),
    ("generate MODEL --reward qed --particles", (*WHOLE, "0", "-1", "9" * 30), "particles"),
    ("generate MODEL --reward qed --particles 4 --tilt", (*REAL, "nan", "1e400"), "tilt"),
    ("generate MODEL --repair", (*WHOLE, "-1", "9" * 30), "repair"),
    ("pareto --out new --scales", (*LISTS, "nan", "-1", "5..1", "1..1e400", "1..99999999"), "--scales"),
    ("pareto --out new --steps", (*LISTS, "nan", "0", "-1", "5..1", "1..99999999"), "--steps"),
    ("pareto --out new --seeds", (*LISTS, "nan", "0", "-1", "5..1", "1..99999999"), "--seeds"),
    ("evaluate ok.smi --workers", (*WHOLE, "0", "-1", "9" * 30), "workers"),
    ("evaluate ok.smi --exact", (*WHOLE, "1", "-1"), "exact"),
    ("evaluate ok.smi --seed", (*WHOLE, "-1"), "seed"),
    ("likelihood ok.smi MODEL --times", (*WHOLE, "1", "-1", "10001", "9" * 30), "times"),
    ("likelihood ok.smi MODEL --seed", WHOLE, "seed"),
    ("score ok.smi --workers", (*WHOLE, "0", "-1", "9" * 30), "workers"),
    ("score ok.smi --timeout", (*REAL, "-1", "nan", "inf", "1e400"), "timeout"),
    ("data prepare ok.smi --out new.safetensors --pad-to", WHOLE, "pad-to"),
    ("data prepare ok.smi --out new.safetensors --pad-to", ("0", "-1", "4097", "9" * 30), "pad_to: got"),
    ("data prepare ok.smi --out new.safetensors --heldout", (*REAL, "-0.1", "1", "nan", "1e400"), "heldout"),
    ("data prepare ok.smi --out new.safetensors --workers", (*WHOLE, "0", "-1", "9" * 30), "workers"),
    ("oracle fit ok.csv --column y --out new.safetensors --folds", WHOLE, "folds"),
    ("oracle fit ok.csv --column y --out new.safetensors --folds", ("0", "1", "-1", "4", "9" * 30), "folds"),
    ("oracle fit ok.csv --column y --out new.safetensors --radius", (*WHOLE, "-1", "7", "9" * 30), "radius"),
    ("oracle fit ok.csv --column y --out new.safetensors --size", (*WHOLE, "0", "65537", "9" * 30), "size"),
    ("oracle fit ok.csv --column y --out new.safetensors --seed", (*WHOLE, "-1", str(2**32)), "seed"),
    (
        "oracle fit ok.csv --column y --out new.safetensors --workers",
        (*WHOLE, "0", "-1", "9" * 30),
        "workers",
    ),
    ("train tiny out=o data.path=ok.smi seed=", ("nan", "1.5", "-1", str(2**63), "9" * 5000, "''"), "seed:"),
    ("train tiny out=o data.path=ok.smi max_steps=", ("nan", "1e400", "0", "-1", "[1]", "''"), "max_steps:"),
    ("train tiny out=o data.path=ok.smi optimizer.lr=", ("nan", ".inf", "1e400", "0", "-1"), "optimizer.lr:"),
    ("train tiny out=o data.path=ok.smi network.width=", ("0", "nan", "1e3.5", "3"), "width"),
]
OPTIONS = [(option, value, words) for option, values, words in NUMBERS for value in values]


def joined(option: str, value: str) -> str:
    """A command line that ends in the value, which no option takes for one of its own."""
    parted = not option.endswith("=")
    if not parted:
        return option + value
    name = option.split()[-1]
    return f"{option} {value}" if name == "-n" else f"{option.removesuffix(name)}{name}={value}"


@pytest.mark.parametrize(
    ("option", "value", "words"), OPTIONS, ids=[f"{option} {value[:40]}" for option, value, _ in OPTIONS]
)
def test_a_number_out_of_bounds_is_refused(
    option: str, value: str, words: str, refused: Callable[[str, str], None]
) -> None:
    refused(joined(option, value), words)
