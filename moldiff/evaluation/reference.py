"""References: what a set of molecules is compared with, be it a model, a file, a token file or a list."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from moldiff import registry
from moldiff.chem import metrics, oracles
from moldiff.chem.molecule import canonical, identity
from moldiff.chem.work import HERE, Work
from moldiff.errors import MoldiffError, unknown

if TYPE_CHECKING:
    from moldiff.generation.guided import Loaded

Floats = NDArray[np.float64]

#: What is measured of every molecule; MOSES's four properties are among them.
PROPERTIES = tuple(oracles.ORACLES)

TOKEN_FILE = ".safetensors"
#: What the items of a reference are.
COMPARED = "molecules"


@final
@dataclass(frozen=True, eq=False)
class Known:
    """A data set as far as it is known.

    Args:
        name: how it was asked for.
        hashes: its molecules as hashes, for novelty.
        properties: name -> (M,) values of its training molecules, each molecule once; NaN where undefined.
        smiles: its distinct training molecules, sorted; None where only hashes and values are known.
        facts: counts for the summary: molecules, train, and what was left out by reason.
    """

    name: str
    hashes: metrics.Reference
    properties: dict[str, Floats]
    smiles: tuple[str, ...] | None
    facts: dict[str, Any]


def known(
    reference: str | Path | Sequence[str | None] | Known,
    column: str | None = None,
    work: Work = HERE,
) -> Known:
    """The reference of that name, in that file, or of those SMILES.

    A bundled model's name or a model's folder gives hashes and a table of properties; a molecule file, a
    token file (.safetensors) or a list of SMILES gives structures too.

    Args:
        reference: what to compare with; one that is ready is handed back.
        column: the column of a table; guessed when None.
        work: how it is done.

    Raises:
        MoldiffError: no such model or file, one that cannot be read, or one without a molecule.
    """
    if isinstance(reference, Known):
        return reference
    if not isinstance(reference, str | Path):
        return _of_list([text if isinstance(text, str) else "" for text in reference], work)
    path = Path(reference)
    if path.suffix == TOKEN_FILE or _is_model(str(reference)):
        if column is not None:
            raise MoldiffError(f"reference {reference}: got column {column!r}, which only a table has")
        return _of_token_file(path) if path.suffix == TOKEN_FILE else _of_model(str(reference))
    if not path.suffix and path.name not in _data_sets():
        choices = [*_bundled(), *_data_sets(), "a model's folder", "a molecule file", "a token file"]
        raise unknown("reference", str(reference), dict.fromkeys(choices))
    with work.stages("reading the reference", 1):
        rows = registry.build("modality", "molecules").read(path, column=column, workers=work.workers)
    found = [text for text in rows["smiles"] if isinstance(text, str)]
    reasons = {str(reason): int(count) for reason, count in rows["reason"].value_counts().items()}
    return _of_structures(str(reference), found, reasons, work)


def _is_model(name: str) -> bool:
    # A file has a suffix; so torch, which models need, is not loaded to look for one.
    return os.path.isdir(name) or (not Path(name).suffix and name in _bundled())


def _bundled() -> list[str]:
    from moldiff import checkpoint

    cards = {name: checkpoint.read_card(folder) for name, folder in checkpoint.bundled().items()}
    return [name for name, card in cards.items() if card.config.data.modality == COMPARED]


def _data_sets() -> list[str]:
    return [each.name for each in registry.build("data", "catalogue")]


def _of_model(name: str) -> Known:
    from moldiff.generation.model import load

    return of_model(name, load(name, "cpu"))


def of_model(name: str, model: Loaded) -> Known:
    """The reference that a loaded model carries: hashes and a table of properties, no structures.

    Raises:
        MoldiffError: a model of something other than molecules.
    """
    if not isinstance(model.reference, metrics.Reference):
        got = f"a model of {model.modality.name}"
        raise MoldiffError(f"reference {name}: got {got}, molecules are compared with molecules")
    properties = {n: values for n, values in model.table.properties.items() if n in oracles.BUILT_IN}
    return Known(name, model.reference, properties, None, _facts(model.reference, {}))


def _of_token_file(path: Path) -> Known:
    data = registry.resolve("data", "token-file").load(path)
    if data.info["modality"] != COMPARED:
        got = f"a token file of {data.info['modality']}"
        raise MoldiffError(f"reference {path}: got {got}, molecules are compared with molecules")
    tokenizer = registry.build("modality", "molecules").tokenizer(data.info["tokenizer"])
    rows, distinct = data.rows(), data.distinct()
    train = np.sort(distinct[~data.heldout[distinct]])
    spelt = (tokenizer.decode(rows[row].tolist()) for row in train)
    # Some notations give another spelling back. Sorted, so that nothing depends on the order of the file.
    items = zip(spelt, data.identities[train].tolist(), strict=True)
    smiles = tuple(sorted(s if identity(s) == known_as else canonical(s) or s for s, known_as in items))
    version = str(data.info.get("rdkit", "unknown"))
    hashes = metrics.Reference(data.identities[distinct], ~data.heldout[distinct], version)
    properties = {
        name: data.properties[name][train].astype(np.float64)
        for name in data.properties
        if name in oracles.BUILT_IN
    }
    return Known(str(path), hashes, properties, smiles, _facts(hashes, data.info.get("rejected", {})))


def _of_list(smiles: Sequence[str], work: Work) -> Known:
    found = work.map("reading the reference", _canonical, smiles)
    kept = [text for text in found if text is not None]
    lost = len(found) - len(kept)
    return _of_structures("a list", kept, {"invalid": lost} if lost else {}, work)


def _of_structures(name: str, smiles: Sequence[str], left_out: dict[str, int], work: Work) -> Known:
    """The reference of canonical SMILES, all of them training rows."""
    if not smiles:
        raise MoldiffError(f"reference {name}: it holds no molecule ({left_out})")
    distinct = tuple(sorted(set(smiles)))
    hashes = metrics.Reference.of(distinct, np.ones(len(distinct), dtype=np.bool_))
    values = scores(distinct, PROPERTIES, work)
    facts = {"rows": len(smiles) + sum(left_out.values()), **_facts(hashes, left_out)}
    return Known(name, hashes, values, distinct, facts)


def scores(smiles: Sequence[str], names: Sequence[str], work: Work) -> dict[str, Floats]:
    """The values of each named property, (N,) each, NaN where there is none."""
    rows = work.map("properties", partial(_rows, tuple(names)), smiles)
    table = np.array(rows, dtype=np.float64).reshape(len(smiles), len(names))
    return {name: table[:, column].copy() for column, name in enumerate(names)}


def _rows(names: tuple[str, ...], smiles: Sequence[str]) -> list[Any]:
    found = oracles.score(smiles, names)
    return list(np.stack([found[name] for name in names], axis=1))


def _canonical(smiles: Sequence[str]) -> list[str | None]:
    return [canonical(text) for text in smiles]


def _facts(hashes: metrics.Reference, left_out: dict[str, int]) -> dict[str, Any]:
    return {
        "molecules": len(hashes.hashes),
        "train": int(hashes.in_train.sum()),
        "rdkit": hashes.rdkit,
        "left_out": left_out,
    }
