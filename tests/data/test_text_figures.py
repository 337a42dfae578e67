"""Figures of generated texts: what they are of a few texts, by hand, and what is undefined."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moldiff.data.plain import KnownItems, identities
from moldiff.data.text import Texts
from moldiff.data.text_figures import evaluate, jackknife
from moldiff.data.text_measures import entropy
from moldiff.errors import MoldiffError

RNG = np.random.default_rng(0)
WORDS = ["when", "the", "hour", "is", "late", "we", "rest"]
CORPUS = " ".join(RNG.choice(WORDS, 2000)) + "\n"


def by_letters(texts: Sequence[str]) -> tuple[Any, Any]:
    """Each letter costs a third of a nat, each other character one; nothing is known of what holds a Z."""
    nll = [sum(1 / 3 if each.isalpha() else 1.0 for each in text) for text in texts]
    lost = ["Z" in text for text in texts]
    return np.where(lost, np.nan, nll), np.where(lost, 0, [len(text) for text in texts])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("figures") / "corpus.txt"
    path.write_text(CORPUS)
    return path


def written(texts: list[str], path: Path) -> Path:
    Texts().write(Texts().evaluate(texts, KnownItems(identities([]), np.array([], dtype=bool))), path)
    return path


def test_figures_are_what_they_are_by_hand(corpus: Path, tmp_path: Path) -> None:
    texts = ["a when the b", "the the the the", "Z when hours late Z", " "]
    found = evaluate(written(texts, tmp_path / "t.csv"), reference=str(corpus), judge=by_letters)
    facts = found.summary
    assert (facts["texts"], facts["valid"], facts["unique"], facts["judged"]) == (4, 3, 3, 2)
    # 9 and 12 letters, 3 and 3 spaces.
    assert facts["generative_perplexity"] == pytest.approx(math.exp((3 + 3 + 4 + 3) / (12 + 15)))
    assert facts["entropy"] == pytest.approx(np.mean([entropy(text) for text in texts[:3]]))
    # Words at the ends of a text may be cut: when the | the the | when hours late.
    assert facts["words_known"] == pytest.approx(6 / 7)
    assert facts["distinct_1"] == pytest.approx((4 / 4 + 1 / 4 + 4 / 5) / 3)
    assert facts["distinct_2"] == pytest.approx((1 + 1 / 3 + 1) / 3)
    assert facts["distinct_4"] == pytest.approx(1)
    assert found.frame["reason"].isna().tolist() == [True, True, True, False]
    assert np.isnan(found.frame["entropy"][3])
    assert json.loads(found.to_json())["reference"]["name"] == str(corpus)


def test_the_error_of_a_ratio_is_its_jackknife() -> None:
    nll, tokens = np.array([3.0, 4.0, 8.0]), np.array([2.0, 2.0, 4.0])
    value, se = jackknife(nll, tokens, math.exp)
    left = np.array([math.exp(12 / 6), math.exp(11 / 6), math.exp(7 / 4)])
    assert value == pytest.approx(math.exp(15 / 8))
    assert se == pytest.approx(math.sqrt(2 / 3 * ((left - left.mean()) ** 2).sum()))
    assert jackknife(nll[:1], tokens[:1]) == (1.5, None)
    assert jackknife(np.array([np.nan]), tokens[:1]) == (None, None)


def test_the_jackknife_of_a_mean_is_the_usual_error() -> None:
    values = RNG.normal(size=50)
    _, se = jackknife(values, np.ones(50))
    assert se == pytest.approx(values.std(ddof=1) / math.sqrt(50))


def test_texts_of_the_corpus_are_like_it_and_noise_is_not(corpus: Path, tmp_path: Path) -> None:
    like = [CORPUS[start : start + 40] for start in range(100, 100 + 12 * 40, 40)]
    noise = ["".join(RNG.choice(list("qxzjkv"), 40)) for _ in range(12)]
    ours, theirs = (
        evaluate(written(texts, tmp_path / f"{name}.txt"), reference=str(corpus), judge=by_letters).summary
        for name, texts in {"like": like, "noise": noise}.items()
    )
    assert ours["words_known"] == 1
    assert ours["frontier"] > theirs["frontier"]
    assert theirs["frontier"] == pytest.approx(1 / 252, rel=1e-6)
    # The reference has as many stretches of its end, as long, with all figures of their own.
    beside = ours["reference"]
    assert beside["texts"] == 10
    assert beside["words_known"] == 1
    assert beside["generative_perplexity"] > 1
    assert 1 / 252 < beside["frontier"] <= 1
    assert theirs["reference"]["entropy"] == beside["entropy"]


def test_what_is_undefined_is_none(tmp_path: Path) -> None:
    found = evaluate(written(["aaaa"], tmp_path / "t.jsonl"))
    facts = found.summary
    absent = ("generative_perplexity", "judged", "words_known", "distinct_2", "frontier", "reference")
    assert all(facts[name] is None for name in absent)
    assert facts["entropy"] == 0
    assert facts["entropy_se"] is None
    assert found.rows[1][:2] == ("generative perplexity", "-")
    found.save(tmp_path / "out.csv")


def test_the_rows_for_a_terminal_have_errors_and_the_reference_beside(corpus: Path, tmp_path: Path) -> None:
    found = evaluate(
        written(["the hour is late", "we rest the hour"], tmp_path / "t.csv"), reference=str(corpus)
    )
    rows = {name: (value, about) for name, value, about in found.rows}
    assert "±" in rows["entropy"][0]
    assert "the reference's own: " in rows["entropy"][1]
    assert list(rows)[1:3] == ["generative perplexity", "entropy"]


def test_a_reference_too_short_for_stretches_leaves_the_frontier_out(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("the hour is late " * 3)  # stretches of 19 characters
    path = written(["the hour is late, we rest", "rest the hour"], tmp_path / "t.csv")
    found = evaluate(path, reference=str(tmp_path / "short.txt"))
    assert found.summary["frontier"] is None
    assert found.summary["reference"] == {"name": str(tmp_path / "short.txt"), "texts": 0, "frontier": None}
    assert found.summary["words_known"] == pytest.approx(4 / 5)


def test_a_file_without_a_valid_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("raw\na\N{REPLACEMENT CHARACTER}\n")
    with pytest.raises(MoldiffError, match="no valid text"):
        evaluate(tmp_path / "t.csv")
