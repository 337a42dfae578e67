"""Figures of generated texts: what they cost a judge, their entropy, words, repeats, and what parts them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from moldiff.errors import MoldiffError
from moldiff.items import Judge

from .characters import CharacterTokenizer
from .figures import Figures
from .frontier import frontier
from .text import Texts
from .text_files import read_source
from .text_measures import distinct, entropy, whole_words, words
from .text_rows import Cut, parted

HELDOUT = 0.05
"""The share of a reference, at its end, that is kept from training where nothing is said."""

NGRAMS = (1, 2, 3, 4)
"""Words in a row of which the distinct ones are counted."""

Floats = NDArray[np.float64]
Number = float | None

_SAID: Final = {
    "generative_perplexity": "exp of the judge's nats per token; to be read with the entropy",
    "entropy": "of the characters of a text, in nats",
    "words_known": "share of words that the reference has, its held-out end left out",
    **{f"distinct_{n}": f"share of distinct among the {n}-grams of words of a text" for n in NGRAMS},
    "frontier": "divergence frontier from the reference before that end; 1 is alike",
}


@final
@dataclass(frozen=True)
class Reference:
    """A corpus that texts are held against.

    Args:
        known: the words of all but its end.
        heldout: stretches of its end, as long as the texts and no more of them than there are texts.
        spread: as many stretches of the rest, evenly spaced.
        others: as many that lie between those.
    """

    known: frozenset[str]
    heldout: list[str]
    spread: list[str]
    others: list[str]

    @classmethod
    def read(cls, path: Path, length: int, most: int) -> "Reference":
        """The corpus in a file, or with the name ``pydoc``, in stretches of ``length`` characters."""
        parts = parted(read_source(path), HELDOUT)
        letters = CharacterTokenizer.learn(part.text for part in parts)
        cut = Cut(max(length, 2), max(length, 2))
        rows = [row for part in parts for row in cut.rows(part, letters)]
        heldout = [row.text for row in rows if row.heldout][:most]
        rest = [row.text for row in rows if not row.heldout]
        n = min(most, len(rest) // 2)
        places = np.linspace(0, len(rest), 2 * n, endpoint=False).astype(int)
        spread, others = ([rest[place] for place in places[first::2]] for first in (0, 1))
        known = frozenset(word for part in parts if not part.heldout for word in words(part.text))
        return cls(known, heldout, spread, others)


def evaluate(
    file: Path,
    *,
    reference: str | None = None,
    column: str | None = None,
    seed: int = 0,
    judge: Judge | None = None,
) -> Figures:
    """The figures of the texts in a file, and beside them those of the end of a reference.

    Every figure is over the valid texts, the N of the formulas; figures without a judge, a reference or
    enough texts are None. ``summary`` has for each its value and ``_se``; under ``reference`` the same of the
    reference's held-out end, in stretches as long as the median text, at most N of them.

    - ``generative_perplexity``: exp(Σ_i c_i / Σ_i n_i), c_i the judge's nats for text i and n_i its tokens
      there; over the m texts that the judge reaches, ``judged``. Its s.e. is the jackknife's over texts,
      √((m−1)/m Σ_i (θ_(i) − θ̄)²), θ_(i) the figure without text i.
    - ``entropy``: mean over texts of H_i = −Σ_c p_c log p_c over characters, in nats; s.e. sd/√N. A text that
      repeats itself is cheap for any judge, and its entropy low: perplexities compare at equal entropy only.
    - ``words_known``: of all words (runs of letters, without case) that touch no end of a text, the share
      that the reference has before its held-out end; jackknife s.e.
    - ``distinct_1`` to ``distinct_4``: mean over texts of distinct n-grams of words / n-grams of words.
    - ``frontier``: `moldiff.data.frontier.frontier` of the texts and as many stretches of the reference
      before its held-out end, evenly spaced (the end alone may be of other matters than the whole); no s.e.
      Under ``reference`` it is that of these stretches and as many between them: what there is to reach with
      so few texts. It does not tell a model from a copy; novelty does.

    Args:
        file: texts, as `moldiff.data.text_files.read_source` takes them.
        reference: a file with the corpus, or ``pydoc``.
        column: of a table; raw by default.
        seed: of the frontier's clusters.
        judge: says what a text costs.

    Raises:
        MoldiffError: a file that cannot be read or holds no valid text.
    """
    table = Texts().texts(file, column=column)
    table["reason"] = pd.array([Texts().reason(text) for text in table["raw"]], dtype="str")
    valid = table["reason"].isna().to_numpy()
    texts = table.loc[valid, "raw"].tolist()
    if not texts:
        reasons = dict(table["reason"].value_counts())
        raise MoldiffError(f"no valid text in {file}: {reasons}")
    length = int(np.median([len(text) for text in texts]))
    beside = None if reference is None else Reference.read(Path(reference), length, len(texts))
    ours = _measured(texts, beside, judge)
    for name, values in ours.items():
        table[name] = np.nan
        table.loc[valid, name] = values
    summary: dict[str, Any] = {
        "file": str(file),
        "texts": len(table),
        "valid": len(texts),
        "unique": len(set(texts)),
        "characters": length,
        "judged": int(np.isfinite(ours["nll"]).sum()) if judge is not None else None,
        **_figures(ours),
        "frontier": _frontier(texts, beside and beside.spread, seed),
        "reference": _beside(reference, beside, judge, seed),
    }
    return Figures(table, summary, _rows(summary))


def _beside(
    name: str | None, beside: Reference | None, judge: Judge | None, seed: int
) -> dict[str, Any] | None:
    """The figures of a reference's held-out end."""
    if beside is None:
        return None
    found = _figures(_measured(beside.heldout, beside, judge)) if beside.heldout else {}
    ceiling = _frontier(beside.others, beside.spread, seed)
    return {"name": name, "texts": len(beside.heldout), **found, "frontier": ceiling}


