"""Images as a modality: token files, what is held out, what is kept, pictures and writers."""

import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from moldiff.data.image_files import read_images
from moldiff.data.image_tables import spell
from moldiff.data.images import Images, shifted
from moldiff.data.pixels import PixelTokenizer
from moldiff.errors import MoldiffError
from moldiff.types import Given

DIGITS = Path("digits")
MODALITY = Images()
NOTHING = {"hashes": np.zeros(0, dtype=np.int64), "in_train": np.zeros(0, dtype=bool)}


@pytest.fixture(scope="module")
def digits():
    return read_images(DIGITS)


@pytest.fixture
def few(tmp_path, digits):
    """A file of twelve digits, the last of which repeats the first."""
    np.save(tmp_path / "few.npy", np.concatenate([digits.images[:11], digits.images[:1]]))
    return tmp_path / "few.npy"


def test_a_token_file_holds_the_images_and_their_classes(digits):
    data = MODALITY.prepare(DIGITS, heldout=0.1)
    tokenizer = MODALITY.tokenizer(data.info["tokenizer"])
    assert tokenizer == PixelTokenizer(17, (8, 8))
    assert (len(data), int(data.heldout.sum())) == (1797, 180)
    for place in (0, 900, 1796):
        assert (tokenizer.decode(data.item(place)) == digits.images[place]).all()
    assert (data.properties["class"] == digits.classes).all()
    assert data.properties["brightness"] == pytest.approx(digits.images.mean((1, 2)), rel=1e-6)
    assert data.info["reconstruction_rms"] == 0


def test_each_image_is_there_once_and_repeats_are_told(few):
    told = []
    data = MODALITY.prepare(few, left_out=told.append)
    assert len(data) == 11
    assert data.info["duplicates"] == 1
    assert told[0][["line", "reason", "detail"]].to_numpy().tolist() == [[12, "repeat", "of line 1"]]


def test_shifts_are_of_training_images_alone(few, digits):
    data = MODALITY.prepare(few, heldout=0.3, shifts=True)
    tokenizer = MODALITY.tokenizer(data.info["tokenizer"])
    rows = [tokenizer.decode(data.item(place)) for place in range(len(data))]
    held = [rows[place] for place in np.flatnonzero(data.heldout)]
    train = [row for row, out in zip(rows[:11], data.heldout[:11], strict=True) if not out]
    copies = {spell(image) for image in rows[11:]}
    assert len(held) == 3
    assert not data.heldout[11:].any()
    moves = [(-1, 0), (1, 0), (0, -1), (0, 1)]
    assert copies == {spell(each) for move in moves for each in shifted(np.stack(train), *move)}
    assert copies.isdisjoint(spell(each) for move in moves for each in shifted(np.stack(held), *move))


def test_a_shift_moves_every_pixel():
    image = np.arange(1, 10, dtype=np.uint8).reshape(1, 3, 3)
    assert shifted(image, 1, 0)[0].tolist() == [[0, 0, 0], [1, 2, 3], [4, 5, 6]]
    assert shifted(image, 0, -1)[0].tolist() == [[2, 3, 0], [5, 6, 0], [8, 9, 0]]
    assert (shifted(image, 0, 0) == image).all()


def test_patches_report_what_they_lose(digits):
    data = MODALITY.prepare(DIGITS, tokenizer="patches", patch=4, codes=64)
    tokenizer = MODALITY.tokenizer(json.loads(json.dumps(data.info["tokenizer"])))
    assert data.lengths.tolist() == [4] * len(data)
    rows = np.stack([tokenizer.decode(data.item(place)) for place in range(50)])
    assert data.info["reconstruction_rms"] > 10
    lost = np.sqrt(((rows.astype(float) - digits.images[:50]) ** 2).mean())
    assert lost == pytest.approx(data.info["reconstruction_rms"], rel=0.2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokenizer": "smiles"}, "unknown tokenizer: got 'smiles', choose from pixels, patches"),
        ({"patch": 2}, "patch: goes with other tokenizers than pixels"),
        ({"tokenizer": "patches", "levels": 2}, "levels: goes with other tokenizers than patches"),
        ({"levels": 300}, "levels: got 300"),
        ({"levels": 0}, "levels: got 0"),
        ({"shifts": 1}, "shifts: got 1, must be true or false"),
        ({"pad_to": 70}, "pad_to: got 70, but images have one length"),
    ],
)
def test_prepare_refuses(options, message, few):
    with pytest.raises(MoldiffError, match=message):
        MODALITY.prepare(few, **options)


