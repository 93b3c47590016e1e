"""Two data sets from small handwritten digits: two digits on one canvas, and eight attributes of one digit.

The 1797 images are those of 13 people, whose digits come in blocks. So the parts are cut in file order: most
writers of the test part are then unknown to the training part, and no image is in two parts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinymtl.backend import Array
from tinymtl.checks import whole_number
from tinymtl.data.multitask import MultiTaskData, Split, TaskSpec
from tinymtl.data.shipped import read_arrays

CITATION = (
    "E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits. UCI Machine Learning Repository, "
    "1998, doi:10.24432/C50P49 (the test part; CC BY 4.0)"
)

#: Which source images each part may use.
POOLS = {"train": slice(0, 1097), "validation": slice(1097, 1297), "test": slice(1297, 1797)}

#: The digits that have each attribute: a property of the digit, not of how one image happens to be drawn.
ATTRIBUTES = {
    "even": (0, 2, 4, 6, 8),
    "at_least_5": (5, 6, 7, 8, 9),
    "prime": (2, 3, 5, 7),
    "loop": (0, 6, 8, 9),  # a closed loop; not 4, which nearly all of these writers leave open at the top
    "two_loops": (8,),
    "zero_or_one": (0, 1),
    "multiple_of_3": (0, 3, 6, 9),  # 0 = 3 · 0 counts
    "curved": (0, 2, 3, 5, 6, 8, 9),  # 1, 4 and 7 are made of straight strokes
}


def multidigits(
    offset: int = 4, pairs: Sequence[int] = (4000, 1000, 2000), seed: int = 0, flat: bool = True
) -> MultiTaskData:
    """Two digits on one canvas, K = 2: which is on the left, which is on the right?

    The left digit lies at (0, 0), the right one at (offset, offset) of a square canvas of side 8 + offset;
    where they overlap, the brighter pixel stays. It is a small MultiMNIST (Sener & Koltun 2018, arXiv
    1810.04650, section 5.1).

    Parameters
    ----------
    offset
        Shift of the right digit in pixels, 0 to 8. 4 gives a 12 × 12 canvas where the digits share 16 of
        their 64 pixels (25 %); 8 keeps them apart.
    pairs
        Number of canvases in the training, validation and test part. Both digits of a pair are drawn
        uniformly from the part's own images (1097, 200 and 500 of them), so no image is seen in two parts.
    seed
        Seed of the pairing. Each part has a random stream of its own: more training pairs leave the test
        pairs as they are.
    flat
        True: x is (N, side²). False: images (N, 1, side, side).

    Returns
    -------
    MultiTaskData
        Pixels scaled to 0 … 1; tasks "left" and "right" with 10 classes each.

    Examples
    --------
    >>> multidigits()
    MultiTaskData 'multidigits': 2 tasks, inputs (144,)
      rows  4000 train, 1000 validation, 2000 test
      task  left: 10 classes
      task  right: 10 classes
    """
    offset = whole_number("offset", offset, 0, 8)
    seed = whole_number("seed", seed, 0)
    if not isinstance(pairs, Sequence) or len(pairs) != 3:
        raise ValueError(f"pairs is {pairs!r}: give three whole numbers, for training, validation and test")
    images, labels = _digits()
    tasks = [TaskSpec("left", "classes", 10), TaskSpec("right", "classes", 10)]
    splits = []
    for stream, (part, pool) in enumerate(POOLS.items()):
        rng = np.random.default_rng([seed, stream])
        count = whole_number(f"pairs for {part}", pairs[stream], 1)
        left, right = rng.integers(pool.start, pool.stop, size=(2, count))
        x = _canvases(images[left], images[right], offset)
        x = x.reshape(count, -1) if flat else x[:, None]
        splits.append(Split(x, {"left": labels[left], "right": labels[right]}, tasks))
    return MultiTaskData("multidigits", *splits, citation=CITATION)


def attributes() -> MultiTaskData:
    """Eight yes-or-no attributes of one digit, K = 8 (see `ATTRIBUTES`).

    Returns
    -------
    MultiTaskData
        x (N, 64), pixels scaled to 0 … 1; eight binary tasks. 1097 rows for training, 200 for validation,
        500 for the test, in file order.

    Examples
    --------
    >>> data = attributes()
    >>> [task.name for task in data.tasks]
    ['even', 'at_least_5', 'prime', 'loop', 'two_loops', 'zero_or_one', 'multiple_of_3', 'curved']
    >>> data.test.x.shape, data.test.matrix().shape
    ((500, 64), (500, 8))
    """
    images, labels = _digits()
    x = images.reshape(len(images), 64)
    tasks = [TaskSpec(name, "binary", 1) for name in ATTRIBUTES]
    targets = {name: np.isin(labels, digits) for name, digits in ATTRIBUTES.items()}
    splits = [
        Split(x[pool], {name: column[pool] for name, column in targets.items()}, tasks)
        for pool in POOLS.values()
    ]
    return MultiTaskData("attributes", *splits, citation=CITATION)


def _digits() -> tuple[Array, Array]:
    """Images (1797, 8, 8) in 0 … 1 and labels (1797,), in file order."""
    arrays = read_arrays("digits.npz", {"images": (1797, 8, 8), "labels": (1797,)})
    return arrays["images"] / np.float32(16), arrays["labels"]  # a pixel counts the ink in 4 × 4 dots: 0 … 16


def _canvases(left: Array, right: Array, offset: int) -> Array:
    """`left` at (0, 0) and `right` at (offset, offset): (N, 8, 8) twice to (N, 8 + offset, 8 + offset)."""
    side = 8 + offset
    canvas = np.zeros((len(left), side, side), dtype=left.dtype)
    canvas[:, :8, :8] = left
    corner = canvas[:, offset:, offset:]
    np.maximum(corner, right, out=corner)
    return canvas
