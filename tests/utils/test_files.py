"""Tests of atomic writing."""

import csv
import errno
import json
import math

import numpy as np
import pytest

from utils.files import (
    TEMPORARY_PREFIX,
    atomic_folder,
    atomic_path,
    check_free,
    read_json,
    write_csv,
    write_json,
    write_text,
)


@pytest.fixture
def target(tmp_path):
    """Return a file that exists."""
    path = tmp_path / "file.txt"
    path.write_text("old")
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write_then_raise(path, error):
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error


def test_file_appears_when_the_block_ends(target):
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.name == TEMPORARY_PREFIX + target.name
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert names(target.parent) == ["file.txt"]


@pytest.mark.parametrize(
    "error", [RuntimeError("stop"), KeyboardInterrupt(), OSError(errno.EIO, "bad disk")], ids=lambda e: type(e).__name__
)
def test_error_in_the_block_leaves_the_old_file_and_nothing_else(target, error):
    with pytest.raises(type(error)):
        write_then_raise(target, error)
    assert target.read_text() == "old"
    assert names(target.parent) == ["file.txt"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_said_in_a_sentence(target, number):
    with pytest.raises(OSError, match="file.txt could not be written: the disk is full.*--resume") as caught:
        write_then_raise(target, OSError(number, "No space left on device"))
    assert caught.value.errno == number
    assert target.read_text() == "old"
    assert names(target.parent) == ["file.txt"]


def test_full_disk_is_recognised_when_the_library_hides_the_error_number(target, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("utils.files.shutil.disk_usage", lambda path: usage)
    with pytest.raises(OSError, match="the disk is full"):
        write_then_raise(target, OSError("HDF5 error"))


def test_other_reason_is_named(target):
    with pytest.raises(OSError, match="file.txt could not be written: Input/output error") as caught:
        write_then_raise(target, OSError(errno.EIO, "Input/output error"))
    assert "full" not in str(caught.value)


def test_folder_is_made(tmp_path):
    write_text(tmp_path / "a" / "b" / "c.txt", "text")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "text"


def test_file_in_the_place_of_a_folder_is_said(target):
    with pytest.raises(OSError, match="inside.json could not be written"):
        write_json(target / "inside.json", {})
    assert target.read_text() == "old"


def test_text_is_utf8(tmp_path):
    write_text(tmp_path / "t.txt", "5 µm")
    assert (tmp_path / "t.txt").read_bytes() == "5 µm".encode()


def test_json_writes_nan_as_null_at_any_depth(tmp_path):
    path = tmp_path / "s.json"
    write_json(path, {"a": float("nan"), "b": [1, np.float64("nan"), {"c": (math.nan, 2.5)}], "d": None})
    assert json.loads(path.read_text(), parse_constant=pytest.fail) == {
        "a": None,
        "b": [1, None, {"c": [None, 2.5]}],
        "d": None,
    }


def test_json_round_trip(tmp_path):
    content = {"name": "µ", "numbers": [1, 2.5, True, None], "nested": {"shape": [1, 2]}, "path": tmp_path}
    write_json(tmp_path / "s.json", content)
    assert read_json(tmp_path / "s.json") == content | {"path": str(tmp_path)}


def test_json_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "s.json"
    write_json(path, {"a": 1})
    circle = []
    circle.append(circle)
    with pytest.raises((ValueError, RecursionError)):
        write_json(path, circle)
    assert read_json(path) == {"a": 1}


def test_csv_has_the_union_of_the_columns_in_order_of_appearance(tmp_path):
    write_csv(tmp_path / "t.csv", [{"b": 1, "a": "x,y"}, {"a": 2, "c": 3.5}])
    with (tmp_path / "t.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["b", "a", "c"], ["1", "x,y", ""], ["", "2", "3.5"]]


def test_csv_replaces_the_old_table(tmp_path):
    write_csv(tmp_path / "t.csv", [{"a": 1}, {"a": 2}])
    write_csv(tmp_path / "t.csv", [{"a": 3}])
    assert (tmp_path / "t.csv").read_text().split() == ["a", "3"]
    assert names(tmp_path) == ["t.csv"]


def test_a_folder_appears_when_it_is_complete(tmp_path):
    target = tmp_path / "new" / "data"
    with atomic_folder(target) as folder:
        (folder / "a.txt").write_text("a")
        assert not target.exists()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["data"]
    assert (target / "a.txt").read_text() == "a"


def test_an_error_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), atomic_folder(tmp_path / "data") as folder:
        (folder / "a.txt").write_text("a")
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_taken_and_what_may_be_the_users_is_not_removed(tmp_path):
    (tmp_path / "data").mkdir()
    old = tmp_path / "tmp_data"
    old.mkdir()
    with pytest.raises(ValueError, match="tmp_data is there already, .* Remove it"), atomic_folder(tmp_path / "data"):
        pass
    old.rmdir()  # it was left as it is
    with atomic_folder(tmp_path / "data") as folder:
        (folder / "new.txt").write_text("new")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["new.txt"]


def test_nothing_is_written_over(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("data", "file"):
        with pytest.raises(ValueError, match=f"{name} is there already and is not overwritten"):
            check_free(tmp_path / name)
    with pytest.raises(ValueError, match="there already"), atomic_folder(tmp_path / "data"):
        pass
    assert (tmp_path / "data" / "mine.txt").read_text() == "mine" and not (tmp_path / "tmp_data").exists()
