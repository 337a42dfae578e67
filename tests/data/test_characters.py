"""Characters as tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moldiff.data.characters import CharacterTokenizer
from moldiff.errors import MoldiffError
from moldiff.types import Balance

TEXT = "Wær, 世界!\n"


def test_a_text_and_its_characters_are_one_to_one() -> None:
    tokenizer = CharacterTokenizer.learn([TEXT])
    assert tokenizer.vocab == tuple(sorted(set(TEXT)))
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT
    assert tokenizer.encode(tokenizer.decode([3, 0, 0, 5])) == [3, 0, 0, 5]
    assert b"".join(tokenizer.pieces()).decode() == "".join(tokenizer.vocab)
    assert tokenizer.balance() == Balance()


@given(st.text(min_size=1))
def test_what_is_learnt_can_be_spelt(text: str) -> None:
    tokenizer = CharacterTokenizer.learn([text])
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert CharacterTokenizer.from_state(tokenizer.state()) == tokenizer


def test_the_state_is_that_of_the_models_that_are_about() -> None:
    state = {"name": "characters", "vocab": ["\n", "a"], "pad_to": None}
    assert CharacterTokenizer.from_state(state).state() == state


def test_what_is_not_in_the_vocabulary_is_named() -> None:
    with pytest.raises(MoldiffError, match="token 'x' at position 1 of 'ax': not in the vocabulary of 1"):
        CharacterTokenizer(("a",)).encode("ax")


def test_a_vocabulary_holds_single_characters() -> None:
    with pytest.raises(MoldiffError, match="character tokens: got 'ab'"):
        CharacterTokenizer(("ab",))
