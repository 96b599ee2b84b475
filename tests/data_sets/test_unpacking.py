"""Tests of zip files that are hostile or damaged: one sentence each, and nothing outside of the folder."""

import re
import zipfile
from collections import namedtuple

import pytest

from data_sets.unpacking import unpack

ENCRYPTED, METHOD = "encrypted", "method"


def write_zip(path, members, *, change=None):
    """Write members, a name with its content; ``change`` edits what the central directory says of the last one."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    if change:
        content = bytearray(path.read_bytes())
        at = content.rindex(b"PK\x01\x02") + {ENCRYPTED: 8, METHOD: 10}[change]
        content[at] = {ENCRYPTED: 1, METHOD: 97}[change]
        path.write_bytes(content)
    return path


def cut_middle(path):
    """Damage the content of the first member, not the directory."""
    content = bytearray(path.read_bytes())
    content[40:60] = bytes(20)
    path.write_bytes(content)
    return path


def a_link():
    member = zipfile.ZipInfo("a.png")
    member.external_attr = 0o120777 << 16
    return member


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: write_zip(path, {"../a.png": b"1"}), "../a.png would lie outside of the folder"),
        (lambda path: write_zip(path, {"/etc/a.png": b"1"}), "/etc/a.png would lie outside of the folder"),
        (lambda path: write_zip(path, {a_link(): b"/etc/hosts"}), "a.png is a link"),
        (lambda path: write_zip(path, {"a.png": bytes(10**6), "b.png": b"1"}), "its images have 1,000,001 bytes when"),
        (lambda path: write_zip(path, {"a.png": b"1"}, change=ENCRYPTED), "a.png is encrypted"),
        (lambda path: write_zip(path, {"a.png": b"1"}, change=METHOD), "a.png is packed with method 97"),
        (lambda path: cut_middle(write_zip(path, {"a.png": b"0123456789" * 9 + bytes(range(99))})), "it is damaged ("),
        (lambda path: path.write_bytes(b"<html>") and path, "it is damaged (File is not a zip file)"),
    ],
)
def test_what_is_not_unpacked(tmp_path, make, said):
    archive = make(tmp_path / "data.zip")
    with pytest.raises(ValueError, match=rf"data.zip is not unpacked: {re.escape(said)}.* --files FOLDER.$"):
        unpack(archive, tmp_path / "new", wanted=lambda path: path.suffix == ".png", most_bytes=10**6)
    assert {path.name for path in tmp_path.iterdir()} <= {"data.zip", "new"}


def test_what_is_not_wanted_does_not_count_and_the_disk_does(tmp_path, monkeypatch):
    archive = write_zip(tmp_path / "data.zip", {"../a.txt": bytes(99), "deep/a.png": b"1"})
    options = {"wanted": lambda path: path.suffix == ".png", "most_bytes": 9}
    assert unpack(archive, tmp_path / "new", **options)
    assert [path.name for path in (tmp_path / "new").rglob("*.*")] == ["a.png"]
    assert not unpack(archive, tmp_path / "none", wanted=lambda path: False, most_bytes=9)
    monkeypatch.setattr("shutil.disk_usage", lambda path: namedtuple("Usage", "free")(0))
    with pytest.raises(ValueError, match="1 bytes when unpacked, and the disk has 0 free"):
        unpack(archive, tmp_path / "new", **options)
