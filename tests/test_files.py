"""Files that are whole at every moment, whatever stands at their place and whatever goes wrong."""

import os
import stat
import threading

import numpy as np
import pytest

from tinymtl import files
from tinymtl.files import load_arrays, replacing, save_arrays, write


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_text_and_bytes_land_as_given(tmp_path):
    path = tmp_path / "a.txt"
    assert write(path, "Δ\r\n") == path
    assert path.read_bytes() == "Δ\r\n".encode()
    write(str(path), b"\x00\x01")
    assert path.read_bytes() == b"\x00\x01"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_new_file_has_the_usual_mode(tmp_path):
    (tmp_path / "plain").touch()
    write(tmp_path / "new", "x")
    assert mode(tmp_path / "new") == mode(tmp_path / "plain")


@pytest.mark.parametrize("wanted", [0o600, 0o664, 0o755])
def test_a_replaced_file_keeps_its_mode(tmp_path, wanted):
    path = tmp_path / "a"
    path.write_text("old")
    path.chmod(wanted)
    write(path, "new")
    assert (path.read_text(), mode(path)) == ("new", wanted)


def test_a_link_stays_and_its_target_is_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    target, link, dangling = tmp_path / "there" / "real", tmp_path / "link", tmp_path / "dangling"
    target.write_text("old")
    link.symlink_to(target)
    dangling.symlink_to("there/new")
    write(link, "1")
    write(dangling, "2")
    assert link.is_symlink() and target.read_text() == "1"
    assert dangling.is_symlink() and (tmp_path / "there" / "new").read_text() == "2"
    assert sorted(os.listdir(tmp_path / "there")) == ["new", "real"]


@pytest.mark.parametrize("name", ["n" * 255, "ü" * 127, ".hidden", "no suffix", "a.part"])
def test_any_name_that_the_file_system_takes(tmp_path, name):
    for content in ("one", "two"):
        write(tmp_path / name, content)
    assert os.listdir(tmp_path) == [name]
    assert (tmp_path / name).read_text() == "two"


def test_two_writers_of_one_path_do_not_meet(tmp_path):
    path = tmp_path / "a"
    with replacing(path) as first, replacing(path) as second:
        first.write(b"1" * 10)
        second.write(b"2" * 20)
    assert path.read_bytes() == b"1" * 10  # the outer one ended last
    assert os.listdir(tmp_path) == ["a"]


def test_many_writers_at_once_leave_one_whole_file(tmp_path):
    path = tmp_path / "a.npz"
    failures = []

    def work(number):
        try:
            for _ in range(20):
                save_arrays(path, {"x": np.full(200, number)})
                assert len(set(load_arrays(path)["x"].tolist())) == 1
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert os.listdir(tmp_path) == ["a.npz"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError(28, "No space left on device")])
def test_a_block_that_fails_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(error if isinstance(error, type) else type(error)) as caught, replacing(path) as file:
        file.write(b"half")
        raise error
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]
    if isinstance(error, OSError):  # which file it was about is added
        assert (caught.value.filename, caught.value.strerror) == (str(path), "No space left on device")


def test_what_was_written_is_on_the_disk_before_the_name_is_taken(tmp_path, monkeypatch):
    calls = []
    sync, rename = os.fsync, os.replace
    monkeypatch.setattr(files.os, "fsync", lambda number: calls.append("sync") or sync(number))
    monkeypatch.setattr(files.os, "replace", lambda *paths: calls.append("rename") or rename(*paths))
    write(tmp_path / "a", "x")
    assert calls == ["sync", "rename"]


def test_an_error_about_another_file_stays_about_that_file(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, replacing(tmp_path / "a"):
        (tmp_path / "other").read_bytes()
    assert caught.value.filename == str(tmp_path / "other")


def test_a_missing_directory_is_named_by_the_path_that_was_given(tmp_path):
    path = tmp_path / "nowhere" / "a"
    with pytest.raises(FileNotFoundError) as caught:
        write(path, "x")
    assert caught.value.filename == str(path)


def test_what_is_not_a_file_is_not_replaced(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "kept").write_text("kept")
    before = sorted(os.listdir(tmp_path))
    for name, error, words in [
        ("pipe", OSError, "not a regular file"),
        ("folder", IsADirectoryError, "give the name of a file"),
        ("loop", OSError, "levels of symbolic links"),
    ]:
        with pytest.raises(error, match=words):
            write(tmp_path / name, "x")
    monkeypatch.setattr(files.os, "access", lambda path, how: False)  # as root, no file is read-only
    with pytest.raises(PermissionError, match="kept is read-only"):
        write(tmp_path / "kept", "x")
    assert sorted(os.listdir(tmp_path)) == before
    assert (tmp_path / "kept").read_text() == "kept"


def test_a_number_is_not_a_path(tmp_path):
    """`open(1)` would be the terminal."""
    for call in (lambda: write(1, "x"), lambda: load_arrays(0)):
        with pytest.raises(TypeError, match=r"(?i)path"):
            call()


def test_arrays_come_back_with_their_kinds(tmp_path):
    arrays = {"a/b": np.arange(6.0, dtype=np.float32).reshape(2, 3), "words": np.array("Δ"), "none": np.empty((0, 2))}
    save_arrays(tmp_path / "x", arrays)
    found = load_arrays(tmp_path / "x")
    assert list(found) == list(arrays)
    for key, array in arrays.items():
        np.testing.assert_array_equal(found[key], array)
        assert found[key].dtype == array.dtype and found[key].shape == array.shape


def test_objects_are_refused_before_anything_is_written(tmp_path):
    path = tmp_path / "x.npz"
    save_arrays(path, {"a": np.ones(1)})
    with pytest.raises(ValueError, match="'b' is an array of Python objects"):
        save_arrays(path, {"a": np.zeros(1), "b": np.array([{}], dtype=object)})
    assert load_arrays(path)["a"] == 1.0


def test_what_a_file_holds_takes_no_more_than_the_file(tmp_path):
    """Bombs: compressed zeros, and one array that many names stand for."""
    np.savez_compressed(tmp_path / "zeros.npz", a=np.zeros(10**6))
    with pytest.raises(ValueError, match=r"zeros\.npz .*: its arrays are compressed: write them again with np\.savez"):
        load_arrays(tmp_path / "zeros.npz")

    save_arrays(tmp_path / "one.npz", {"a": np.zeros(1000)})
    whole = (tmp_path / "one.npz").read_bytes()
    start = whole.index(b"PK\x01\x02")
    entry, end = whole[start : whole.index(b"PK\x05\x06")], bytearray(whole[whole.index(b"PK\x05\x06") :])
    end[8:12] = (20).to_bytes(2, "little") * 2
    end[12:16] = (20 * len(entry)).to_bytes(4, "little")
    (tmp_path / "twenty.npz").write_bytes(whole[:start] + 20 * entry + bytes(end))
    with pytest.raises(ValueError, match=r"twenty\.npz .*: its arrays overlap"):
        load_arrays(tmp_path / "twenty.npz")
