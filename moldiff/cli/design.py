"""`moldiff design`: molecules around what must stay, one verb a task."""

from __future__ import annotations

import inspect
import json as jsonlib
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moldiff.cli import generate as options
from moldiff.cli import output
from moldiff.cli.summary import fit
from moldiff.errors import MoldiffError

if TYPE_CHECKING:
    from moldiff.design.designer import Designed
    from moldiff.design.verbs import Verb
else:
    Verb = Any  # the signatures are read when the commands are made, and need no RDKit

design_app = typer.Typer(
    help="Design molecules around what must stay, one verb a task.", rich_markup_mode=None
)

#: The model that knows the fragment writing best, and the one that can be told how long a row is to be.
MODEL, SIZED = "zinc250k-ar", "zinc250k"

Model = Annotated[str, typer.Option("--model", help="A bundled model's name, or a folder with card.json.")]
Number = Annotated[int, typer.Option("-n", "--num", help="How many distinct molecules are wanted.")]
Budget = Annotated[int | None, typer.Option(help="Draws at most; 20 n by default.")]
Out = Annotated[Path | None, typer.Option(help="Table: .csv, .jsonl, .parquet, .smi or .sdf.")]
Grid = Annotated[Path | None, typer.Option(help="Picture, what stays highlighted: .png or .svg.")]
Scaffold = Annotated[str, typer.Option(help="SMILES with * where it is decorated: 'c1ccc([*])cc1'.")]
Fragments = Annotated[
    str, typer.Option(help="SMILES with a * each, parted by a dot: 'c1ccccc1[*].[*]N1CCOCC1'.")
]
Motif = Annotated[str, typer.Option(help="SMILES with one *, where it grows.")]
Core = Annotated[str, typer.Option(help="SMILES without *; it grows at its hydrogens.")]
Smiles = Annotated[str, typer.Option(help="The molecule to begin with.")]
Atoms = Annotated[str, typer.Option(help="What is drawn anew, from 0 as RDKit counts: 3-7, or 3,4,9-11.")]
Strength = Annotated[float, typer.Option(help="About the share of its atoms that is drawn anew, up to 1.")]
Similarity = Annotated[
    float, typer.Option("--similarity", help="Least Tanimoto similarity to the lead (Morgan, radius 2).")
]


def _design(
    verb: Verb,
    model: Model = MODEL,
    num: Number = 20,
    budget: Budget = None,
    target: options.Target = None,
    scale: options.Scale = None,
    sampler: options.SamplerName = None,
    steps: options.Steps = None,
    eta: options.Eta = None,
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    filter_: options.FilterOption = None,
    filter_smarts: options.FilterSmarts = None,
    max_sa: options.MaxSa = None,
    min_qed: options.MinQed = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    out: Out = None,
    grid: Grid = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> int:
    """Draws molecules for a verb, says what was understood and what came out; the options of every verb."""
    from moldiff import registry
    from moldiff.chem.filters import Filters
    from moldiff.design.designer import Designer
    from moldiff.generation.model import load

    modality = registry.build("modality", "molecules")
    for path, check in ((out, modality.check_output), (grid, modality.check_picture)):
        if path is not None:
            output.check_writable(path)
            check(path)
    how = {"sampler": sampler, "steps": steps, "temperature": temperature, "top_p": top_p, "scale": scale}
    asked = {name: value for name, value in how.items() if value is not None}
    asked |= {} if eta is None else {"eta": eta}
    bounds = [f"{name}{limit}" for name, limit in (("sa<=", max_sa), ("qed>=", min_qed)) if limit is not None]
    wanted = Filters.of([*(filter_ or ()), *bounds], filter_smarts)
    if not json:
        print(f"asked: {verb.said}")
    designer = Designer(load(model, device), verb, tuple(target or ()), seed, **asked)
    with output.progress_bar(num, "designing", quiet or json) as progress:
        found = designer.run(num, budget, check=wanted, progress=progress)
    if out is not None:
        modality.write(found.frame, out)
    if grid is not None and len(found.frame):
        _draw(found, verb, grid)
    facts = {"asked": verb.said, "requested": num, "model": model, "seed": seed, **found.facts()}
    if json:
        print(jsonlib.dumps(facts, allow_nan=False))
    else:
        _show(facts, [path for path in (out, grid) if path is not None])
    if found.interrupted:
        raise KeyboardInterrupt
    return 0 if len(found.frame) == num else options.FELL_SHORT


def _verb(make: Callable[..., Verb], model: str = MODEL) -> Callable[..., Verb]:
    """Adds a command whose options are those of ``make``, which builds its verb, and those of all verbs."""
    own = list(inspect.signature(make, eval_str=True).parameters.values())
    shared = list(inspect.signature(_design, eval_str=True).parameters.values())[1:]
    shared = [each.replace(default=model) if each.name == "model" else each for each in shared]

    def command(**given: Any) -> int:
        verb = make(**{each.name: given.pop(each.name) for each in own})
        return _design(verb, **given)

    command.__doc__, command.__name__ = make.__doc__, make.__name__
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [each.replace(kind=keyword) for each in (*own, *shared)]
    command.__signature__ = inspect.Signature(parameters, return_annotation=int)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    design_app.command()(command)
    return make


@_verb
def decorate(scaffold: Scaffold) -> Verb:
    """Put something at every attachment point of a scaffold."""
    return _grown("scaffold", scaffold)


@_verb
def extend(motif: Motif) -> Verb:
    """Let a motif grow at its attachment point."""
    return _grown("motif", motif, ends=1)


@_verb
def link(fragments: Fragments) -> Verb:
    """Join fragments by a linker that holds all of their attachment points."""
    from moldiff.chem.cores import read
    from moldiff.design.verbs import Grow

    core = read(fragments, "fragments")
    if len(core.parts) < 2 or any(text.count("*") != 1 for text in core.shown):
        shape = ", ".join(f"{text} with {text.count('*')}" for text in core.shown)
        raise MoldiffError(f"fragments: got {shape}, needs two or more with one attachment point each")
    return Grow(core, joined=True)


@_verb
def superstructure(core: Core) -> Verb:
    """Let a core grow at hydrogens that are drawn for each molecule."""
    from moldiff.chem.cores import growable, read
    from moldiff.design.verbs import Superstructure

    found = read(core, "core")
    if len(found.parts) != 1 or found.ends:
        got = f"got {len(found.parts)} pieces with {found.ends} attachment points"
        raise MoldiffError(f"core: {got}, needs one piece with none; decorate takes attachment points")
    if not growable(found):
        raise MoldiffError(f"core: got {core}, which has no hydrogen to grow at")
    return Superstructure(found)


@partial(_verb, model=SIZED)
def infill(smiles: Smiles, atoms: Atoms) -> Verb:
    """Draw some atoms of a molecule anew."""
    from moldiff.design.verbs import infill as made
    from moldiff.design.verbs import lead

    lead(smiles)
    return made(smiles, _places(atoms))


@partial(_verb, model=SIZED)
def morph(smiles: Smiles, strength: Strength = 0.3, similarity: Similarity = 0.0) -> Verb:
    """Change a lead: draw pieces of it anew, other ones for each molecule."""
    from moldiff.design.verbs import Morph, lead

    return Morph(lead(smiles), strength, similarity)


def _grown(what: str, text: str, ends: int | None = None) -> Verb:
    """What grows at the attachment points of one piece; MoldiffError where they are none, or too many."""
    from moldiff.chem.cores import read
    from moldiff.design.verbs import Grow

    core = read(text, what)
    if len(core.parts) != 1:
        raise MoldiffError(f"{what}: got {len(core.parts)} pieces, needs one; link takes several")
    if core.ends == 0 or ends not in (None, core.ends):
        needs = "one" if ends == 1 else "at least one"
        raise MoldiffError(f"{what}: got {text} with {core.ends} attachment points, needs {needs}: write *")
    return Grow(core)


def _places(text: str) -> list[int]:
    """The numbers that a text like 3-7,9 spells; MoldiffError for another."""
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r" *([0-9]{1,6}) *(?:- *([0-9]{1,6}) *)?", part)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise MoldiffError(f"atoms: got {text!r}, write 3-7 or 3,4,9-11")
        found.extend(range(int(match[1]), int(match[2] or match[1]) + 1))
    return found


