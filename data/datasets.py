"""Token files: a data set encoded once, so that training needs neither its source nor its readers."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from moldiff.errors import MoldiffError
from moldiff.files import check_source, written

FORMAT = 1


@final
@dataclass(frozen=True)
class TokenFile:
    """N tokenised items with their properties.

    Args:
        tokens: (sum of lengths,) uint16, the items' tokens one after the other.
        lengths: (N,) int32.
        heldout: (N,) bool, true for the rows that training never sees.
        identities: (N,) int64 hashes of the items, for novelty.
        properties: name -> (N,) float32, NaN where unknown.
        info: JSON facts: modality, tokenizer state, source, counts of rejected items, versions.
    """

    tokens: NDArray[np.uint16]
    lengths: NDArray[np.int32]
    heldout: NDArray[np.bool_]
    identities: NDArray[np.int64]
    properties: dict[str, NDArray[np.float32]]
    info: dict[str, Any]

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together."""
        n = len(self.lengths)
        columns = [self.heldout, self.identities, *self.properties.values()]
        if any(len(column) != n for column in columns) or self.lengths.sum() != len(self.tokens):
            raise MoldiffError("token file: its arrays have different lengths, so it is damaged")
        if n == 0 or self.lengths.min() < 1:
            raise MoldiffError("token file: it holds no item, or an item without a token")

    def __len__(self) -> int:
        """The number N of items."""
        return len(self.lengths)

    def item(self, i: int) -> list[int]:
        """The tokens of item i."""
        start = int(self.lengths[:i].sum())
        return [int(token) for token in self.tokens[start : start + int(self.lengths[i])]]

    def rows(self) -> list[NDArray[np.uint16]]:
        """The tokens of every item."""
        return np.split(self.tokens, np.cumsum(self.lengths)[:-1])

    def distinct(self) -> NDArray[np.int64]:
        """The places of what differs, by increasing identity: of each the first way it is written."""
        places: NDArray[np.int64] = np.unique(self.identities, return_index=True)[1]
        return places

    def fingerprint(self) -> str:
        """A short hash of the items, which of them are held out, and the vocabulary."""
        digest = hashlib.blake2b(digest_size=8)
        for part in (self.identities.tobytes(), self.heldout.tobytes(), self.tokens.tobytes()):
            digest.update(part)
        digest.update(json.dumps(self.info["tokenizer"], sort_keys=True).encode())
        return digest.hexdigest()

    def padded(self, fill: int = 0) -> NDArray[np.int64]:
        """All items as one (N, longest) array, ``fill`` behind each item's end."""
        out = np.full((len(self), int(self.lengths.max())), fill, dtype=np.int64)
        out[np.arange(out.shape[1])[None, :] < self.lengths[:, None]] = self.tokens
        return out

    def save(self, path: Path) -> None:
        """Writes the file whole or not at all."""
        arrays: dict[str, NDArray[Any]] = {
            "tokens": self.tokens,
            "lengths": self.lengths,
            "heldout": self.heldout.astype(np.uint8),
            "identities": self.identities,
            **{f"property.{name}": column for name, column in self.properties.items()},
        }
        data = save(arrays, {"format": str(FORMAT), "info": json.dumps(self.info)})
        with written(path) as part:
            part.write_bytes(data)

    @classmethod
    def load(cls, path: Path) -> Self:
        """The token file at ``path``; MoldiffError where there is none or it is damaged."""
        check_source(path)
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, TypeError) as error:
            raise MoldiffError(f"token file {path}: cannot be read ({error})") from error
        if metadata.get("format") != str(FORMAT):
            got = metadata.get("format")
            raise MoldiffError(f"token file {path}: got format {got}, this version reads {FORMAT}")
        try:
            return cls(
                arrays["tokens"],
                arrays["lengths"],
                arrays["heldout"].astype(bool),
                arrays["identities"],
                {n.removeprefix("property."): a for n, a in arrays.items() if "." in n},
                _info(metadata["info"]),
            )
        except (KeyError, ValueError) as error:
            raise MoldiffError(f"token file {path}: damaged, {error} is missing or bad") from error


def _info(text: str) -> dict[str, Any]:
    """The facts that a file holds as JSON; ValueError or KeyError where they are not there."""
    info = json.loads(text)
    if not isinstance(info, dict):
        raise ValueError("info")
    for key in ("modality", "tokenizer"):
        info[key]
    return info


def hold_out(n: int, share: float, seed: int) -> NDArray[np.bool_]:
    """Flags (N,) of round(share * N) rows drawn at random, but never all of them."""
    count = min(round(share * n), n - 1)
    flags = np.zeros(n, dtype=bool)
    flags[np.random.default_rng(seed).permutation(n)[:count]] = True
    return flags
