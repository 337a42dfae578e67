"""Data sets that have a name: where they come from, fetched once into the cache and verified."""

import hashlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import final

import platformdirs

from moldiff.errors import MoldiffError, unknown
from moldiff.files import written

from .download import STALL, BrokenArchive, check_url, transfer, unpacked

HOME = "MOLDIFF_HOME"
"""The environment variable that names the cache folder; by default it is the user's own cache."""

_SLACK = 1 << 16  # bytes that packing may add to what it packs


@final
@dataclass(frozen=True)
class DataSet:
    """A file of molecules that others keep.

    Args:
        name: by which it is asked for.
        about: what it holds, in a line.
        rows: how many molecules.
        filename: its name in the cache, with a suffix that the readers know.
        url: where it is, pinned to a commit; there it may be gzipped, or in a gzipped tar.
        size: bytes, unpacked.
        sha256: of these bytes.
        licence: as far as it is known.
        citation: who made it.
    """

    name: str
    about: str
    rows: int
    filename: str
    url: str
    size: int
    sha256: str
    licence: str
    citation: str

    @property
    def path(self) -> Path:
        """Its place in the cache."""
        return cache_folder() / self.filename

    def cached(self) -> bool:
        """Whether the cache holds it, byte for byte."""
        try:
            if self.path.stat().st_size != self.size:
                return False
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
        except OSError:
            return False

    def place(self, file: Path, origin: str) -> None:
        """Puts what a file holds, packed or not, in the cache.

        Raises:
            _WrongContent: it is not this data set.
            MoldiffError: it cannot be read, or the cache not be written.
        """
        digest, count = hashlib.sha256(), 0
        try:
            with written(self.path) as part, part.open("wb") as out:
                for chunk in unpacked(file):
                    count += len(chunk)
                    if count > self.size:
                        raise _WrongContent(f"{origin} is not {self.name}: more than {self.size:,} bytes")
                    digest.update(chunk)
                    out.write(chunk)
                found = digest.hexdigest()
                if found != self.sha256:
                    got = f"got sha256 {found[:12]}... of {count:,} bytes, expected {self.sha256[:12]}..."
                    raise _WrongContent(f"{origin} is not {self.name}, or damaged: {got} of {self.size:,}")
        except BrokenArchive as error:
            raise _WrongContent(f"{origin} is not {self.name}, or damaged: {error}") from None


class _WrongContent(MoldiffError):
    """A file that is not the data set."""


_RAW = "https://raw.githubusercontent.com"

_QM9 = DataSet(
    name="qm9",
    about="molecules of up to nine heavy atoms (C, N, O, F), without stereo",
    rows=133_885,
    filename="qm9.csv",
    url=f"{_RAW}/aspuru-guzik-group/selfies/eb6177e5f20cfd8787f2ac4423f5b38dce6eeeb8/tests/test_sets/qm9.csv",
    size=2_171_295,
    sha256="80c060e299a44112b89be3fc6d95145dfeda97aa3eab1e2662aafdfbb00f7929",
    licence="listed as CC0, not confirmed at the source",
    citation="Ramakrishnan et al., Scientific Data 1, 140022 (2014)",
)
_ZINC250K = DataSet(
    name="zinc250k",
    about="drug-like molecules, with stereo",
    rows=249_455,
    filename="zinc250k.txt",
    url=f"{_RAW}/wenhao-gao/mol_opt/2da631be85af8d10a2bb43f2de76a03171166190/data/zinc.txt.gz",
    size=11_302_921,
    sha256="df0aa677c770f15c9943684d6600cba8e7076c67be6a090c12f24da3aaa55b70",
    licence="ZINC limits redistribution",
    citation="Irwin et al., J. Chem. Inf. Model. 52, 1757 (2012); "
    "Gomez-Bombarelli et al., ACS Cent. Sci. 4, 268 (2018)",
)

DATA_SETS = {each.name: each for each in (_QM9, _ZINC250K)}
"""The data sets by name."""


def cache_folder() -> Path:
    """The folder of fetched data: in MOLDIFF_HOME where it is set, else in the user's cache."""
    home = os.environ.get(HOME)
    return (Path(os.path.expanduser(home)) if home else platformdirs.user_cache_path("moldiff")) / "data"


def catalogue() -> list[DataSet]:
    """The data sets that have a name."""
    return list(DATA_SETS.values())


def locate(path: Path) -> Path:
    """The file of a data set where ``path`` is its name, fetched if need be; else the path itself."""
    return fetch(str(path)) if str(path) in DATA_SETS else path


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def fetch(
    name: str, source: str | None = None, *, say: Callable[[str], None] = _say, stall: float = STALL
) -> Path:
    """The file of a data set in the cache, verified; what the cache lacks is fetched.

    Args:
        name: of the data set.
        source: a file, or the URL of a mirror, to take it from instead of its origin; packed or not.
        say: is told, in a line, what is downloaded.
        stall: seconds without a byte after which a transfer is given up.

    Raises:
        MoldiffError: no such data set, or what keeps it from being fetched. What a transfer that broke off
            has brought stays in the cache, and the next one goes on from there.
    """
    if name not in DATA_SETS:
        raise unknown("data set", name, DATA_SETS)
    data = DATA_SETS[name]
    if source is None and data.cached():
        return data.path
    try:
        data.path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        folder = data.path.parent
        raise MoldiffError(f"cannot make {folder}: {error.strerror}; {HOME} names another") from None
    if source is not None and "://" not in source:
        data.place(Path(os.path.expanduser(source)), source)
    else:
        check_url(source or data.url)
        say(f"downloading {name} from {source or data.url}")
        _download(data, source or data.url, stall)
    return data.path


def _download(data: DataSet, url: str, stall: float) -> None:
    # Named after the URL, so that what two servers send is never joined.
    key = hashlib.sha256(url.encode()).hexdigest()[:8]
    part = data.path.with_name(f"{data.path.name}.{key}.download")
    resumed = transfer(url, part, data.size + _SLACK, stall)
    try:
        data.place(part, url)
    except _WrongContent:
        part.unlink(missing_ok=True)
        if not resumed:
            raise
        # What was there before may have been the fault: once more, from the start.
        _download(data, url, stall)
    part.unlink(missing_ok=True)
