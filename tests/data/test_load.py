import shutil
from pathlib import Path

import numpy as np
import pytest

import tinymtl.data
from tinymtl.data import NAMES, load, shipped

SHIPPED = {
    "multidigits": "digits.npz",
    "attributes": "digits.npz",
    "weather": "weather.npz",
    "penguins": "penguins.npz",
}
FOLDER = Path(tinymtl.data.__file__).parent


def test_names():
    assert NAMES == ("multidigits", "attributes", "weather", "penguins", "multi_mnist")
    for name in SHIPPED:
        data = load(name)
        assert data.name == name and name in repr(data) and data.citation
        for split in (data.train, data.validation, data.test):
            assert list(split.targets) == [task.name for task in data.tasks]
            assert np.isfinite(split.x).all() and split.x.dtype == np.float32


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("multidigit", "unknown data set 'multidigit': did you mean 'multidigits'?"),
        ("WEATHER", "unknown data set 'WEATHER': did you mean 'weather'?"),
        ("pinguins", "unknown data set 'pinguins': did you mean 'penguins'?"),
        (
            "cifar",
            "unknown data set 'cifar': use 'multidigits', 'attributes', 'weather', 'penguins' or 'multi_mnist'",
        ),
        (
            None,
            "unknown data set None: use 'multidigits', 'attributes', 'weather', 'penguins' or 'multi_mnist'",
        ),
    ],
)
def test_unknown_names(name, sentence):
    with pytest.raises(ValueError) as caught:
        load(name)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        (
            "multidigits",
            {"ofset": 2},
            "multidigits has no option 'ofset': did you mean 'offset'?",
        ),
        ("weather", {"seed": 0}, "weather has no option 'seed': it has none"),
        ("multi_mnist", {}, "multi_mnist needs the option 'directory': load('multi_mnist', directory=...)"),
    ],
)
def test_unknown_and_missing_options(name, options, sentence):
    with pytest.raises(ValueError) as caught:
        load(name, **options)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("name", SHIPPED)
def test_a_missing_file_is_named(monkeypatch, tmp_path, name):
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        load(name)
    sentence = str(caught.value)
    assert str(tmp_path / SHIPPED[name]) in sentence and "install tinymtl again" in sentence


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("keep", [0, 3, 200, 0.5, -1])
def test_a_truncated_file_is_named(monkeypatch, tmp_path, name, keep):
    content = (FOLDER / SHIPPED[name]).read_bytes()
    length = int(keep * len(content)) if isinstance(keep, float) else keep
    (tmp_path / SHIPPED[name]).write_bytes(content[:length])
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match="is damaged") as caught:
        load(name)
    sentence = str(caught.value)
    assert str(tmp_path / SHIPPED[name]) in sentence and "install tinymtl again" in sentence


def test_a_changed_byte_is_noticed_or_harmless(monkeypatch, tmp_path):
    """Wherever one byte of the file is wrong, the loader raises one clear sentence or gives the same data."""
    content = (FOLDER / "penguins.npz").read_bytes()
    good = load("penguins")
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    noticed = 0
    for place in np.random.default_rng(0).choice(len(content), size=150, replace=False):
        damaged = bytearray(content)
        damaged[place] ^= 0x55
        (tmp_path / "penguins.npz").write_bytes(damaged)
        try:
            data = load("penguins")
        except ValueError as error:
            assert f"{tmp_path / 'penguins.npz'} is damaged" in str(error)
            noticed += 1
        else:
            assert (data.train.x == good.train.x).all() and (data.test.x == good.test.x).all()
    assert noticed > 100


def test_arrays_of_another_shape_are_refused(monkeypatch, tmp_path):
    with np.load(FOLDER / "digits.npz", allow_pickle=False) as archive:
        np.savez(tmp_path / "digits.npz", images=archive["images"][:-1], labels=archive["labels"])
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match=r"images has shape \(1796, 8, 8\), expected \(1797, 8, 8\)"):
        load("attributes")
    np.savez(tmp_path / "digits.npz", images=np.zeros((1797, 8, 8)))
    with pytest.raises(ValueError, match="is damaged .*labels"):
        load("attributes")


class Bomb:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def test_nothing_is_unpickled(monkeypatch, tmp_path):
    trace = tmp_path / "trace"
    np.savez(tmp_path / "digits.npz", images=np.array([Bomb(trace)], dtype=object), labels=np.zeros(1797))
    with np.load(tmp_path / "digits.npz", allow_pickle=True) as archive:
        archive["images"]  # the bomb works
    assert trace.exists()
    trace.unlink()
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match="is damaged"):
        load("attributes")
    assert not trace.exists()


@pytest.mark.parametrize("file", sorted(set(SHIPPED.values())))
def test_licence_and_citation_lie_beside_each_file(file):
    text = (FOLDER / file).with_suffix(".md").read_text(encoding="utf-8")
    with np.load(FOLDER / file, allow_pickle=False) as archive:
        for name in archive.files:
            assert f"| {name} | {str(archive[name].shape)}, {archive[name].dtype} |" in text
    for word in ("**Source**", "**Authors**", "**Licence**", "**Cite as**", "**Changed**"):
        assert word in text


def test_the_files_alone_are_enough(monkeypatch, tmp_path):
    for file in set(SHIPPED.values()):
        shutil.copy(FOLDER / file, tmp_path)
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    for name in SHIPPED:
        assert len(load(name).train) > 0
