"""Text as a modality: rows cut from a file, what is held out, what is kept, and models of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import moldiff
from moldiff import config
from moldiff.data.bpe import BytePairTokenizer
from moldiff.data.characters import CharacterTokenizer
from moldiff.data.datasets import TokenFile
from moldiff.data.plain import KnownItems, identities
from moldiff.data.text import Texts
from moldiff.data.text_measures import distinct, entropy, whole_words, words
from moldiff.data.text_rows import Cut
from moldiff.errors import MoldiffError
from moldiff.training import fit
from moldiff.types import Given, Kept

TEXTS = Texts()
RNG = np.random.default_rng(0)
WORDS = ["when", "the", "naïve", "hour", "世界", "is", "late"]
CORPUS = "\n".join(" ".join(RNG.choice(WORDS, 9)) for _ in range(80)) + "\n"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "corpus.txt"
    path.write_text(CORPUS, "utf-8")
    return path


def prepared(path: Path, **options: Any) -> tuple[TokenFile, list[str]]:
    data = TEXTS.prepare(path, **{"length": 32, "heldout": 0.2, **options})
    tokenizer = TEXTS.tokenizer(data.info["tokenizer"])
    return data, [tokenizer.decode(data.item(number)) for number in range(len(data))]


def spans(rows: list[str]) -> list[tuple[int, int]]:
    """Where rows lie in the corpus."""
    found = [CORPUS.index(row) for row in rows]
    return [(start, start + len(row)) for start, row in zip(found, rows, strict=True)]


@pytest.mark.parametrize("tokenizer", ["characters", "bpe"])
def test_rows_are_stretches_of_the_text_and_the_last_are_held_out(tokenizer: str, corpus: Path) -> None:
    data, rows = prepared(corpus, tokenizer=tokenizer, **({"size": 280} if tokenizer == "bpe" else {}))
    assert set(data.lengths) == {32}
    assert len(set(rows)) == len(rows) == len(data)
    places = spans(rows)
    cut = int(len(CORPUS) * 0.8)
    assert all((start >= cut) == held for (start, _), held in zip(places, data.heldout, strict=True))
    # Not a character of a held-out row is trained on.
    assert max(end for (_, end), held in zip(places, data.heldout, strict=True) if not held) <= cut
    assert 0 < data.heldout.sum() < len(data) / 4
    # Rows begin with lines or with words.
    assert all(start == 0 or CORPUS[start - 1] in "\n " or CORPUS[start] == " " for start, _ in places)
    assert (data.identities == identities(rows)).all()
    assert data.properties["entropy"] == pytest.approx([entropy(row) for row in rows])
    assert TEXTS.tokenizer(data.info["tokenizer"]).state() == data.info["tokenizer"]
    assert data.info["source"] == "corpus.txt"


def test_every_character_of_a_file_without_line_ends_is_seen(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("abcdefghij" * 3)
    data, rows = prepared(tmp_path / "t.txt", length=4, stride=2, heldout=0)
    # Every second character starts a row; five of them differ.
    assert rows == ["abcd", "cdef", "efgh", "ghij", "ijab"]
    assert data.info["duplicates"] == 9
    assert not data.heldout.any()


def starts(text: str, length: int, stride: int, before: str = "") -> list[int]:
    """Row starts by the rule as it is said, one row at a time."""
    found = list[int]()
    for at in range(0, len(text) - length + 1, stride):
        window = range(at, at + stride)
        whole = before + text
        lines = [i for i in window if i <= len(text) and (whole[: len(before) + i] or "\n")[-1] == "\n"]
        spaces = [i for i in window if i <= len(text) and whole[: len(before) + i][-1:] == " "]
        begin = next(iter([*lines, *spaces, at]))
        if begin + length <= len(text):
            found.append(begin)
    return found


@given(
    st.text("ab \n", max_size=40), st.integers(2, 9), st.integers(1, 9), st.sampled_from(["", "a", " ", "\n"])
)
def test_a_row_starts_at_the_next_line_else_word(text: str, length: int, stride: int, before: str) -> None:
    stride = min(stride, length)
    tokenizer = CharacterTokenizer(("\n", " ", "a", "b"))
    ids = np.array(tokenizer.encode(text), dtype=np.int64)
    found = Cut(length, stride).starts(ids, tokenizer.pieces(), before)
    assert found.tolist() == starts(text, length, stride, before)


def test_rows_of_byte_pairs_cut_no_character_in_two(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("".join(RNG.choice(list("aé世🔬"), 400)), "utf-8")
    _, rows = prepared(tmp_path / "t.txt", tokenizer="bpe", size=256, length=9)
    assert len(rows) > 20
    assert {TEXTS.reason(row) for row in rows} == {None}


def test_entries_of_a_table_are_cut_apart(tmp_path: Path) -> None:
    told: list[pd.DataFrame] = []
    (tmp_path / "t.csv").write_text("raw\nabcd\nabcd\nab\nwxyz\n")
    data, rows = prepared(tmp_path / "t.csv", length=4, heldout=0.28, left_out=told.append)
    assert rows == ["abcd", "wxyz"]
    assert data.heldout.tolist() == [False, True]
    assert (data.info["rejected"], data.info["duplicates"]) == ({"short": 1}, 1)
    assert told[0][["line", "text", "reason"]].to_numpy().tolist() == [
        [3, "abcd", "repeat"],
        [4, "ab", "short"],
    ]


def test_the_text_of_python_makes_rows_and_names_its_version() -> None:
    data, _ = prepared(Path("pydoc"), length=256, heldout=0.05)
    assert len(data) > 2000
    assert data.info["python"]
    assert set(data.lengths) == {256}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"length": 10_000}, "the text has 2,.* make no row of 10000 tokens; take a shorter length"),
        ({"heldout": 0.001}, "the held-out part has 4 characters"),
        ({"heldout": 1.0}, "heldout: got 1.0"),
        ({"length": 1}, "length: got 1,"),
        ({"length": 3.5}, "length: got 3.5"),
        ({"length": True}, "length: got True"),
        ({"stride": 0}, "stride: got 0, must be 1 to 32"),
        ({"stride": 33}, "stride: got 33"),
        ({"size": 300}, "every character is a token"),
        ({"size": 20, "tokenizer": "bpe"}, "size: got 20"),
        ({"pad_to": 8}, "pad_to: got 8"),
        ({"tokenizer": "smiles"}, "unknown tokenizer: got 'smiles', choose from characters, bpe"),
        ({"stereo": "keep"}, "unknown option of the text reader: got 'stereo'"),
    ],
)
def test_bad_options_are_refused_in_one_line(options: dict[str, Any], why: str, corpus: Path) -> None:
    with pytest.raises(MoldiffError, match=why) as caught:
        prepared(corpus, **options)
    assert "\n" not in str(caught.value)


def test_measures_of_a_text() -> None:
    assert entropy("aabb") == pytest.approx(np.log(2))
    assert entropy("aaaa") == 0
    assert np.isnan(entropy(""))
    assert words("O Romeo, don't! 3 Ät_x") == ["o", "romeo", "don't", "ät", "x"]
    assert whole_words("art thou Romeo and") == ["thou", "romeo"]
    assert whole_words(" art thou. ") == ["art", "thou"]
    assert distinct(["a", "b", "a", "b"], 2) == pytest.approx(2 / 3)
    assert np.isnan(distinct(["a"], 2))


def test_a_text_is_valid_or_says_why_not() -> None:
    raw = ["a word", " \n", "half \N{REPLACEMENT CHARACTER}", "a\0b", "a word"]
    frame = TEXTS.evaluate(raw, KnownItems(identities(["a word"]), np.array([True])))
    assert frame["reason"].astype(object).where(frame["reason"].notna(), None).tolist() == [
        None,
        "blank",
        "bytes",
        "nul",
        None,
    ]
    assert not frame["novel"].any()
    assert frame["entropy"].notna().tolist() == frame["valid"].tolist() == [True, False, False, False, True]
    assert TEXTS.canonical(raw) == ["a word", None, None, None, "a word"]


def test_a_file_is_read_by_entry(tmp_path: Path) -> None:
    TEXTS.write(
        TEXTS.evaluate(["a b", " "], KnownItems(identities([]), np.array([], bool))), tmp_path / "t.csv"
    )
    assert TEXTS.texts(tmp_path / "t.csv").to_numpy().tolist() == [[2, "a b"], [3, " "]]
    assert TEXTS.read(tmp_path / "t.csv").to_numpy().tolist() == [[2, "a b", None], [3, None, "blank"]]
    with pytest.raises(MoldiffError, match=r"kind of output file: got '\.npy'"):
        TEXTS.check_output(tmp_path / "t.npy")


def test_what_is_given_is_kept_in_tokens() -> None:
    tokenizer = CharacterTokenizer(("a", "b"))
    assert TEXTS.kept(tokenizer, Given("ab", "ba")) == Kept((0, 1), (1, 0))
    assert TEXTS.kept(tokenizer, Given()) == Kept()
    with pytest.raises(MoldiffError, match="prompt: unsupported token 'x' at position 1 of 'ax'"):
        TEXTS.kept(tokenizer, Given("ax"))
    with pytest.raises(MoldiffError, match="ending: unsupported"):
        TEXTS.kept(tokenizer, Given(None, "x"))
    with pytest.raises(MoldiffError, match="inpaint: got a picture"):
        TEXTS.kept(tokenizer, Given(picture=Path("x.png"), mask=Path("m.png")))


def test_a_row_that_spells_no_text_is_at_fault_as_a_whole() -> None:
    tokenizer = CharacterTokenizer((" ", "a"))
    assert TEXTS.fault(tokenizer, [0, 1]) is None
    found = TEXTS.fault(tokenizer, [0, 0, 0])
    assert found is not None
    assert (found.kind, found.places) == ("blank", (0, 1, 2))


def test_an_unknown_tokenizer_is_refused() -> None:
    with pytest.raises(MoldiffError, match="choose from characters, bpe"):
        TEXTS.tokenizer({"name": "smiles"})


SMALL = ["device=cpu", "network.width=16", "network.depth=1", "network.heads=2", "logger=none"]


@pytest.mark.parametrize("name", ["text", "text-ar", "text-uniform", "text-judge"])
def test_a_shipped_configuration_trains_and_its_model_infills(
    name: str, corpus: Path, tmp_path: Path
) -> None:
    run = ["compile=false", "max_steps=3", "data.options.length=16", "batch_tokens=256", *SMALL]
    fit.run(config.load(name, [f"data.path={corpus}", f"out={tmp_path / 'run'}", *run]))
    model = moldiff.load(str(tmp_path / "run"), "cpu")
    asked: dict[str, Any] = {"prompt": "naïve 世", "ending": "" if "ar" in name else "late\n"}
    if name == "text-judge":
        asked["ending"] = None
    drawn = model.generate(4, steps=16, **{key: value for key, value in asked.items() if value})
    assert all(raw.startswith("naïve 世") for raw in drawn.frame["raw"])
    if asked["ending"]:
        assert all(raw.endswith("late\n") and len(raw) == 16 for raw in drawn.frame["raw"])
    drawn.save(tmp_path / "t.txt")
    valid = drawn.frame.loc[drawn.frame["valid"], "raw"].tolist()
    assert TEXTS.texts(tmp_path / "t.txt")["raw"].tolist() == valid


def test_a_model_of_byte_pairs_trains_and_generates(corpus: Path, tmp_path: Path) -> None:
    options = ["data.tokenizer=bpe", "data.options.size=270", "data.options.length=16", "compile=false"]
    overrides = [f"data.path={corpus}", f"out={tmp_path / 'run'}", "max_steps=3", *options, *SMALL]
    fit.run(config.load("text", overrides))
    model = moldiff.load(str(tmp_path / "run"), "cpu")
    assert isinstance(model.tokenizer, BytePairTokenizer)
    drawn = model.generate(4, steps=16, prompt="🔬")
    assert all(raw.startswith("🔬") for raw in drawn.frame["raw"])
    assert set(drawn.frame["reason"].dropna()) <= {"bytes", "nul"}
