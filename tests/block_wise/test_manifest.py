"""Tests of the manifest and the markers of a block-wise run."""

import pytest

from block_wise.manifest import Markers, check_disk, check_manifest, hash_file, write_manifest

SETTINGS = {"CROP_SHAPE": (8, 32, 32, 1), "OVERLAP": 0.5, "RANGE": None, "NESTED": ((1, 2), (3,))}


@pytest.fixture
def begun(tmp_path):
    assert check_manifest(tmp_path, SETTINGS) is False
    write_manifest(tmp_path, SETTINGS)
    assert check_manifest(tmp_path, SETTINGS | {"OVERLAP": 0.25}) is False  # nothing is done yet
    Markers(tmp_path / "done" / "probability").mark((0, 0, 0))
    return tmp_path


def test_the_same_settings_go_on(begun):
    assert check_manifest(begun, SETTINGS) is True


def test_other_settings_are_refused_and_each_is_named(begun):
    with pytest.raises(ValueError, match=r"2 problems in these blocks.*OVERLAP was 0\.5, is 0\.0; RANGE was None, is"):
        check_manifest(begun, SETTINGS | {"OVERLAP": 0.0, "RANGE": (0, 1)})
    with pytest.raises(ValueError, match="NEW was None, is 3"):
        check_manifest(begun, SETTINGS | {"NEW": 3})
    assert check_manifest(begun, SETTINGS) is True


def test_a_part_alone_counts_too(tmp_path):
    write_manifest(tmp_path, SETTINGS)
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "0_0_0.npy").write_bytes(b"x")
    with pytest.raises(ValueError, match="OVERLAP was"):
        check_manifest(tmp_path, SETTINGS | {"OVERLAP": 0.0})


@pytest.mark.parametrize("content", [None, b"", b"{"])
def test_a_damaged_manifest_is_said(begun, content):
    (begun / "manifest.json").unlink()
    if content is not None:
        (begun / "manifest.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"manifest\.json is missing or damaged.*another --rid"):
        check_manifest(begun, SETTINGS)


def test_settings_of_a_later_stage_may_change_until_it_begins(begun):
    until, changed = {"OVERLAP": ("mask",)}, SETTINGS | {"OVERLAP": 0.0}
    assert check_manifest(begun, changed, until=until)
    Markers(begun / "done" / "mask").mark((0, 0, 0))
    with pytest.raises(ValueError, match="OVERLAP was"):
        check_manifest(begun, changed, until=until)


def test_the_hash_follows_the_content(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert hash_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_markers_survive_and_unfinished_ones_do_not_count(tmp_path):
    markers = Markers(tmp_path / "stage")
    assert markers.done() == set()
    markers.mark((0, 12, 3), {"count": 7})
    markers.mark((1, 0, 0))
    (tmp_path / "stage" / "tmp_2_0_0.json").write_text("{")  # killed while writing
    assert Markers(tmp_path / "stage").done() == {(0, 12, 3), (1, 0, 0)}
    assert markers.read((0, 12, 3)) == {"count": 7}
    (tmp_path / "stage" / "1_0_0.json").write_bytes(b"")  # a power cut
    markers.forget((0, 12, 3))
    assert markers.done() == set()


def test_a_small_disk_is_said_before_anything_is_written(tmp_path):
    check_disk(tmp_path, 1)
    with pytest.raises(ValueError, match=r"need up to 1048576\.0 GiB in .* are free.*OUTPUT_DTYPE"):
        check_disk(tmp_path, 2**50)
