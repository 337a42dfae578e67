"""Readers of images: what they read comes back exactly, and what is no image is refused in a line."""

import gzip
import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from moldiff.data.image_files import read_grey, read_images
from moldiff.data.image_tables import spell, unspelt
from moldiff.errors import MoldiffError

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 3, 4), dtype=np.uint8)
LABELS = np.array([3, 0, 9, 1, 1], dtype=np.uint8)


def idx(values, magic=None, sizes=None):
    """The bytes of an idx file."""
    sizes = values.shape if sizes is None else sizes
    magic = 0x0800 + values.ndim if magic is None else magic
    return b"".join(part.to_bytes(4, "big") for part in (magic, *sizes)) + values.tobytes()


def test_the_bundled_digits_are_17_grey_values_with_classes():

    from sklearn.datasets import load_digits

    found, given = read_images(Path("digits")), load_digits()
    assert found.images.shape == (1797, 8, 8)
    assert (found.classes == given.target).all()
    assert (np.round(found.images / 255 * 16) == given.images).all()
    assert len(np.unique(found.images)) == 17
    assert found.lines[[0, -1]].tolist() == [1, 1797]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("labels", ["plain", "packed", "none"])
def test_idx(packed, labels, tmp_path):
    path = tmp_path / ("some-images-idx3-ubyte" + ".gz" * packed)
    path.write_bytes(gzip.compress(idx(IMAGES)) if packed else idx(IMAGES))
    if labels == "plain":
        (tmp_path / "some-labels-idx1-ubyte").write_bytes(idx(LABELS))
    if labels == "packed":
        (tmp_path / "some-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS)))
    found = read_images(path)
    assert (found.images == IMAGES).all()
    assert np.isnan(found.classes).all() if labels == "none" else (found.classes == LABELS).all()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an idx file of images, it begins with nothing"),
        (idx(LABELS) + bytes(99), "it begins with 00 00 08 01, needs 00 00 08 03"),
        (idx(IMAGES, magic=0x0D03), "it begins with 00 00 0d 03"),
        (idx(IMAGES)[:-1], "its header promises 60 bytes, got 59"),
        (idx(IMAGES) + b"x", "its header promises 60 bytes, got more"),
        (idx(IMAGES, sizes=(2**20, 8, 8)), "its header promises 67,108,864 bytes, got 60"),
        (
            idx(IMAGES, sizes=(2**32 - 1,) * 3),
            "promises 4294967295 x 4294967295",
        ),
        (idx(IMAGES, sizes=(5, 0, 4)), "promises 5 x 0 x 4 images, which is out of range"),
        (idx(IMAGES[:0], sizes=(0, 3, 4)), "needs at least one image"),
    ],
)
def test_idx_refusals(data, message, tmp_path):
    path = tmp_path / "images-idx3"
    path.write_bytes(data)
    with pytest.raises(MoldiffError, match=message):
        read_images(path)


def test_idx_with_broken_gzip_or_other_labels(tmp_path):
    path = tmp_path / "images-idx3.gz"
    path.write_bytes(gzip.compress(idx(IMAGES))[:-9])
    with pytest.raises(MoldiffError, match="broken gzip file"):
        read_images(path)
    path.write_bytes(idx(IMAGES))
    with pytest.raises(MoldiffError, match="cannot read"):
        read_images(path)
    path.write_bytes(gzip.compress(idx(IMAGES)))
    (tmp_path / "labels-idx1").write_bytes(idx(LABELS[:3]))
    with pytest.raises(MoldiffError, match="got 5 images, but labels-idx1 has 3 labels"):
        read_images(path)


