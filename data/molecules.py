"""Molecules as a modality: reader, tokenizer, check, properties, picture and writers."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from moldiff.chem import metrics, molecule, oracles, picture
from moldiff.errors import MoldiffError, unknown
from moldiff.files import written

from .datasets import TokenFile, hold_out
from .readers import read_smiles
from .smiles import SmilesTokenizer, spellable
from .writers import WRITERS


@final
class Molecules:
    """Small organic molecules written as SMILES."""

    name: ClassVar[str] = "molecules"
    properties: ClassVar[tuple[str, ...]] = tuple(oracles.ORACLES)
    shown: ClassVar[tuple[str, ...]] = ("qed", "logp")
    key: ClassVar[str] = "smiles"

    def read(self, path: Path, *, column: str | None = None) -> pd.DataFrame:
        """The rows of a file in order, repeats too: line, canonical smiles, or the reason for none."""
        found = read_smiles(path, column=column, unique=False)
        good = [(line, smiles, None) for line, smiles in zip(found.lines, found.smiles, strict=True)]
        bad = [(row.line, None, row.reason) for row in found.rejected]
        rows = sorted([*good, *bad], key=lambda row: row[0])
        return pd.DataFrame(rows, columns=["line", self.key, "reason"], dtype=object)

    def prepare(
        self,
        path: Path,
        *,
        column: str | None = None,
        pad_to: int | None = None,
        heldout: float = 0.05,
        workers: int = 1,
        seed: int = 0,
    ) -> TokenFile:
        """A token file of the molecules in a file, canonical and each once, with all properties.

        ``heldout`` is the share of rows kept from training, drawn with ``seed``.
        """
        found = read_smiles(path, column=column, workers=workers)
        reasons = Counter(rejected.reason for rejected in found.rejected)
        smiles, left_out = spellable(found.smiles, pad_to)
        reasons.update(left_out)
        if not smiles:
            raise MoldiffError(f"no molecules in {path}: all are left out ({dict(reasons)})")
        tokenizer = SmilesTokenizer.learn(smiles, pad_to)
        items = [tokenizer.encode(each) for each in smiles]
        values = oracles.score(smiles, self.properties, workers)
        return TokenFile(
            np.fromiter((t for item in items for t in item), dtype=np.uint16),
            np.array([len(item) for item in items], dtype=np.int32),
            hold_out(len(items), heldout, seed),
            self.identities(smiles),
            {name: column.astype(np.float32) for name, column in values.items()},
            {
                "modality": self.name,
                "tokenizer": tokenizer.state(),
                "source": path.name,
                "rejected": dict(reasons),
                "duplicates": found.duplicates,
                "rdkit": molecule.rdkit_version(),
            },
        )

    def tokenizer(self, state: dict[str, Any]) -> SmilesTokenizer:
        """The tokenizer with a stored state."""
        return SmilesTokenizer.from_state(state)

    def identities(self, items: Sequence[str]) -> NDArray[np.int64]:
        """Hashes (N,) by which an item is known again."""
        return np.array([molecule.identity(item) for item in items], dtype=np.int64)

    def reference(self, arrays: Mapping[str, Any], versions: Mapping[str, str]) -> metrics.Reference:
        """The data set to be novel to, from a checkpoint's arrays ``hashes`` and ``in_train``."""
        if not {"hashes", "in_train"} <= set(arrays):
            raise MoldiffError("model: its reference lacks hashes or in_train")
        hashes = np.asarray(arrays["hashes"], dtype=np.int64)
        return metrics.Reference(
            hashes, np.asarray(arrays["in_train"], dtype=bool), versions.get("rdkit", "unknown")
        )

    def evaluate(self, raw: Sequence[str], reference: metrics.Reference) -> pd.DataFrame:
        """A table of one row a string, in order.

        Columns: smiles (canonical, missing where not valid), raw, valid, sane, reason, novel (to every row
        of the data set, by canonical SMILES), and every property, NaN where not valid.
        """
        checks = [molecule.check(text) for text in raw]
        canonical = [check.canonical for check in checks]
        valid = np.array([check.valid for check in checks], dtype=bool)
        ids = self.identities([text or "" for text in canonical])
        distinct = list(dict.fromkeys(canonical))
        place = {text: number for number, text in enumerate(distinct)}
        places = [place[text] for text in canonical]
        scores = oracles.score(distinct, self.properties)
        columns: dict[str, Any] = {
            "smiles": canonical,
            "raw": list(raw),
            "valid": valid,
            "sane": np.array([check.sane for check in checks], dtype=bool),
            "reason": [check.reason for check in checks],
            "novel": valid & ~reference.contains(ids),
            **{name: values[places] for name, values in scores.items()},
        }
        return pd.DataFrame(columns)

    def summarise(self, frame: pd.DataFrame, reference: metrics.Reference) -> dict[str, Any]:
        """The counts and rates of a table, and the means of its novel rows (docs/metrics.md)."""
        raw = frame["raw"].tolist()
        checks = [
            molecule.Check(*row)
            for row in zip(
                _texts(frame["smiles"]), frame["valid"], frame["sane"], _texts(frame["reason"]), strict=True
            )
        ]
        marks = metrics.novelty_flags(raw, checks, reference)
        means = {n: metrics.novel_mean(frame[n].to_numpy(dtype=float), marks) for n in self.properties}
        return {**_headline(metrics.summarise(raw, checks, reference)), "novel_means": means}

    def write(self, frame: pd.DataFrame, path: Path) -> None:
        """Writes a table by the path's suffix, whole or not at all.

        ``.csv`` and ``.jsonl`` hold every row and column; ``.smi`` the valid molecules, one a line; ``.sdf``
        the valid molecules with 2-D coordinates and every column.
        """
        self.check_output(path)
        with written(path) as part:
            WRITERS[path.suffix](frame, part)

    def check_output(self, path: Path) -> None:
        """Refuses a path whose suffix no writer takes."""
        if path.suffix not in WRITERS:
            raise unknown("kind of output file", path.suffix or path.name, WRITERS)

    def check_picture(self, path: Path) -> None:
        """Refuses a path whose suffix no picture has."""
        if path.suffix not in picture.FORMATS:
            raise unknown("kind of picture", path.suffix or path.name, picture.FORMATS)

    def picture(self, frame: pd.DataFrame, shown: Sequence[str], path: Path) -> None:
        """Draws the rows of a table, each with the named properties and whether it is novel."""
        captions = [
            ", ".join(f"{name} {row[name]:.3g}" for name in shown)
            + ("\nnovel" if row["novel"] else "\nin the data set")
            for _, row in frame.iterrows()
        ]
        picture.grid(frame["smiles"].tolist(), captions, path)


def _texts(column: "pd.Series[Any]") -> list[str | None]:
    """The entries of a column of text, None where pandas has its own kind of nothing."""
    return [None if pd.isna(entry) else str(entry) for entry in column]


def _headline(summary: dict[str, Any]) -> dict[str, Any]:
    """The summary with novelty gathered under one key, by protocol."""
    novel = {key.removeprefix("novel_"): summary.pop(key) for key in _NOVEL if key in summary}
    rejects = summary.pop("rejected")
    return {**summary, "novel": novel, "rejects": rejects}


_NOVEL = ("novel_canonical", "novel_canonical_train", "novel_upstream", "novel_upstream_train")
