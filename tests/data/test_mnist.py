import gzip
import math
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinymtl.data import load, multi_mnist

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def idx_bytes(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def small_mnist(brightest=255):
    """16 training and 7 test images; labels tell images apart inside the parts of 10, 6 and 7."""
    rng = np.random.default_rng(5)
    images = rng.integers(brightest + 1, size=(23, 28, 28)).astype(np.uint8)
    labels = np.concatenate([rng.permutation(10), rng.permutation(10)[:6], rng.permutation(10)[:7]]).astype(np.uint8)
    return [images[:16], labels[:16], images[16:], labels[16:]]


def write(directory, arrays, spell=lambda name: name):
    for name, array in zip(NAMES, arrays, strict=True):
        content = idx_bytes(array)
        file = directory / spell(name)
        file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)
    return directory


def image_by_hand(left, right):
    """One image, pixel by pixel, in float64."""
    canvas = [[0] * 36 for _ in range(36)]
    for row in range(28):
        for column in range(28):
            canvas[row][column] = int(left[row, column])
    for row in range(28):
        for column in range(28):
            canvas[row + 6][column + 6] = max(canvas[row + 6][column + 6], int(right[row, column]))
    brightest = max(max(row) for row in canvas)
    image = []
    for row in range(28):
        for column in range(28):
            value = canvas[(2 * row + 1) * 36 // 56][(2 * column + 1) * 36 // 56]
            if brightest > 0:
                value = math.floor(value * (255 / brightest) + 0.5)
            image.append((value / 255 - 0.1307) / 0.3081)
    return np.array(image).reshape(28, 28)


@pytest.mark.parametrize("brightest", [255, 97, 0])
def test_images_pixel_by_pixel(tmp_path, brightest):
    arrays = small_mnist(brightest)
    data = multi_mnist(write(tmp_path, arrays), validation=6)
    images, labels = np.concatenate(arrays[::2]), np.concatenate(arrays[1::2])
    pools = {"train": range(0, 10), "validation": range(10, 16), "test": range(16, 23)}
    for part, pool in pools.items():
        split = getattr(data, part)
        assert split.x.shape == (len(pool), 1, 28, 28) and split.x.dtype == np.float32
        place = {int(labels[i]): i for i in pool}
        assert len(place) == len(pool)
        assert split.targets["left"].tolist() == labels[pool.start : pool.stop].tolist()
        for row, label in enumerate(split.targets["right"].tolist()):
            expected = image_by_hand(images[pool.start + row], images[place[label]])
            np.testing.assert_allclose(split.x[row, 0], expected, rtol=0, atol=1e-6)


def test_sampling_is_that_of_an_image_library(tmp_path):
    arrays = small_mnist()
    arrays[2][:, 0, 0] = 255  # so that nothing is stretched
    data = multi_mnist(write(tmp_path, arrays), validation=6)
    images, labels = arrays[2], arrays[3].tolist()
    for row, label in enumerate(data.test.targets["right"].tolist()):
        canvas = np.zeros((36, 36), np.uint8)
        canvas[:28, :28] = images[row]
        canvas[6:34, 6:34] = np.maximum(canvas[6:34, 6:34], images[labels.index(label)])
        small = np.asarray(Image.fromarray(canvas).resize((28, 28), Image.Resampling.NEAREST))
        np.testing.assert_allclose(data.test.x[row, 0], (small / 255 - 0.1307) / 0.3081, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "spell",
    [
        lambda name: name.replace("-idx", ".idx"),
        lambda name: name + ".gz",
        lambda name: name.replace("-idx", ".idx") + ".gz",
        lambda name: name + ".gz" if "images" in name else name,
    ],
)
def test_every_spelling_gives_the_same(tmp_path, spell):
    (tmp_path / "plain").mkdir()
    (tmp_path / "spelt").mkdir()
    plain = multi_mnist(write(tmp_path / "plain", small_mnist()), validation=6)
    spelt = load("multi_mnist", directory=str(write(tmp_path / "spelt", small_mnist(), spell)), validation=6)
    for part in ("train", "validation", "test"):
        assert (getattr(plain, part).x == getattr(spelt, part).x).all()
        assert (getattr(plain, part).matrix() == getattr(spelt, part).matrix()).all()


def same(one, other):
    return all(
        (getattr(one, part).x == getattr(other, part).x).all()
        and (getattr(one, part).matrix() == getattr(other, part).matrix()).all()
        for part in ("train", "validation", "test")
    )


@pytest.mark.parametrize("place", ["MNIST/raw", "raw", "name/name", "name/dotted", "name.gz/name.gz"])
def test_archives_with_folders_are_looked_into(tmp_path, place):
    """Kaggle's archive has a folder of each file's name, torchvision's root MNIST/raw."""
    (tmp_path / "plain").mkdir()
    plain = multi_mnist(write(tmp_path / "plain", small_mnist()), validation=6)
    root = tmp_path / "root"
    for name in NAMES:
        file = root / place.replace("name", name).replace("dotted", name.replace("-idx", ".idx"))
        (file if "raw" in place else file.parent).mkdir(parents=True, exist_ok=True)
    spell = (
        (lambda name: f"{place}/{name}")
        if "raw" in place
        else lambda name: place.replace("name", name).replace("dotted", name.replace("-idx", ".idx"))
    )
    assert same(plain, multi_mnist(write(root, small_mnist(), spell), validation=6))
    for name in NAMES:  # Kaggle's has the files twice
        (root / name.replace("-idx", ".idx")).write_bytes(b"")
    assert same(plain, multi_mnist(root, validation=6))


@pytest.mark.parametrize("content", [b"", b"\0\0\x08\x03\0\0"])
def test_a_damaged_file_does_not_hide_a_good_one(tmp_path, content):
    (tmp_path / "plain").mkdir()
    plain = multi_mnist(write(tmp_path / "plain", small_mnist()), validation=6)
    write(tmp_path, small_mnist(), lambda name: name + ".gz")
    (tmp_path / NAMES[0]).write_bytes(content)
    assert same(plain, multi_mnist(tmp_path, validation=6))
    (tmp_path / f"{NAMES[0]}.gz").unlink()
    with pytest.raises(ValueError, match=f"{NAMES[0]} is"):  # the only one: said
        multi_mnist(tmp_path, validation=6)


def test_the_seed_decides_the_pairs(tmp_path):
    write(tmp_path, small_mnist())
    one, again, other = (multi_mnist(tmp_path, validation=6, seed=seed) for seed in (0, 0, 1))
    assert (one.train.x == again.train.x).all() and (one.test.x == again.test.x).all()
    assert (one.train.targets["right"] != other.train.targets["right"]).any()
    assert (one.train.targets["left"] == other.train.targets["left"]).all()


def test_each_part_draws_for_itself(tmp_path):
    """With the labels 0 … 9 in order in each part, the right labels are the draws."""
    images, labels = np.zeros((20, 28, 28), np.uint8), np.tile(np.arange(10, dtype=np.uint8), 2)
    data = multi_mnist(write(tmp_path, [images, labels, images[:10], labels[:10]]), validation=10)
    draws = [split.targets["right"].tolist() for split in (data.train, data.validation, data.test)]
    assert draws[0] != draws[1] and draws[0] != draws[2] and draws[1] != draws[2]


def test_tasks(tmp_path):
    data = multi_mnist(write(tmp_path, small_mnist()), validation=6)
    assert data.name == "multi_mnist" and data.input_shape == (1, 28, 28) and data.features == 784
    assert [(t.name, t.kind, t.outputs) for t in data.tasks] == [
        ("left", "classes", 10),
        ("right", "classes", 10),
    ]


def test_an_empty_directory_is_told_all_that_it_lacks(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        multi_mnist(tmp_path)
    sentence = str(caught.value)
    assert all(name in sentence for name in (*NAMES, str(tmp_path), "MNIST distribution")) and "\n" not in sentence


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_named(tmp_path, name):
    write(tmp_path, small_mnist())
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError) as caught:
        multi_mnist(tmp_path)
    assert [other in str(caught.value) for other in NAMES] == [other == name for other in NAMES]
    assert f"the directory {tmp_path} lacks {name}" in str(caught.value)


def test_a_directory_that_is_none_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no directory .*nowhere: give the one"):
        multi_mnist(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="file is a file: give the directory"):
        multi_mnist(tmp_path / "file")


def denied(*_):
    raise PermissionError(13, "Permission denied")


def test_a_directory_or_file_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    write(tmp_path, small_mnist())
    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", denied)
        with pytest.raises(PermissionError) as caught:
            multi_mnist(tmp_path)
        assert str(caught.value) == f"the directory {tmp_path} cannot be read (Permission denied)"
    (tmp_path / NAMES[2]).unlink()
    (tmp_path / NAMES[2]).mkdir()  # some archives unpack to a directory of that name
    with pytest.raises(IsADirectoryError) as caught:
        multi_mnist(tmp_path, validation=6)
    assert str(caught.value) == f"{tmp_path / NAMES[2]} cannot be read (Is a directory)"


@pytest.mark.parametrize(
    ("which", "change", "sentence"),
    [
        (
            0,
            lambda a: a[:, :27],
            r"train-images-idx3-ubyte holds an array of shape \(16, 27, 28\), expected images",
        ),
        (2, lambda a: a[:0], r"t10k-images-idx3-ubyte holds an array of shape \(0, 28, 28\)"),
        (3, lambda a: a[None], r"t10k-labels-idx1-ubyte holds an array of shape \(1, 7\), expected labels"),
        (
            1,
            lambda a: a[:-1],
            "train-images-idx3-ubyte holds 16 images, but .*train-labels-idx1-ubyte 15 labels",
        ),
        (3, lambda a: a[:-1], "t10k-images-idx3-ubyte holds 7 images, but .*t10k-labels-idx1-ubyte 6 labels"),
        (1, lambda a: a + 1, "train-labels-idx1-ubyte holds the label 10, expected 0 to 9"),
    ],
)
def test_files_with_the_wrong_content_are_named(tmp_path, which, change, sentence):
    arrays = small_mnist()
    arrays[which] = change(arrays[which])
    with pytest.raises(ValueError, match=sentence):
        multi_mnist(write(tmp_path, arrays), validation=6)


def test_a_truncated_file_is_named(tmp_path):
    write(tmp_path, small_mnist())
    file = tmp_path / NAMES[0]
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match="train-images-idx3-ubyte is damaged"):
        multi_mnist(tmp_path, validation=6)


@pytest.mark.parametrize("validation", [0, 16, 10_000, 0.5])
def test_the_validation_part_must_leave_training_images(tmp_path, validation):
    write(tmp_path, small_mnist())
    with pytest.raises(ValueError, match=f"validation is {validation}: give a whole number from 1 to 15"):
        multi_mnist(tmp_path, validation=validation)
