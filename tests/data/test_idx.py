import gzip
import struct

import numpy as np
import pytest

from tinymtl.data import read_idx


def idx_bytes(array):
    """An IDX file of unsigned bytes, byte by byte."""
    content = bytes([0, 0, 8, array.ndim])
    for length in array.shape:
        content += struct.pack(">I", length)
    return content + bytes(int(value) for value in array.ravel())


@pytest.mark.parametrize("shape", [(5,), (3, 2), (4, 300, 2), (0, 28, 28)])
def test_plain_and_compressed(tmp_path, shape):
    array = np.random.default_rng(0).integers(256, size=shape).astype(np.uint8)
    (tmp_path / "plain").write_bytes(idx_bytes(array))
    (tmp_path / "packed.gz").write_bytes(gzip.compress(idx_bytes(array)))
    (tmp_path / "packed-without-suffix").write_bytes(gzip.compress(idx_bytes(array)))
    for name in ("plain", "packed.gz", "packed-without-suffix"):
        for path in (tmp_path / name, str(tmp_path / name)):
            read = read_idx(path)
            assert read.dtype == np.uint8 and read.shape == shape and (read == array).all()
            assert read.flags.writeable


GOOD = idx_bytes(np.arange(6, dtype=np.uint8).reshape(2, 3))
PACKED = gzip.compress(GOOD)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is not an IDX file: it begins with nothing"),
        (b"\0\0\x08", "is not an IDX file: it begins with 00 00 08"),
        (b"PK\x03\x04" + GOOD, "is not an IDX file: it begins with 50 4b 03 04"),
        (b"\0\x01" + GOOD[2:], "is not an IDX file"),
        (b"\0\0\x0d\x02" + GOOD[4:], "has IDX type code 0x0d: only unsigned bytes"),
        (GOOD[:9], r"is damaged \(it ends inside its header\)"),
        (GOOD[:-1], r"promises 18 bytes for shape \(2, 3\), it has 17"),
        (GOOD + b"\0", r"promises 18 bytes for shape \(2, 3\), it has 19"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "promises .* bytes"),
        (PACKED[:-5], "is a damaged gzip file"),
        (PACKED[:12] + bytes([PACKED[12] ^ 0xFF]) + PACKED[13:], "is a damaged gzip file"),
        (PACKED[:-8] + bytes([PACKED[-8] ^ 1]) + PACKED[-7:], "is a damaged gzip file .*CRC"),
        (gzip.compress(GOOD[:-1]), "it has 17"),
    ],
    ids=range(13),
)
def test_damage_is_named(tmp_path, content, sentence):
    path = tmp_path / "labels-idx1-ubyte"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=sentence) as caught:
        read_idx(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no-such-file"):
        read_idx(tmp_path / "no-such-file")
