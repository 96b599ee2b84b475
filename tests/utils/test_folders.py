"""Tests of folders that appear whole or not at all."""

import pytest

from utils.folders import atomic_folder, check_free


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


def test_an_empty_folder_is_taken_and_what_a_killed_attempt_left_is_removed(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "tmp_data").mkdir()
    (tmp_path / "tmp_data" / "old.txt").write_text("old")
    with atomic_folder(tmp_path / "data") as folder:
        (folder / "new.txt").write_text("new")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["new.txt"]


def test_nothing_is_written_over(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("data", "file"):
        with pytest.raises(ValueError, match=f"{name} is there already, and nothing is written over"):
            check_free(tmp_path / name)
    with pytest.raises(ValueError, match="there already"), atomic_folder(tmp_path / "data"):
        pass
    assert (tmp_path / "data" / "mine.txt").read_text() == "mine" and not (tmp_path / "tmp_data").exists()
