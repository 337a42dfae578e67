"""Patches as tokens: the nearest entry of the codebook, found among the images' own patches."""

import numpy as np
import pytest

from moldiff.data.patches import PatchTokenizer
from moldiff.data.pixels import rms
from moldiff.errors import MoldiffError


def drawn(count, shape=(8, 8), most=256, seed=0):
    return list(np.random.default_rng(seed).integers(0, most, (count, *shape), dtype=np.uint8))


def test_few_different_patches_are_kept_exactly():
    tiles = np.array([[0] * 4, [255] * 4, [0, 255, 255, 0]], dtype=np.uint8).reshape(3, 2, 2)
    random = np.random.default_rng(0)
    images = [np.block([[tiles[k] for k in row] for row in random.integers(0, 3, (2, 4))]) for _ in range(9)]
    tokenizer = PatchTokenizer.learn(images, 2, 16)
    assert tokenizer.vocab_size == 3
    assert tokenizer.grid == (2, 4)
    assert rms(tokenizer, images) == 0
    assert all((tokenizer.decode(tokenizer.encode(image)) == image).all() for image in images)


def test_a_token_is_the_nearest_entry_of_its_place():
    images = drawn(40)
    tokenizer = PatchTokenizer.learn(images, 4, 8)
    codes = [tokenizer.decode([k] * 4)[:4, :4] for k in range(tokenizer.vocab_size)]
    for image in images[:5]:
        ids = tokenizer.encode(image)
        for place, (row, column) in enumerate([(0, 0), (0, 4), (4, 0), (4, 4)]):
            patch = image[row : row + 4, column : column + 4].astype(int)
            squares = [((patch - code) ** 2).sum() for code in codes]
            assert ids[place] == int(np.argmin(squares))


def test_every_id_comes_back_and_is_used():
    images = drawn(60)
    tokenizer = PatchTokenizer.learn(images, 2, 32)
    ids = np.arange(tokenizer.vocab_size)
    rows = np.resize(ids, (-(-len(ids) // 16), 16)).tolist()
    assert [tokenizer.encode(tokenizer.decode(row)) for row in rows] == rows
    assert {token for image in images for token in tokenizer.encode(image)} == set(ids.tolist())


def test_more_entries_lose_less():
    images = drawn(80)
    errors = [rms(PatchTokenizer.learn(images, 2, codes), images) for codes in (2, 16, 128, 2000)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] == 0


def test_learning_repeats_itself_and_its_state_makes_the_same():
    images = drawn(30)
    tokenizer = PatchTokenizer.learn(images, 2, 20, seed=3)
    assert PatchTokenizer.learn(images, 2, 20, seed=3) == tokenizer
    assert PatchTokenizer.from_state(tokenizer.state()) == tokenizer


def test_too_few_tokens_are_an_unfinished_image():
    assert PatchTokenizer((4, 4), 2, bytes(range(8))).decode([0, 1]).size == 0


STATE = PatchTokenizer((4, 4), 2, bytes(range(8))).state()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: PatchTokenizer.learn(drawn(3), 3, 8), "patch: got 3, must divide height and width of 8 x 8"),
        (lambda: PatchTokenizer.learn(drawn(3), 0, 8), "patch: got 0"),
        (lambda: PatchTokenizer.learn(drawn(3), 2, 1), "codes: got 1, must be 2 to 65536"),
        (lambda: PatchTokenizer.learn([*drawn(3), *drawn(1, (8, 4))], 2, 4), "got 8 x 4 pixels, needs 8 x 8"),
        (lambda: PatchTokenizer((4, 4), 2, b"12345"), "codebook: got 5 bytes, needs 1 to 65536 times 4"),
        (lambda: PatchTokenizer((4, 4), 2, b""), "codebook: got 0 bytes"),
        (lambda: PatchTokenizer((4, 4), 2, b"12341234"), "codebook: got an entry twice"),
        (lambda: PatchTokenizer.from_state({**STATE, "codebook": "?"}), "is not base64"),
        (lambda: PatchTokenizer.from_state({**STATE, "codebook": [1, 2]}), "is not base64"),
        (lambda: PatchTokenizer.from_state({**STATE, "patch": "2"}), "patch: got '2'"),
        (lambda: PatchTokenizer.from_state({"name": "patches"}), "has the keys shape and patch and codebook"),
        (lambda: PatchTokenizer.from_state({**STATE, "name": "pixels"}), "the state of patches"),
        (lambda: PatchTokenizer((4, 4), 2, bytes(range(8))).decode([0, 1, 0, 2]), "needs 0 to 1"),
    ],
)
def test_refusals(build, message):
    with pytest.raises(MoldiffError, match=message):
        build()
