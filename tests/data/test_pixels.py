"""Pixels as tokens: exact for 256 levels, idempotent for any, the nearest level for each."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from moldiff.data.pixels import PixelTokenizer, exact_levels, rms, round_to
from moldiff.errors import MoldiffError

IMAGES = hnp.arrays(np.uint8, (3, 4))
EVERY_GREY = np.arange(256, dtype=np.uint8).reshape(16, 16)


@given(IMAGES)
def test_256_levels_are_exact(image):
    tokenizer = PixelTokenizer(256, (3, 4))
    assert (tokenizer.decode(tokenizer.encode(image)) == image).all()
    assert tokenizer.encode(image) == image.ravel().tolist()
    assert rms(tokenizer, [image]) == 0


@given(IMAGES, st.integers(2, 256))
def test_decoding_is_idempotent(image, levels):
    tokenizer = PixelTokenizer(levels, (3, 4))
    once = tokenizer.decode(tokenizer.encode(image))
    assert (tokenizer.decode(tokenizer.encode(once)) == once).all()


@pytest.mark.parametrize("levels", [2, 3, 7, 17, 100, 255, 256])
def test_every_id_comes_back_and_is_the_nearest(levels):
    one = PixelTokenizer(levels, (1, 1))
    greys = [int(one.decode([level])[0, 0]) for level in range(levels)]
    assert [one.encode(np.array([[grey]], dtype=np.uint8)) for grey in greys] == [[i] for i in range(levels)]
    assert greys[0] == 0
    assert greys[-1] == 255
    tokenizer = PixelTokenizer(levels, (16, 16))
    lost = np.abs(EVERY_GREY.astype(int) - tokenizer.decode(tokenizer.encode(EVERY_GREY)))
    # Half a step, and half a grey value because the levels are whole.
    assert lost.max() <= 255 / (levels - 1) / 2 + 0.5
    assert rms(tokenizer, [EVERY_GREY]) == pytest.approx(np.sqrt((lost**2).mean()))


@given(st.integers(1, 300), st.integers(1, 300), st.data())
def test_rounding_is_to_the_nearest_whole_number(steps, new, data):
    value = data.draw(st.integers(0, steps))
    assert abs(int(round_to(np.array(value), steps, new)) - value * new / steps) <= 0.5


def test_the_fewest_exact_levels():
    digits = round_to(np.arange(17), 16, 255).astype(np.uint8)
    assert exact_levels([digits]) == 17
    assert exact_levels([np.array([0, 255], dtype=np.uint8)]) == 2
    assert exact_levels([EVERY_GREY]) == 256


def test_too_few_or_too_many_tokens_are_an_unfinished_image():
    tokenizer = PixelTokenizer(4, (2, 2))
    assert [tokenizer.decode([0] * count).shape for count in (0, 3, 4, 5)] == [(0, 0), (0, 0), (2, 2), (0, 0)]


def test_state_makes_the_same_tokenizer():
    tokenizer = PixelTokenizer(17, (8, 8))
    assert PixelTokenizer.from_state(tokenizer.state()) == tokenizer
    assert (tokenizer.vocab_size, tokenizer.grid) == (17, (8, 8))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: PixelTokenizer(1, (8, 8)), "levels: got 1, must be 2 to 256"),
        (lambda: PixelTokenizer(257, (8, 8)), "levels: got 257"),
        (lambda: PixelTokenizer(True, (8, 8)), "levels: got True"),
        (lambda: PixelTokenizer(4, (0, 8)), "shape: got"),
        (lambda: PixelTokenizer.from_state({"name": "pixels", "levels": 4}), "has the keys levels and shape"),
        (lambda: PixelTokenizer.from_state({"levels": 4, "shape": "88"}), "shape: got '88'"),
        (lambda: PixelTokenizer.from_state({"levels": 4, "shape": [8, 10**9]}), "shape: got"),
        (
            lambda: PixelTokenizer(4, (2, 2)).encode(np.zeros((2, 3), np.uint8)),
            "got 2 x 3 pixels, needs 2 x 2",
        ),
        (lambda: PixelTokenizer(4, (2, 2)).encode(np.zeros((2, 2))), "got float64, needs an array of uint8"),
        (lambda: PixelTokenizer(4, (2, 2)).encode("text"), "got str, needs an array of uint8"),
        (lambda: PixelTokenizer(4, (2, 2)).decode([0, 1, 2, 4]), "got 0 to 4, needs 0 to 3"),
    ],
)
def test_refusals(build, message):
    with pytest.raises(MoldiffError, match=message):
        build()