def test_evaluate_says_class_brightness_and_novelty(digits):
    data = MODALITY.prepare(DIGITS)
    known = MODALITY.reference({"hashes": data.identities, "in_train": ~data.heldout}, {})
    new = np.zeros((8, 8), dtype=np.uint8)
    frame = MODALITY.evaluate([digits.images[0], new], known)
    assert frame["raw"].tolist() == [spell(digits.images[0]), spell(new)]
    assert frame["novel"].tolist() == [False, True]
    assert frame["class"].iloc[0] == digits.classes[0]
    assert frame["brightness"].tolist() == [digits.images[0].mean(), 0]
    assert MODALITY.summarise(frame, known)["novel"] == {"canonical": 1}
    other = MODALITY.evaluate([np.zeros((2, 3), dtype=np.uint8)], known)
    assert np.isnan(other["class"]).all()
    assert len(MODALITY.evaluate([], known)) == 0


def test_an_unfinished_image_is_not_valid_and_left_out_of_arrays(tmp_path, digits):
    tokenizer = PixelTokenizer(17, (8, 8))
    items = [tokenizer.decode([3] * 64), tokenizer.decode([3] * 43)]
    frame = MODALITY.evaluate(items, MODALITY.reference(NOTHING, {}))
    assert frame["valid"].tolist() == [True, False]
    assert frame["reason"].tolist()[1] == "unfinished"
    assert np.isnan(frame["brightness"].iloc[1])
    assert MODALITY.fault(tokenizer, [3] * 43).places == tuple(range(43))
    for suffix in (".npy", ".png", ".csv"):
        MODALITY.write(frame, tmp_path / f"a{suffix}")
    assert np.load(tmp_path / "a.npy").shape == (1, 8, 8)


def saved(path, values):
    Image.fromarray(np.asarray(values, dtype=np.uint8)).save(path)
    return path


def test_what_is_black_in_a_mask_is_kept(tmp_path, digits):
    mask = np.zeros((8, 8))
    mask[4:] = 255
    given = Given(picture=saved(tmp_path / "a.png", digits.images[3]), mask=saved(tmp_path / "m.png", mask))
    pixels = PixelTokenizer(17, (8, 8))
    kept = MODALITY.kept(pixels, given).whole
    assert kept[:32] == tuple(pixels.encode(digits.images[3])[:32])
    assert kept[32:] == (None,) * 32


def test_a_patch_is_kept_where_all_of_it_is_black(tmp_path, digits):
    state = MODALITY.prepare(DIGITS, tokenizer="patches", patch=4, codes=16).info["tokenizer"]
    mask = np.zeros((8, 8))
    mask[0, 7] = 255
    given = Given(picture=saved(tmp_path / "a.png", digits.images[3]), mask=saved(tmp_path / "m.png", mask))
    kept = MODALITY.kept(MODALITY.tokenizer(state), given).whole
    assert [token is None for token in kept] == [False, True, False, False]


def test_kept_refuses(tmp_path, digits):
    tokenizer = PixelTokenizer(17, (8, 8))
    good = saved(tmp_path / "a.png", digits.images[0])
    wide, black = saved(tmp_path / "w.png", np.zeros((8, 9))), saved(tmp_path / "b.png", np.zeros((8, 8)))
    for given, message in [
        (Given(prompt="CC"), "prompt: got text"),
        (Given(ending="CC"), "prompt: got text"),
        (Given(picture=good), "inpaint: got no mask"),
        (Given(mask=good), "inpaint: got no picture"),
        (Given(picture=wide, mask=good), "picture: got .* of 8 x 9 pixels, the model's are 8 x 8"),
        (Given(picture=good, mask=wide), "mask: got .* of 8 x 9 pixels"),
        (Given(picture=good, mask=black), "black all over; white is where pixels are drawn anew"),
        (Given(picture=good, mask=tmp_path / "none.png"), "cannot read"),
    ]:
        with pytest.raises(MoldiffError, match=message):
            MODALITY.kept(tokenizer, given)


