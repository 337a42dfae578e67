"""Byte pairs: every text comes back, every id spells something, and damage is named in a line."""

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moldiff.data.bpe import BYTES, BytePairTokenizer
from moldiff.errors import MoldiffError

pytest.importorskip("tokenizers")

TEXTS = ["the theatre, the other; and the ether\n" * 20, "naïve 世界 世界"]
LEARNT = BytePairTokenizer.learn(TEXTS, 300)
UTF8 = st.text(st.characters(exclude_categories=["Cs"]))


def changed(**values: Any) -> str:
    return json.dumps(json.loads(LEARNT.definition) | values)


def model(**values: Any) -> dict[str, Any]:
    return {"model": json.loads(LEARNT.definition)["model"] | values}


@given(UTF8)
def test_every_text_comes_back(text: str) -> None:
    assert LEARNT.decode(LEARNT.encode(text)) == text


@given(st.lists(st.integers(0, LEARNT.vocab_size - 1)))
def test_every_row_of_ids_is_decoded(ids: list[int]) -> None:
    text = LEARNT.decode(ids)
    spelt = b"".join(LEARNT.pieces()[each] for each in ids)
    assert text == spelt.decode("utf-8", "replace")


def test_learning_merges_what_is_frequent_and_gives_the_same_again() -> None:
    assert LEARNT.vocab_size <= 300
    assert " the" in map(bytes.decode, LEARNT.pieces()[BYTES:])
    assert len(LEARNT.encode(" the the")) == 2
    assert BytePairTokenizer.learn(TEXTS, 300) == LEARNT
    assert BytePairTokenizer.from_state(json.loads(json.dumps(LEARNT.state()))) == LEARNT
    assert {bytes([each]) for each in range(BYTES)} <= set(LEARNT.pieces())


def test_a_byte_alone_is_no_text_and_says_so() -> None:
    assert LEARNT.decode(LEARNT.encode("€")[:1]) == "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("ids", [[-1], [0, 300], [1 << 40]])
def test_ids_outside_the_vocabulary_are_refused(ids: list[int]) -> None:
    with pytest.raises(MoldiffError, match=f"0 to {LEARNT.vocab_size - 1}: got {ids[-1]}"):
        LEARNT.decode(ids)


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(MoldiffError, match=r"no lone surrogate: got '\\udcff' at position 1"):
        LEARNT.encode("a\udcff")


def test_a_definition_in_the_published_layout_is_read() -> None:
    # GPT-2: one more token, for the end of a text, that is in the vocabulary and added, and a post-processor.
    vocab = model()["model"]["vocab"]
    last = len(vocab)
    end = {"id": last, "content": "<|endoftext|>", "special": True, "normalized": False}
    end |= {"single_word": False, "lstrip": False, "rstrip": False}
    definition = changed(
        **model(vocab=vocab | {"<|endoftext|>": last}),
        added_tokens=[end],
        post_processor={"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False},
        truncation={"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
    )
    tokenizer = BytePairTokenizer.from_state({"name": "bpe", "definition": definition})
    assert tokenizer.vocab_size == last + 1
    assert tokenizer.encode("the end<|endoftext|>") == [*LEARNT.encode("the end"), last]
    assert tokenizer.decode([last]) == "<|endoftext|>"


@pytest.mark.parametrize(
    ("definition", "why"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "got list"),
        ("{}", "needs BPE"),
        (LEARNT.definition[:-40], "not JSON"),
        (changed(model={"type": "WordPiece", "vocab": {}}), "got the model 'WordPiece'"),
        (changed(normalizer={"type": "Lowercase"}), "normalizer"),
        (changed(pre_tokenizer=None), "does not give back"),
        (
            changed(pre_tokenizer={"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}),
            "does not give back",
        ),
        (changed(**model(dropout=0.5)), "by chance"),
        (changed(**model(merges=[["a", "nothing"]])), "damaged"),
        (changed(**model(merges=[], vocab={"a": 0})), "255 of the 256 bytes have no token"),
        (changed(**model(vocab=model()["model"]["vocab"] | {"one two": 300})), "which spells no bytes"),
        (changed(**model(vocab=model()["model"]["vocab"] | {"zzz": 70_000})), "ids are not 0, 1, 2"),
    ],
)
def test_a_damaged_definition_is_refused_in_one_line(definition: str, why: str) -> None:
    with pytest.raises(MoldiffError, match=why) as caught:
        BytePairTokenizer(definition)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("state", [{}, {"definition": 3}, {"definition": "{}", "vocab": []}])
def test_a_state_is_a_definition(state: dict[str, Any]) -> None:
    with pytest.raises(MoldiffError, match="has the key definition"):
        BytePairTokenizer.from_state(state)


@pytest.mark.parametrize("size", [255, 65_537, True, 300.0])
def test_a_size_out_of_range_is_refused(size: Any) -> None:
    with pytest.raises(MoldiffError, match="must be 256 to 65,536 tokens"):
        BytePairTokenizer.learn(TEXTS, size)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MoldiffError, match=r"pip install moldiff\[text\]"):
        BytePairTokenizer.learn(TEXTS, 300)
