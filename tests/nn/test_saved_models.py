"""Saving and loading: exact, never pickled, never half done."""

import os
import pickle

import numpy as np
import pytest

from tinymtl import SharedBottom, Task, nn
from tinymtl.files import load_arrays, save_arrays


def parts(seed=0, outputs=3, width=4):
    tasks = [Task(name, nn.Linear(width, outputs, rng=seed + k), nn.cross_entropy) for k, name in enumerate("ab")]
    return nn.MLP([5, width], rng=seed), tasks


def network(seed=0, **sizes):
    return SharedBottom(*parts(seed, **sizes))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_saved_is_loaded(tmp_path, dtype):
    model = network(seed=1).to(dtype)
    model.vector.data *= 1 / 3
    path = tmp_path / "model.of.mine"
    model.save(path)
    assert os.listdir(tmp_path) == ["model.of.mine"]  # at exactly this path, and nothing beside it
    loaded = SharedBottom.load(path, *parts(seed=9))
    assert loaded.vector.dtype == dtype
    np.testing.assert_array_equal(loaded.vector.data, model.vector.data)
    x = np.random.default_rng(0).standard_normal((4, 5))
    for name, prediction in loaded.predict(x).items():
        np.testing.assert_array_equal(prediction, model.predict(x)[name])
    assert all(np.shares_memory(p.data, loaded.vector.data) for p in loaded.shared_parameters())


def test_the_file_is_an_ordinary_npz(tmp_path):
    model = network()
    model.save(str(tmp_path / "m.npz"))
    with np.load(tmp_path / "m.npz", allow_pickle=False) as file:
        trunk = ["trunk/layers.0.weight", "trunk/layers.0.bias"]
        assert sorted(file) == sorted([*trunk, "heads/a/weight", "heads/a/bias", "heads/b/weight", "heads/b/bias"])
        np.testing.assert_array_equal(file["heads/b/weight"], model.tasks[1].head.weight.data)


def test_a_file_by_position_is_read_too(tmp_path):
    """As version 0.1 wrote them: "trunk/0", "heads/b/1"."""
    model = network()
    model.vector.data += 0.25
    old = [f"trunk/{i}" for i in range(2)] + [f"heads/{name}/{i}" for name in "ab" for i in range(2)]
    save_arrays(tmp_path / "m.npz", dict(zip(old, model.state().values(), strict=True)))
    np.testing.assert_array_equal(SharedBottom.load(tmp_path / "m.npz", *parts(seed=9)).vector.data, model.vector.data)


class InOrder(nn.Module):
    def __init__(self):
        self.a, self.b = nn.Linear(5, 5, rng=1), nn.Linear(5, 5, rng=2)

    def forward(self, x):
        return self.b(self.a(x))


class Tidied(InOrder):
    """The same network; its attributes are set in another order."""

    def __init__(self):
        self.b, self.a = nn.Linear(5, 5, rng=3), nn.Linear(5, 5, rng=4)


def test_parameters_are_read_by_name_not_by_place(tmp_path):
    def model(trunk):
        return SharedBottom(trunk, [Task("t", nn.Linear(5, 2, rng=3), nn.cross_entropy)])

    saved = model(InOrder())
    saved.save(tmp_path / "m.npz")
    x = np.random.default_rng(0).standard_normal((3, 5))
    loaded = SharedBottom.load(tmp_path / "m.npz", Tidied(), [Task("t", nn.Linear(5, 2), nn.cross_entropy)])
    np.testing.assert_allclose(loaded.predict(x)["t"], saved.predict(x)["t"], rtol=1e-6)


def test_state_is_a_copy():
    model = network()
    state = model.state()
    assert not any(np.shares_memory(array, model.vector.data) for array in state.values())
    before = model.vector.data.copy()
    model.vector.data[:] = 0.0
    model.load_state(state)
    np.testing.assert_array_equal(model.vector.data, before)


# ---------------------------------------------------------------- another network's file