def _measured(texts: Sequence[str], beside: Reference | None, judge: Judge | None) -> dict[str, Floats]:
    """What each of N texts comes to, by column, (N,) each."""
    nan = np.full(len(texts), np.nan)
    nll, tokens = (nan, nan) if judge is None else judge(texts)
    tested = [whole_words(text) for text in texts]
    found = {
        "nll": np.asarray(nll, dtype=np.float64),
        "tokens": np.asarray(tokens, dtype=np.float64),
        "entropy": _each(entropy, texts),
        "words": np.array([len(each) for each in tested], dtype=np.float64),
        "words_known": nan
        if beside is None
        else np.array([sum(word in beside.known for word in each) for each in tested], dtype=np.float64),
    }
    for n in NGRAMS:
        found[f"distinct_{n}"] = np.array([distinct(words(text), n) for text in texts], dtype=np.float64)
    return found


def _each(measure: Callable[[str], float], texts: Sequence[str]) -> Floats:
    return np.array([measure(text) for text in texts], dtype=np.float64)


def _figures(found: dict[str, Floats]) -> dict[str, Number]:
    """Each figure and its standard error over texts."""
    pairs = {
        "generative_perplexity": jackknife(found["nll"], found["tokens"], math.exp),
        "entropy": _mean(found["entropy"]),
        "words_known": jackknife(found["words_known"], found["words"]),
        **{f"distinct_{n}": _mean(found[f"distinct_{n}"]) for n in NGRAMS},
    }
    flat = {name: value for name, (value, _) in pairs.items()}
    return flat | {f"{name}_se": se for name, (_, se) in pairs.items()}


def jackknife(
    parts: Floats, wholes: Floats, of: Callable[[float], float] = lambda ratio: ratio
) -> tuple[Number, Number]:
    """``of`` the ratio Σ parts / Σ wholes, and its jackknife standard error; None where undefined.

    Rows (N,) with a part that is NaN are left out.
    """
    known = np.isfinite(parts) & (wholes > 0)
    parts, wholes = parts[known], wholes[known]
    if not len(parts):
        return None, None
    value = of(float(parts.sum() / wholes.sum()))
    if len(parts) < 2:
        return value, None
    ratios = (parts.sum() - parts) / (wholes.sum() - wholes)
    each = np.array([of(float(ratio)) for ratio in ratios])
    m = len(each)
    return value, float(np.sqrt((m - 1) / m * ((each - each.mean()) ** 2).sum()))


def _mean(values: Floats) -> tuple[Number, Number]:
    """The mean of what is known of values (N,), and its standard error; None where undefined."""
    values = values[np.isfinite(values)]
    if not len(values):
        return None, None
    se = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
    return float(values.mean()), se


def _frontier(ours: Sequence[str], theirs: Sequence[str] | None, seed: int) -> Number:
    """The frontier of as many texts of each; None where there are not two of each."""
    n = min(len(ours), len(theirs or ()))
    return None if theirs is None or n < 2 else frontier(ours[:n], theirs[:n], seed)


def _rows(summary: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The figures as a terminal shows them, each with that of the reference."""
    beside = summary["reference"] or {}
    rows = [("texts", f"{summary['texts']:,}", f"{summary['valid']:,} valid, {summary['unique']:,} distinct")]
    for name, said in _SAID.items():
        theirs = _shown(beside, name)
        about = said + (f"; the reference's own: {theirs}" if theirs != "-" else "")
        rows.append((name.replace("_", " "), _shown(summary, name), about))
    return rows


def _shown(figures: dict[str, Any], name: str) -> str:
    value, se = figures.get(name), figures.get(f"{name}_se")
    if value is None:
        return "-"
    return f"{value:.3f}" + ("" if se is None else f" ± {se:.3f}")