def _draw(found: Designed, verb: Verb, path: Path) -> None:
    """Draws what was asked and the answers, what stays highlighted."""
    from moldiff.chem import picture
    from moldiff.chem.molecule import parse

    smiles = [*verb.core.shown, *found.frame["smiles"].head(20)]
    captions = ["asked"] * len(verb.core.shown)
    captions += [f"qed {row.qed:.2f}, sa {row.sa:.1f}" for row in found.frame.head(20).itertuples()]
    asked = [tuple(_ends(text)) for text in verb.core.shown]
    lit = [verb.core.places_in(parse(text)) for text in found.frame["smiles"].head(20)]
    picture.grid(smiles, captions, path, lit=[*asked, *lit])


def _ends(smiles: str) -> list[int]:
    """The open ends of a piece."""
    from moldiff.chem.molecule import parse

    mol = parse(smiles)
    assert mol is not None
    return [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetAtomicNum() == 0]


def _show(facts: dict[str, Any], files: Sequence[Path]) -> None:
    rows = [
        ("requested", str(facts["requested"]), ""),
        ("drawn", str(facts["drawn"]), ""),
        ("sane", str(facts["sane"]), _share(facts["sane"], facts["drawn"]) + " of drawn"),
        ("retained", str(facts["retained"]), _share(facts["retained"], facts["drawn"]) + " of drawn"),
        ("kept", str(facts["kept"]), "distinct, with all that had to stay"),
        ("forwards", output.number(facts["forwards_per_molecule"], 4), "per molecule drawn"),
        ("seconds", output.number(facts["seconds"]), "sampling"),
    ]
    output.table(rows, ("", "count", ""))
    if facts["properties"]:
        met = facts["properties"].items()
        lines = [(name, each["asked"], output.spread(each, 3), fit(each)) for name, each in met]
        output.table(lines, ("property", "asked", "mean ± s.e. of kept", "fit"))
    if facts["rejects"]:
        print("rejects: " + ", ".join(f"{reason} {count}" for reason, count in facts["rejects"].items()))
    if facts["kept"] < facts["requested"]:
        print(f"the budget ended first: {facts['kept']} of {facts['requested']}; allow more with --budget")
    for path in files:
        print(f"wrote {path}")


def _share(count: int, whole: int) -> str:
    return output.percent(count / whole if whole else None)