def changed(state, key, value):
    return {**state, key: value} if value is not None else {k: v for k, v in state.items() if k != key}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("heads/c/0", np.zeros(3), "another network's: 'heads/c/0' is in only one of the two"),
        ("heads/b/bias", None, "another network's: 'heads/b/bias' is in only one of the two"),
        ("heads/b/weight", np.zeros((4, 2)), r"weight' was saved with shape \(4, 2\), this model has \(4, 3\)"),
        ("heads/b/weight", np.zeros((1, 3)), r"'heads/b/weight' was saved with shape \(1, 3\)"),
        ("heads/b/bias", np.array(["1", "2", "x"]), "'heads/b/bias' was saved as <U1, this model has float32"),
        ("heads/b/bias", np.array([1, 2, 3]), "'heads/b/bias' was saved as int64, this model has float32"),
    ],
)
def test_another_networks_parameters_are_refused_and_move_nothing(tmp_path, key, value, message):
    model = network()
    state = changed({k: v + 1 for k, v in model.state().items()}, key, value)
    before = model.vector.data.copy()
    with pytest.raises((ValueError, TypeError), match=message):
        model.load_state(state)
    np.testing.assert_array_equal(model.vector.data, before)
    save_arrays(tmp_path / "m.npz", state)
    with pytest.raises((ValueError, TypeError), match=message):
        SharedBottom.load(tmp_path / "m.npz", *parts())


# ---------------------------------------------------------------- files that are missing, damaged, or hostile


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.npz"):
        SharedBottom.load(tmp_path / "gone.npz", *parts())


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04", b"\x93NUMPY", b"\x80\x04N."])
def test_a_file_of_something_else_is_named(tmp_path, content):
    path = tmp_path / "m.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"m\.npz is not an \.npz file of arrays, or it is damaged"):
        SharedBottom.load(path, *parts())


def test_a_single_array_is_no_model(tmp_path):
    np.save(tmp_path / "m.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"m\.npy is not an \.npz file of arrays"):
        SharedBottom.load(tmp_path / "m.npy", *parts())


def test_damage_anywhere_is_found(tmp_path):
    arrays = {"trunk/0": np.arange(3.0), "heads/a/0": np.ones((2, 1))}
    path = tmp_path / "m.npz"
    save_arrays(path, arrays)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"m\.npz is not an \.npz file of arrays, or it is damaged"):
            load_arrays(path)
    refused = set()
    for i in range(len(whole)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 0x81]) + whole[i + 1 :])
        try:
            loaded = load_arrays(path)
        except ValueError:
            refused.add(i)
            continue
        for key in set(loaded) & set(arrays):  # a date of the archive was hit, or a name
            np.testing.assert_array_equal(loaded[key], arrays[key])
    for array in arrays.values():  # every byte of every array is covered by a checksum
        start = whole.index(array.tobytes())
        assert set(range(start, start + array.nbytes)) <= refused


class Bomb:
    gone_off = False

    def __reduce__(self):
        return (setattr, (Bomb, "gone_off", True))


def test_nothing_is_unpickled(tmp_path):
    for name, save in (("m.npz", lambda path, a: np.savez(path, **{"trunk/0": a})), ("m.npy", np.save)):
        save(tmp_path / name, np.array([Bomb()], dtype=object))
        with pytest.raises(ValueError, match="damaged: (.*allow_pickle=False|File is not a zip file)"):
            load_arrays(tmp_path / name)
    (tmp_path / "m.pickle").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="m.pickle is not an .npz file"):
        load_arrays(tmp_path / "m.pickle")
    assert Bomb.gone_off is False


# ---------------------------------------------------------------- a write that fails


def failing(file, **arrays):
    file.write(b"PK half of it")
    raise OSError(28, "No space left on device")


def no_rename(source, target):
    raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize(("module", "name", "broken"), [(np, "savez", failing), (os, "replace", no_rename)])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, module, name, broken):
    path = tmp_path / "m.npz"
    model = network()
    model.save(path)
    old = path.read_bytes()
    model.vector.data[:] = 0.0
    monkeypatch.setattr(module, name, broken)
    with pytest.raises(OSError, match=r"No space left|Permission denied"):
        model.save(path)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["m.npz"]
    assert path.read_bytes() == old
    model.save(path)
    assert not SharedBottom.load(path, *parts()).vector.data.any()


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        network().save(tmp_path / "nowhere" / "m.npz")
