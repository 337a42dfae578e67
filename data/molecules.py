"""Molecules as a modality: reader, tokenizer, check, properties, picture and writers."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Unpack, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from moldiff.chem import faults, metrics, molecule, oracles, picture, report
from moldiff.chem.diversity import Picker
from moldiff.errors import MoldiffError, unknown
from moldiff.files import written
from moldiff.types import Fault, Given, Kept, Writer

from .datasets import TokenFile
from .measured import Measured
from .preparation import LeftOut, Preparation
from .readers import Reading, read_smiles, read_texts
from .screened import Screened
from .selfies import SelfiesTokenizer
from .sets import locate
from .smiles import SmilesTokenizer
from .spelling import Notation
from .tally import MoleculeTally
from .vocabulary import VocabularyTokenizer
from .writers import WRITERS
from .writings import chosen


@final
class Molecules:
    """Small organic molecules written as SMILES."""

    name: ClassVar[str] = "molecules"
    noun: ClassVar[str] = "molecule"
    properties: ClassVar[tuple[str, ...]] = tuple(oracles.ORACLES)
    reading: ClassVar[tuple[str, ...]] = ("column", "stereo", "fragments", "workers", "writings")
    shown: ClassVar[tuple[str, ...]] = ("qed", "logp")
    key: ClassVar[str] = "smiles"
    notations: ClassVar[tuple[Notation, ...]] = (SmilesTokenizer, SelfiesTokenizer)

    def read(self, path: Path, **reading: Unpack[Reading]) -> pd.DataFrame:
        """The rows of a file in order, repeats too: line, canonical smiles, or the reason for none."""
        found = read_smiles(locate(path), unique=False, **reading)
        good = [(line, smiles, None) for line, smiles in zip(found.lines, found.smiles, strict=True)]
        bad = [(row.line, None, row.reason) for row in found.rejected]
        rows = sorted([*good, *bad], key=lambda row: row[0])
        return pd.DataFrame(rows, columns=["line", self.key, "reason"], dtype=object)

    def texts(self, path: Path, *, column: str | None = None) -> pd.DataFrame:
        """The rows of a file in order, as they stand there: line, and the SMILES, readable or not, as raw."""
        return pd.DataFrame(read_texts(locate(path), column=column), columns=["line", "raw"])

    def prepare(
        self,
        path: Path,
        *,
        tokenizer: str = "smiles",
        pad_to: int | None = None,
        heldout: float = 0.05,
        seed: int = 0,
        left_out: LeftOut | None = None,
        writings: str = "canonical",
        **reading: Unpack[Reading],
    ) -> TokenFile:
        """A token file of the molecules in a file, each once in each writing, with all properties.

        Args:
            path: the file, or the name of a data set.
            tokenizer: the notation that the tokens are of.
            pad_to: tokens to which every molecule is filled up; None for no padding.
            heldout: the share of molecules kept from training, drawn with ``seed``.
            seed: of that draw, and of the writings.
            writings: how each is written, an item each: ``canonical``, ``random``, ``fragments``; or ``all``.
                Behind a colon the share of molecules that are written so: ``canonical,random:0.3``.
            left_out: is told the rows that are left out and why, before anything else can fail.
            reading: the options of `readers.read_smiles`.
        """
        how = (pad_to, heldout, seed, chosen(writings))
        preparation = Preparation(self._notation(tokenizer), self.properties, *how)
        data = preparation.run(locate(path), left_out, **reading)
        # Of one writing alone there is nothing to say, as in files older than the option.
        told = {} if writings == "canonical" else {"options": {"writings": writings}}
        return replace(data, info={"modality": self.name, **told, **data.info})

    def tokenizer(self, state: dict[str, Any]) -> VocabularyTokenizer:
        """The tokenizer with a stored state; states older than the names are of SMILES."""
        return self._notation(state.get("name", SmilesTokenizer.name)).from_state(state)

    def _notation(self, name: object) -> Notation:
        for each in self.notations:
            if each.name == name:
                return each
        raise unknown("tokenizer", name, [each.name for each in self.notations])

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

    def spelt(self, items: Sequence[str | None]) -> list[str | None]:
        """The strings themselves."""
        return list(items)

    def canonical(self, raw: Sequence[str]) -> list[str | None]:
        """The canonical SMILES of each string, None where it is not sane."""
        checks = {text: molecule.check(text) for text in dict.fromkeys(raw)}
        return [checks[text].canonical if checks[text].sane else None for text in raw]

    def kept(self, tokenizer: VocabularyTokenizer, given: Given) -> Kept:
        """The tokens of how every string begins and ends; MoldiffError for a picture."""
        if given.picture is not None or given.mask is not None:
            raise MoldiffError("inpaint: got a picture, but this model makes molecules; leave it off")
        start, end = (tuple(self._unpadded(tokenizer, text)) for text in (given.prompt, given.ending))
        if end and tokenizer.pad_id is not None:
            raise MoldiffError(
                f"ending: got {given.ending!r}, but this model's rows end in padding; leave it off"
            )
        return Kept(start, end)

    @staticmethod
    def _unpadded(tokenizer: VocabularyTokenizer, text: str | None) -> list[int]:
        return [each for each in tokenizer.encode(text or "") if each != tokenizer.pad_id]

    def forbidden(self, tokenizer: VocabularyTokenizer, names: Sequence[str]) -> tuple[int, ...]:
        """The tokens with an element, with a charge, or of a spelling (`VocabularyTokenizer.forbidden`)."""
        return tokenizer.forbidden(names)

    def fault(self, tokenizer: VocabularyTokenizer, ids: Sequence[int], reach: int = 0) -> Fault | None:
        """What is wrong with the molecule that a row spells, None where it is valid (`moldiff.chem.faults`).

        What SELFIES tokens spell is always well-formed, so a molecule that RDKit refuses all the same, the
        empty one for example, is the fault of the whole row.
        """
        whole = tuple(range(len(ids)))
        if not isinstance(tokenizer, SmilesTokenizer):
            valid = molecule.parse(tokenizer.decode(ids)) is not None
            return None if valid else Fault("other", whole)
        found = faults.fault(tokenizer.tokens(ids), reach)
        # Of an empty or a widely blamed string, the padding is drawn again too.
        everything = found is not None and (reach >= faults.WHOLE or not found.places)
        return Fault(found.kind, whole) if found is not None and everything else found

    def evaluate(self, raw: Sequence[str], reference: metrics.Reference, workers: int = 1) -> pd.DataFrame:
        """A table of one row a string, in order.

        Columns: smiles (canonical, missing where not valid), raw, valid, sane, reason, novel (to every row
        of the data set, by canonical SMILES), and every property, NaN where not valid. ``workers`` are
        processes to share the work.
        """
        checks = [molecule.check(text) for text in raw]
        canonical = [check.canonical for check in checks]
        valid = np.array([check.valid for check in checks], dtype=bool)
        ids = self.identities([text or "" for text in canonical])
        distinct = list(dict.fromkeys(canonical))
        place = {text: number for number, text in enumerate(distinct)}
        places = [place[text] for text in canonical]
        scores = oracles.score(distinct, self.properties, workers)
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

    def measure(self, oracles: Sequence[str], *, workers: int = 1, timeout: float | None = None) -> Measured:
        """What adds a column for each oracle to such a table (docs/oracles.md)."""
        return Measured(oracles, workers, timeout)

    def screen(self, filters: Sequence[str], patterns: Path | None, *, workers: int = 1) -> Screened:
        """What lets the molecules of such a table pass or not (`moldiff.chem.filters`)."""
        return Screened(filters, patterns, workers)

    def picker(self) -> Picker:
        """What picks molecules far from one another (`moldiff.chem.diversity`)."""
        return Picker()

    def summarise(self, frame: pd.DataFrame, reference: metrics.Reference) -> dict[str, Any]:
        """The counts and rates of a table, and the means of its novel rows (docs/metrics.md)."""
        tally = self.tally(reference)
        tally.add(frame)
        return tally.summary()

    def tally(self, reference: metrics.Reference) -> MoleculeTally:
        """What gives the same over a table that comes in pieces."""
        return MoleculeTally(reference, self.properties)

    def write(self, frame: pd.DataFrame, path: Path) -> None:
        """Writes a table by the path's suffix, whole or not at all.

        ``.csv``, ``.jsonl`` and ``.parquet`` hold every row and column; ``.smi`` the valid molecules, one a
        line; ``.sdf`` the valid molecules with 2-D coordinates and every column.
        """
        self.check_output(path)
        with written(path) as part, closing(self.writer(part, path.suffix)) as writer:
            writer.append(frame)

    def writer(self, path: Path, suffix: str) -> Writer:
        """Opens ``path`` in the format of ``suffix``, to write a table in pieces."""
        return WRITERS[suffix](path)

    def check_output(self, path: Path, rows: int | None = None) -> None:
        """Refuses a path whose suffix no writer takes; of ``rows`` any number will do."""
        if path.suffix not in WRITERS:
            raise unknown("kind of output file", path.suffix or path.name, WRITERS)

    def check_picture(self, path: Path) -> None:
        """Refuses a path whose suffix no picture has."""
        if path.suffix not in picture.FORMATS:
            raise unknown("kind of picture", path.suffix or path.name, picture.FORMATS)

    def picture(
        self, frame: pd.DataFrame, shown: Sequence[str], path: Path, notes: Mapping[str, str] | None = None
    ) -> None:
        """Draws the rows of a table, each with the named properties and whether it is novel."""
        captions = [
            ", ".join(f"{name} {row[name]:.3g}" for name in shown)
            + ("\nnovel" if row["novel"] else "\nin the data set")
            for _, row in frame.iterrows()
        ]
        picture.grid(frame["smiles"].tolist(), captions, path, notes=notes)

    def check_report(self, path: Path) -> None:
        """Refuses a path whose suffix no report has."""
        report.check(path)

    def report(
        self, frame: pd.DataFrame, facts: dict[str, Any], training: Mapping[str, NDArray[Any]], path: Path
    ) -> None:
        """Writes a page about the molecules of a call; `moldiff.chem.report.render` says what is on it."""
        report.write(frame, facts, training, path, self.shown)