def test_a_folder_of_pngs_with_classes(tmp_path):
    for name, image in zip(("7/b", "7/a", "x/c", "2/d", "e"), IMAGES, strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    (tmp_path / "7" / "notes.txt").write_text("no image")
    found = read_images(tmp_path)
    order = [3, 1, 0, 4, 2]
    assert (found.images == IMAGES[order]).all()
    assert [None if math.isnan(kind) else int(kind) for kind in found.classes] == [2, 7, 7, None, None]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_png_modes_become_grey(mode, tmp_path):
    path = tmp_path / "a.png"
    picture = Image.fromarray(np.array([[0, 255], [255, 0]], dtype=np.uint8))
    if mode == "I;16":
        picture = Image.fromarray(np.array([[0, 65535], [65535, 0]], dtype=np.uint16))
    else:
        picture = picture.convert(mode)
    picture.save(path)
    assert read_grey(path).tolist() == [[0, 255], [255, 0]]


def test_folder_refusals(tmp_path):
    with pytest.raises(MoldiffError, match="no images in"):
        read_images(tmp_path)
    Image.fromarray(IMAGES[0]).save(tmp_path / "a.png")
    Image.fromarray(IMAGES[0][:2]).save(tmp_path / "b.png")
    with pytest.raises(MoldiffError, match=r"b.png has 2 x 4 pixels, the first image 3 x 4; use one size"):
        read_images(tmp_path)
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    with pytest.raises(MoldiffError, match="no picture"):
        read_images(tmp_path)


def test_npy(tmp_path):
    for order in "CF":
        np.save(tmp_path / "a.npy", np.asarray(IMAGES, order=order))
        assert (read_images(tmp_path / "a.npy").images == IMAGES).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (IMAGES.astype(float), "got float64 of 5 x 3 x 4, needs uint8 of images x height x width"),
        (IMAGES[0], "got uint8 of 3 x 4"),
        (IMAGES[:0], "needs at least one image"),
        (np.array([{}], dtype=object), "not an array of uint8"),
    ],
)
def test_npy_refusals(values, message, tmp_path):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(MoldiffError, match=message):
        read_images(tmp_path / "a.npy")


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:30], lambda data: b"text"])
def test_a_damaged_npy_is_refused(damage, tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, IMAGES)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(MoldiffError, match="not an array of uint8"):
        read_images(path)


@pytest.mark.parametrize("shape", ["(5, 3000000, 4000000)", "(5, 3, 400)", "(-5, 3, 4)", "(5, 3", "(5,)"])
def test_an_npy_header_may_promise_anything(shape, tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, IMAGES)
    data = path.read_bytes()
    head = data[10:128].replace(b"(5, 3, 4)", shape.encode()).strip().ljust(117) + b"\n"
    path.write_bytes(data[:10] + head + data[128:])
    with pytest.raises(MoldiffError, match=r"cannot read|got uint8 of 5"):
        read_images(path)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_tables(suffix, tmp_path):
    frame, path = pd.DataFrame({"raw": [spell(image) for image in IMAGES]}), tmp_path / f"a{suffix}"
    if suffix == ".csv":
        frame.to_csv(path, index=False)
    elif suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    assert (read_images(path).images == IMAGES).all()
    assert (read_images(path, "raw").images == IMAGES).all()
    with pytest.raises(MoldiffError, match="no column 'x', it has raw"):
        read_images(path, "x")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "no table"),
        ("a.csv", "raw\n", "no images in .*: the file holds no row"),
        ("a.csv", "raw\n2x2:AAAA\n", "row 1 holds no image"),
        ("a.csv", "raw\n1x1:AA==\n1x2:AAA=\n", "row 2 has 1 x 2 pixels, the first image 1 x 1"),
        ("a.jsonl", "[1]\n", "a line holds list, needs an object"),
        ("a.jsonl", "{\n", "no table"),
        ("a.parquet", "text", "no table"),
    ],
)
def test_table_refusals(name, text, message, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(MoldiffError, match=message):
        read_images(tmp_path / name)


@pytest.mark.parametrize(
    "cell", [None, 1.0, "", "1x1:", "0x1:", "1x1:A", "1x1:AAA=", "9999x9999:AA==", "axb:AA=="]
)
def test_what_is_no_image(cell):
    assert unspelt(cell) is None


@pytest.mark.parametrize("name", ["a.npy", "images-idx3", "a.csv", "a.png"])
def test_what_is_no_file_is_not_waited_for(name, tmp_path):
    with pytest.raises(MoldiffError, match="cannot read"):
        read_images(tmp_path / name)
    os.mkfifo(tmp_path / name)
    with pytest.raises(MoldiffError, match="a named pipe"):
        read_images(tmp_path / name)


def test_unknown_kinds_and_columns(tmp_path):
    with pytest.raises(MoldiffError, match=r"unknown kind of image file for a.txt: got '.txt'"):
        read_images(tmp_path / "a.txt")
    with pytest.raises(MoldiffError, match="has no columns: got column='raw'"):
        read_images(tmp_path / "a.npy", "raw")
