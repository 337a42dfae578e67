"""`moldiff data`: data sets by name, and token files, from which training needs no chemistry."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moldiff.cli import output
from moldiff.errors import MoldiffError
from moldiff.files import written

if TYPE_CHECKING:
    import pandas as pd

    from moldiff import types

data_app = typer.Typer(help="Data sets and token files.", rich_markup_mode=None)

Source = Annotated[
    str,
    typer.Argument(
        metavar="NAME|FILE",
        help="A data set's name (moldiff data list), or .smi, .txt, .csv, .tsv, .sdf, each plain or gzipped, "
        "or .parquet; of other modalities what docs/modalities.md says.",
    ),
]
Name = Annotated[str, typer.Argument(help="The data set: see moldiff data list.")]
From = Annotated[
    str | None,
    typer.Option("--from", metavar="FILE|URL", help="Take the data set from a file or a mirror instead."),
]
Out = Annotated[Path, typer.Option(help="The token file to write, .safetensors.")]
Modality = Annotated[str, typer.Option(help="What the items are.")]
Column = Annotated[str | None, typer.Option(help="Column of a table; guessed by default.")]
Tokenizer = Annotated[
    str | None, typer.Option(help="smiles, selfies, characters, ...; the modality's own by default.")
]
Stereo = Annotated[str | None, typer.Option(help="keep what is written (the default), or strip it.")]
Fragments = Annotated[
    str | None,
    typer.Option(help="Of what is in pieces, such as salts: refuse it (the default), or take the largest."),
]
PadTo = Annotated[int | None, typer.Option("--pad-to", help="Pad every item to this length.")]
HeldOut = Annotated[float, typer.Option("--heldout", help="Share of rows kept from training.")]
Rejects = Annotated[
    Path | None, typer.Option(help="Write every row that is left out, with line and reason: .csv.")
]
Workers = Annotated[int, typer.Option(help="Processes.")]
Option = Annotated[
    list[str] | None,
    typer.Option("--option", help="KEY=VALUE for the other options of the modality's reader: length=128."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a data set.")]


@data_app.callback()
def data() -> None:
    """Data sets and token files."""


@data_app.command("list")
def list_sets(json: Json = False) -> int:
    """List the data sets that have a name, and where they come from."""
    from moldiff import registry

    sets = registry.build("data", "catalogue")
    if json:
        for each in sets:
            print(jsonlib.dumps(_facts(each)))
        return 0
    output.table(
        [(s.name, f"{s.rows:,}", f"{s.size / 1e6:.1f}", _yes(s.cached()), s.about, s.licence) for s in sets],
        ("data set", "rows", "MB", "here", "what", "licence"),
    )
    for each in sets:
        print(f"{each.name}: {each.citation}; {each.url}")
    return 0


@data_app.command()
def download(name: Name, source: From = None) -> int:
    """Fetch a data set into the cache (MOLDIFF_HOME, else the user's), verified by its sha256."""
    from moldiff import registry

    path = registry.build("data", "fetch", name, source)
    print(f"{name}: {path}, {path.stat().st_size:,} bytes, sha256 verified")
    return 0


@data_app.command()
def prepare(
    source: Source,
    out: Out,
    origin: From = None,
    modality: Modality = "molecules",
    column: Column = None,
    tokenizer: Tokenizer = None,
    stereo: Stereo = None,
    fragments: Fragments = None,
    pad_to: PadTo = None,
    heldout: HeldOut = 0.05,
    rejects: Rejects = None,
    workers: Workers = 1,
    option: Option = None,
) -> int:
    """Write the token file of a data set or a data file: tokens, lengths, properties, held-out rows."""
    output.check_writable(out, source, origin)
    if out.suffix != ".safetensors":
        raise MoldiffError(f"--out: got {out}, a token file ends in .safetensors")
    if rejects is not None:
        output.check_writable(rejects, source, origin)
        if rejects.suffix != ".csv":
            raise MoldiffError(f"--rejects: got {rejects}, a list of rejects ends in .csv")
    if not 0 <= heldout < 1:
        raise MoldiffError(f"--heldout: got {heldout}, must be in [0, 1)")

    from moldiff import registry

    kind = registry.build("modality", modality)
    chosen = registry.tokenizer_name(modality, tokenizer)
    if origin is not None:
        registry.build("data", "fetch", source, origin)
    tokens = kind.prepare(
        Path(source),
        tokenizer=chosen,
        pad_to=pad_to,
        heldout=heldout,
        left_out=None if rejects is None else _writer(rejects),
        **_reading(kind, option or [], column=column, stereo=stereo, fragments=fragments, workers=workers),
    )
    tokens.save(out)
    _report(
        tokens,
        f"{chosen} tokens of {kind.tokenizer(tokens.info['tokenizer']).vocab_size} kinds",
        out,
        rejects,
    )
    return 0


def _reading(kind: types.Modality, pairs: list[str], **named: Any) -> dict[str, Any]:
    """The options of the modality's reader that were given; MoldiffError for one that it does not take."""
    from moldiff.training.intake import takes

    given = {name: value for name, value in named.items() if value not in (None, 1)}
    for name in given:
        takes(kind, f"--{name}: got {given[name]}", name)
    for pair in pairs:
        name, _, value = pair.partition("=")
        if not name or not value:
            raise MoldiffError(f"--option: got {pair!r}, write KEY=VALUE")
        takes(kind, f"--option: got {name}", name)
        given[name] = _value(value)
    return given


def _value(text: str) -> bool | int | float | str:
    """What a text spells: true or false, a number, or itself."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _writer(path: Path) -> Any:
    """What writes the rows that are left out."""

    def write(rows: pd.DataFrame) -> None:
        with written(path) as part:
            rows.to_csv(part, index=False)

    return write


def _report(tokens: Any, kinds: str, out: Path, rejects: Path | None) -> None:
    """Says what was written, what was left out and what was changed."""
    info = tokens.info
    longest = int(tokens.lengths.max())
    print(
        f"wrote {out}: {len(tokens):,} items, {int(tokens.heldout.sum()):,} of them held out; {kinds}, "
        f"at most {longest} an item"
    )
    print(f"left out: {_counts(info['rejected'])}; repeats: {info['duplicates']:,}")
    if info.get("altered"):
        print(f"changed: {_counts(info['altered'])}")
    if rejects is not None:
        print(f"wrote {rejects}: every row that was left out")
    elif info["rejected"]:
        print("--rejects FILE lists them by line")


def _counts(counts: dict[str, int]) -> str:
    listed = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{reason} {count:,}" for reason, count in listed) or "none"


def _facts(each: Any) -> dict[str, Any]:
    keys = ("name", "about", "rows", "size", "sha256", "url", "licence", "citation")
    return {**{key: getattr(each, key) for key in keys}, "path": str(each.path), "here": each.cached()}


def _yes(truth: bool) -> str:
    return "yes" if truth else "no"
