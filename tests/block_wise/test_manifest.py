"""Tests of the manifest and the markers of a block-wise run."""

import pytest

from block_wise.manifest import Markers, check_disk, check_manifest, hash_file

SETTINGS = {"CROP_SHAPE": (8, 32, 32, 1), "OVERLAP": 0.5, "RANGE": None, "NESTED": ((1, 2), (3,))}


def test_the_same_settings_go_on(tmp_path):
    assert check_manifest(tmp_path, SETTINGS) is False
    assert check_manifest(tmp_path, SETTINGS) is True


def test_other_settings_are_refused_and_each_is_named(tmp_path):
    check_manifest(tmp_path, SETTINGS)
    with pytest.raises(ValueError, match=r"2 problems in these blocks.*OVERLAP was 0\.5, is 0\.0; RANGE was None, is"):
        check_manifest(tmp_path, SETTINGS | {"OVERLAP": 0.0, "RANGE": (0, 1)})
    with pytest.raises(ValueError, match="NEW was None, is 3"):
        check_manifest(tmp_path, SETTINGS | {"NEW": 3})
    assert check_manifest(tmp_path, SETTINGS) is True


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


def test_a_small_disk_is_said_before_anything_is_written(tmp_path):
    check_disk(tmp_path, 1)
    with pytest.raises(ValueError, match=r"need up to 1048576\.0 GiB in .* are free.*OUTPUT_DTYPE"):
        check_disk(tmp_path, 2**50)
