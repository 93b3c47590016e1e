"""MultiMNIST, built from MNIST's own files as the authors of MGDA-UB build it."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np

from tinymtl.backend import Array
from tinymtl.checks import whole_number
from tinymtl.data.idx import read_idx
from tinymtl.data.multitask import MultiTaskData, Split, TaskSpec

CITATION = (
    "Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: Gradient-based learning applied to document recognition. "
    "Proceedings of the IEEE 86(11), 1998 (MNIST); O. Sener, V. Koltun: Multi-Task Learning as "
    "Multi-Objective Optimization. NeurIPS 2018, arXiv 1810.04650 (the pairs)"
)

#: MNIST's four files: images and labels, for training and for the test.
FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)

MEAN, STD = 0.1307, 0.3081  # of MNIST's pixels, as the authors' code normalises

#: Nearest-neighbour resize from 36 to 28: which row (or column) of the canvas each row of the image shows.
SHOWN = np.floor((np.arange(28) + 0.5) * 36 / 28).astype(np.int64)


def multi_mnist(directory: str | PathLike[str], validation: int = 10_000, seed: int = 0) -> MultiTaskData:
    """MultiMNIST, K = 2: two overlapping MNIST digits; which is on the left, which on the right?

    Each image of a part is once the left digit, with a right one drawn uniformly from the same part. Both lie
    on a canvas of 36 × 36, the left at (0, 0) and the right at (6, 6), and the brighter pixel wins; the
    canvas is brought to 28 × 28 by nearest-neighbour sampling and normalised to (x/255 − 0.1307)/0.3081. This
    is the construction in the code of Sener & Koltun 2018 (arXiv 1810.04650, section 5.1), which has no
    validation part; the random draws differ.

    Parameters
    ----------
    directory
        Where MNIST's four files lie: train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte
        and t10k-labels-idx1-ubyte, each also with a dot before "idx", or compressed (.gz), or in a folder of its own
        name, as in Kaggle's archive; or in MNIST/raw, as torchvision leaves them.
        Nothing is downloaded.
    validation
        How many of the last training images make the validation part; they pair only among themselves.
    seed
        Seed of the pairing.

    Returns
    -------
    MultiTaskData
        Images (N, 1, 28, 28), float32; tasks "left" and "right" with 10 classes each. With MNIST's own
        files 50 000, 10 000 and 10 000 rows.

    Raises
    ------
    OSError
        If the directory or one of the files is missing or cannot be read.
    ValueError
        If a file is damaged, or does not hold what its name says. The sentence names the file.

    Examples
    --------
    >>> multi_mnist("no/such/place")
    Traceback (most recent call last):
    FileNotFoundError: there is no directory no/such/place: give the one that holds MNIST's four files
    """
    folder = Path(directory)
    train_images, train_labels, test_images, test_labels = _read_mnist(folder)
    seed = whole_number("seed", seed, 0)
    held_out = whole_number("validation", validation, 1, len(train_images) - 1)
    cut = len(train_images) - held_out
    parts = [
        (train_images[:cut], train_labels[:cut]),
        (train_images[cut:], train_labels[cut:]),
        (test_images, test_labels),
    ]
    tasks = [TaskSpec("left", "classes", 10), TaskSpec("right", "classes", 10)]
    splits = []
    for stream, (images, labels) in enumerate(parts):
        right = np.random.default_rng([seed, stream]).integers(len(images), size=len(images))
        x = _normalised(_overlaid(images, images[right]))
        splits.append(Split(x[:, None], {"left": labels, "right": labels[right]}, tasks))
    return MultiTaskData("multi_mnist", *splits, citation=CITATION)


def _overlaid(left: Array, right: Array) -> Array:
    """`left` and `right`, (N, 28, 28) uint8 each, on one canvas that is brought to (N, 28, 28) uint8."""
    canvas = np.zeros((len(left), 36, 36), dtype=np.uint8)
    canvas[:, :28, :28] = left
    corner = canvas[:, 6:34, 6:34]
    np.maximum(corner, right, out=corner)
    brightest = canvas.max(axis=(1, 2))
    small = canvas[:, SHOWN[:, None], SHOWN]
    # The resize of the authors' code (scipy.misc.imresize of a float canvas) also stretches each canvas to
    # 0 … 255. Nearly every pair of MNIST digits reaches 255 by itself, so this touches few images.
    faint = (brightest > 0) & (brightest < 255)
    stretch = 255 / brightest[faint].astype(np.float64)
    small[faint] = np.floor(small[faint] * stretch[:, None, None] + 0.5)
    return small


def _normalised(pixels: Array) -> Array:
    """Bytes to float32, (x/255 − mean)/std; looked up, since there are only 256 of them."""
    table = ((np.arange(256) / 255 - MEAN) / STD).astype(np.float32)
    return table[pixels]


def _read_mnist(folder: Path) -> list[Array]:
    """Training images and labels, test images and labels."""
    if not folder.exists():
        raise FileNotFoundError(f"there is no directory {folder}: give the one that holds MNIST's four files")
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file: give the directory that holds MNIST's four files")
    try:
        found = [_file_in(folder, file) for file in FILES]
    except OSError as error:
        raise type(error)(f"the directory {folder} cannot be read ({error.strerror})") from error
    missing = [file for file, path in zip(FILES, found, strict=True) if path is None]
    if missing:
        raise FileNotFoundError(
            f"the directory {folder} lacks {', '.join(missing)} (plain or .gz): put MNIST's four files "
            "there, from the MNIST distribution (Yann LeCun's MNIST page, or a mirror of it)"
        )
    paths = [path for path in found if path is not None]
    arrays = [_read_checked(path) for path in paths]
    for images, labels in ((0, 1), (2, 3)):
        if len(arrays[images]) != len(arrays[labels]):
            raise ValueError(
                f"{paths[images]} holds {len(arrays[images])} images, but "
                f"{paths[labels]} {len(arrays[labels])} labels: they do not belong together"
            )
    return arrays


def _file_in(folder: Path, file: str) -> Path | None:
    """Where one of the four files lies: spelt with "-idx" or ".idx", plain or .gz; None if it is nowhere.

    Kaggle's archive puts each file into a folder of its own name, torchvision all four into MNIST/raw. Of several the
    first that can be read whole is taken: an empty or cut-off one does not hide a good one.
    """
    dotted = file.replace("-idx", ".idx")
    names = (file, dotted, f"{file}.gz", f"{dotted}.gz")
    places = (folder, *(folder / name for name in names), folder / "MNIST" / "raw", folder / "raw")
    present = {place: {entry.name for entry in place.iterdir()} for place in places if place.is_dir()}
    found = [place / name for place, there in present.items() for name in names if name in there]
    files = [path for path in found if not path.is_dir()] or found  # only directories: reading one says so
    return next((path for path in files if len(files) == 1 or _is_whole(path)), files[0] if files else None)


def _is_whole(path: Path) -> bool:
    try:
        read_idx(path)
    except (OSError, ValueError):
        return False
    return True


def _read_checked(path: Path) -> Array:
    """The array in one of the four files, with its shape (and the range of the labels) checked."""
    try:
        array = read_idx(path)
    except OSError as error:
        raise type(error)(f"{path} cannot be read ({error.strerror})") from error
    if "images" in path.name:
        if array.ndim != 3 or array.shape[1:] != (28, 28) or len(array) == 0:
            raise ValueError(f"{path} holds an array of shape {array.shape}, expected images (N, 28, 28)")
    elif array.ndim != 1:
        raise ValueError(f"{path} holds an array of shape {array.shape}, expected labels (N,)")
    elif array.size and array.max() > 9:
        raise ValueError(f"{path} holds the label {array.max()}, expected 0 to 9")
    return array