@pytest.fixture(scope="module")
def frame(digits):
    return MODALITY.evaluate(list(digits.images[:23]), MODALITY.reference(NOTHING, {}))


@pytest.mark.parametrize("cuts", [[], [0], [1, 2, 10], [0, 0, 22, 23]])
@pytest.mark.parametrize("suffix", [".npy", ".csv", ".jsonl", ".parquet"])
def test_what_is_written_is_read_back_however_it_is_cut(suffix, cuts, frame, digits, tmp_path):
    path = tmp_path / f"a{suffix}"
    with closing(MODALITY.writer(path, suffix)) as writer:
        for first, last in zip([0, *cuts], [*cuts, len(frame)], strict=True):
            writer.append(frame.iloc[first:last])
    assert (read_images(path).images == digits.images[:23]).all()
    MODALITY.write(frame, tmp_path / f"b{suffix}")
    assert (tmp_path / f"b{suffix}").read_bytes() == path.read_bytes() or suffix == ".parquet"


def test_an_npy_file_of_nothing_is_valid(frame, tmp_path):
    MODALITY.write(frame.head(0), tmp_path / "a.npy")
    assert np.load(tmp_path / "a.npy").shape == (0, 0, 0)
    MODALITY.write(frame.head(0), tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").getextrema() == (255, 255)


def test_a_sheet_shows_every_image_enlarged(frame, digits, tmp_path):
    MODALITY.write(frame, tmp_path / "a.png")
    found = np.asarray(Image.open(tmp_path / "a.png"))
    # Ten in a row, 96 pixels a side, 8 between and around them.
    for place in (0, 9, 10, 22):
        top, left = 8 + 104 * (place // 10), 8 + 104 * (place % 10)
        assert (found[top : top + 96 : 12, left : left + 96 : 12] == digits.images[place]).all()
        assert (found[top + 11 : top + 96 : 12, left + 11 : left + 96 : 12] == digits.images[place]).all()
    assert found.shape == (8 + 104 * 3, 8 + 104 * 10)


def test_a_sheet_has_room_for_so_many(frame, tmp_path):
    many = pd.concat([frame] * 45)
    with pytest.raises(MoldiffError, match=r"a \.png takes 1024 images at most: got more, write an \.npy"):
        MODALITY.write(many, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
    # So much is known before they are drawn.
    MODALITY.check_output(tmp_path / "a.png", 1024)
    MODALITY.check_output(tmp_path / "a.npy", 1025)
    with pytest.raises(MoldiffError, match=r"a \.png takes 1024 images at most: got 1025"):
        MODALITY.check_output(tmp_path / "a.png", 1025)


def test_pictures_say_what_was_asked_and_found_and_carry_notes(frame, tmp_path):
    notes = {"Software": "moldiff", "Command": "généré"}
    asked = frame.assign(target_class=["7"] * len(frame))
    MODALITY.picture(asked, ["class", "brightness"], tmp_path / "a.svg", notes)
    text = (tmp_path / "a.svg").read_text("utf-8")
    assert "class 0 (asked 7), brightness 73.2" in text
    assert json.dumps(notes).replace('"', "&quot;") in text or json.dumps(notes) in text
    MODALITY.picture(frame, ["class"], tmp_path / "a.png", notes)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.text == notes


def test_other_outputs_are_refused(frame, tmp_path):
    for check, message in [
        (MODALITY.check_output, "unknown kind of output file: got '.gif', choose from .npy, .png, .csv"),
        (MODALITY.check_picture, "unknown kind of picture: got '.gif', choose from .png, .svg"),
    ]:
        with pytest.raises(MoldiffError, match=message):
            check(tmp_path / "a.gif")
    with pytest.raises(MoldiffError, match="there are none for images"):
        MODALITY.measure(["x"])
