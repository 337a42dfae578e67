"""SMILES tokens: round trips, hand-split strings, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moldiff.data.smiles import SmilesTokenizer
from moldiff.errors import MoldiffError

# Every kind of token, and tokens whose parts are tokens too.
# fmt: off
TOKENS = (
    "C", "c", "N", "n", "O", "S", "Cl", "Br", "B", "F", "*", "[nH]", "[C@@H]", "[13CH3]", "[O-]",
    "1", "2", "%12", "%(100)", "-", "=", "#", "$", ":", "~", "/", "\\", ".", "(", ")",
)
# fmt: on
TOKENIZER = SmilesTokenizer(TOKENS)
PADDED = SmilesTokenizer(TOKENS, pad_to=24)

rows = st.lists(st.integers(0, len(TOKENS) - 1), max_size=24)

# Molecules by construction: chains, with a ring or a branch put in.
atoms = st.sampled_from(["C", "N", "O", "[C@@H](F)", "[13CH2]", "S", "C(Cl)", "C(=O)", "c1cc[nH]c1"])
molecules = st.lists(atoms, min_size=1, max_size=9).map(lambda parts: "C" + "C".join(parts))


def textbook_strings(path: Path) -> list[str]:
    return [line.split("\t")[0] for line in path.read_text().splitlines()]


def test_the_textbook_list_makes_the_round_trip(textbook: Path) -> None:
    strings = textbook_strings(textbook)
    tokenizer = SmilesTokenizer.learn(strings)
    assert all(tokenizer.decode(tokenizer.encode(each)) == each for each in strings)
    used = {number for each in strings for number in tokenizer.encode(each)}
    assert used == set(range(tokenizer.vocab_size)), "no dead ids"


@given(rows)
def test_ids_make_the_round_trip(ids: list[int]) -> None:
    assert TOKENIZER.encode(TOKENIZER.decode(ids)) == ids


@given(molecules)
def test_molecules_make_the_round_trip(smiles: str) -> None:
    learnt = SmilesTokenizer.learn([smiles], pad_to=99)
    assert learnt.decode(learnt.encode(smiles)) == smiles
    assert SmilesTokenizer.of([SmilesTokenizer.split(smiles)], pad_to=99) == learnt


@given(rows)
def test_padded_ids_make_the_round_trip(ids: list[int]) -> None:
    pad = len(TOKENS)
    assert PADDED.encode(PADDED.decode(ids)) == ids + [pad] * (24 - len(ids))


@given(rows, rows)
def test_what_follows_the_first_pad_is_ignored(ids: list[int], rest: list[int]) -> None:
    assert PADDED.decode([*ids, len(TOKENS), *rest]) == TOKENIZER.decode(ids)


@pytest.mark.parametrize(
    ("smiles", "tokens"),
    [
        ("CCl", ["C", "Cl"]),
        ("CC", ["C", "C"]),
        ("BrB", ["Br", "B"]),
        ("Sc", ["S", "c"]),
        ("C%123", ["C", "%12", "3"]),
        ("C%(100)1", ["C", "%(100)", "1"]),
        ("C12", ["C", "1", "2"]),
        ("[C@@H](Cl)/C=C\\N", ["[C@@H]", "(", "Cl", ")", "/", "C", "=", "C", "\\", "N"]),
        ("c1cc[nH]c1", ["c", "1", "c", "c", "[nH]", "c", "1"]),
        ("[Na+].[Cl-]", ["[Na+]", ".", "[Cl-]"]),
        ("", []),
    ],
)
def test_strings_split_as_a_chemist_would(smiles: str, tokens: list[str]) -> None:
    tokenizer = SmilesTokenizer(tuple(sorted({"C", *tokens})))
    assert [tokenizer.vocab[number] for number in tokenizer.encode(smiles)] == tokens


def test_the_vocabulary_is_sorted_and_without_specials() -> None:
    tokenizer = SmilesTokenizer.learn(["CCO", "c1cc[nH]c1"])
    assert tokenizer.vocab == ("1", "C", "O", "[nH]", "c")
    assert (tokenizer.vocab_size, tokenizer.pad_id) == (5, None)
    assert tokenizer.encode("OC1") == [2, 1, 0]


def test_padding_is_one_more_token_and_the_last() -> None:
    tokenizer = SmilesTokenizer.learn(["CO"], pad_to=4)
    assert (tokenizer.vocab, tokenizer.vocab_size, tokenizer.pad_id) == (("C", "O"), 3, 2)
    assert tokenizer.encode("OC") == [1, 0, 2, 2]
    assert tokenizer.encode("") == [2, 2, 2, 2]
    assert tokenizer.encode("CCOC") == [0, 0, 1, 0]
    assert tokenizer.decode([0, 1, 2, 0]) == "CO"
    with pytest.raises(MoldiffError, match=r"at most 4 tokens fit \(pad_to\): got 5 in 'CCCCC'"):
        tokenizer.encode("CCCCC")


def test_ids_may_be_numpy_integers() -> None:
    assert TOKENIZER.decode(np.array([0, 2, 4])) == "CNO"


@pytest.mark.parametrize(
    ("smiles", "message"),
    [
        ("CC[Si]C", r"unsupported token '\[Si\]' at position 2 of 'CC\[Si\]C': not in the voc"),
        ("CNO", "unsupported token 'N' at position 1 of 'CNO': not in the vocabulary of 3"),
        ("COX", "unsupported token 'X' at position 2 of 'COX': not a SMILES token"),
        ("C O", "unsupported token ' ' at position 1 of 'C O'"),
        ("C[O", r"unsupported token '\[' at position 1 of 'C\[O'"),
        ("C%1", "unsupported token '%' at position 1"),
        ("C\nO", r"unsupported token '\\n' at position 1 of 'C\\nO'"),
        ("C" * 100 + "X", r"at position 100 of 'C{77}\.\.\.'"),
    ],
)
def test_an_unsupported_token_is_named_with_its_place(smiles: str, message: str) -> None:
    with pytest.raises(MoldiffError, match=message) as caught:
        SmilesTokenizer(("1", "C", "O")).encode(smiles)
    assert "\n" not in str(caught.value)


def test_unsupported_lists_each_part_once_in_order() -> None:
    tokenizer = SmilesTokenizer(("C", "O"))
    assert tokenizer.unsupported("C[Si]ONX[Si]N%") == ["[Si]", "N", "X", "%"]
    assert tokenizer.unsupported("COC") == []


@given(st.text(max_size=12))
def test_a_string_encodes_exactly_when_nothing_in_it_is_unsupported(text: str) -> None:
    if TOKENIZER.unsupported(text):
        with pytest.raises(MoldiffError):
            TOKENIZER.encode(text)
    else:
        assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


def test_learning_refuses_what_is_no_smiles() -> None:
    with pytest.raises(MoldiffError, match="unsupported token '!' at position 1 of 'C!'"):
        SmilesTokenizer.learn(["CC", "C!"])
    with pytest.raises(MoldiffError, match="at least one token"):
        SmilesTokenizer.learn([])


@pytest.mark.parametrize("number", [-1, 3, 100])
def test_ids_outside_the_vocabulary_are_refused(number: int) -> None:
    with pytest.raises(MoldiffError, match=f"a token id is 0 to 2: got {number}"):
        SmilesTokenizer(("C", "N", "O")).decode([0, number])


@pytest.mark.parametrize("tokenizer", [TOKENIZER, PADDED])
def test_the_state_survives_json(tokenizer: SmilesTokenizer) -> None:
    state = json.loads(json.dumps(tokenizer.state()))
    assert state == {"name": "smiles", "vocab": list(TOKENS), "pad_to": tokenizer.pad_to}
    assert SmilesTokenizer.from_state(state) == tokenizer
    # So it stands in files that are older than the names.
    del state["name"]
    assert SmilesTokenizer.from_state(state) == tokenizer


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"vocab": [], "pad_to": None}, "at least one token: got none"),
        ({"vocab": ["C", "C"], "pad_to": None}, r"each token once: got more of \['C'\]"),
        ({"vocab": ["C", 1], "pad_to": None}, "holds SMILES tokens: got 1"),
        ({"vocab": ["C", ""], "pad_to": None}, "holds SMILES tokens: got ''"),
        ({"vocab": ["C", "12"], "pad_to": None}, "holds SMILES tokens: got '12'"),
        ({"vocab": ["C", "<pad>"], "pad_to": None}, "holds SMILES tokens: got '<pad>'"),
        ({"vocab": "CN", "pad_to": None}, "a list of tokens: got str"),
        ({"vocab": ["C"], "pad_to": 0}, "at least 1: got 0"),
        ({"vocab": ["C"], "pad_to": True}, "at least 1: got True"),
        ({"vocab": ["C"], "pad_to": "8"}, "at least 1: got '8'"),
        ({"vocab": ["C"]}, r"keys vocab and pad_to: got \['vocab'\]"),
        ({"vocab": ["C"], "pad_to": None, "x": 1}, "keys vocab and pad_to"),
    ],
)
def test_a_bad_state_is_refused(state: dict[str, object], message: str) -> None:
    with pytest.raises(MoldiffError, match=message):
        SmilesTokenizer.from_state(state)
