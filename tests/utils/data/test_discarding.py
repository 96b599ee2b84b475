"""Tests of leaving out crops with too little foreground."""

import numpy as np
import pytest

from utils.data.discarding import discard_crops, foreground_share
from utils.data.image_set import ImageSet, crop_image_set
from utils.files import read_json, write_json
from utils.images.image_files import ImageName


def crops_with(*counts, shape=(10, 10, 1)):
    """Return crops of 100 pixels with so many pixels of foreground each."""
    masks = [(np.arange(np.prod(shape)) < count).astype(np.uint8).reshape(shape) for count in counts]
    images = [np.full(shape, number, np.uint8) for number in range(len(counts))]
    return ImageSet(images, masks, [ImageName(f"{number}.png") for number in range(len(counts))], (0, 1))


def names(crops):
    return [source.file for source in crops.names]


def cached_files(folder):
    return sorted(folder.glob("*.json"))


@pytest.mark.parametrize(
    ("min_foreground", "kept"), [(0.05, [1, 2, 4]), (0.051, [2, 4]), (1, [4]), (0.0001, [1, 2, 3, 4])]
)
def test_crops_with_at_least_the_share_are_kept_with_masks_and_names(min_foreground, kept, capsys):
    crops = crops_with(0, 5, 40, 4, 100)
    found = discard_crops(crops, min_foreground=min_foreground)
    assert names(found) == [f"{number}.png" for number in kept]
    assert [int(image.max()) for image in found.x] == kept
    assert all(found.y[place] is crops.y[number] for place, number in enumerate(kept))
    assert f"{len(kept)} of 5 training crops kept" in capsys.readouterr().out


def test_the_share_counts_every_class_but_the_background():
    assert foreground_share(np.array([[[0], [1]], [[2], [0]]], np.uint8)) == 0.5


def test_subvolumes_are_discarded_too():
    crops = crops_with(3, 60, shape=(5, 5, 4, 1))
    assert names(discard_crops(crops, min_foreground=0.1)) == ["1.png"]


def test_without_a_share_nothing_is_looked_at(tmp_path, capsys):
    crops = crops_with(0, 0)
    assert discard_crops(crops, min_foreground=0, cache_dir=tmp_path) is crops
    assert not list(tmp_path.iterdir()) and not capsys.readouterr().out


def test_nothing_left_is_refused_with_what_there_is():
    with pytest.raises(
        ValueError, match=r"none of the 2 training crops has at least 50 % foreground; the most is 25 %"
    ):
        discard_crops(crops_with(10, 25), min_foreground=0.5)


@pytest.mark.parametrize("share", [-0.1, 1.1, 5, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match=r"MIN_FOREGROUND is .*; wanted a share from 0 to 1"):
        discard_crops(crops_with(10), min_foreground=share)


# --- the cache


def test_the_choice_is_read_again(tmp_path):
    crops = crops_with(0, 50, 70)
    first = discard_crops(crops, min_foreground=0.1, cache_dir=tmp_path / "cache")
    (path,) = cached_files(tmp_path / "cache")
    write_json(path, read_json(path) | {"kept": [2]})  # as a proof that it is read
    again = discard_crops(crops_with(0, 50, 70), min_foreground=0.1, cache_dir=tmp_path / "cache")
    assert (names(first), names(again)) == (["1.png", "2.png"], ["2.png"])


def changed_mask(crops):
    crops.y[0][9, 9] = 1
    return crops


@pytest.mark.parametrize(
    ("changed", "share", "expected"),
    [
        (changed_mask(crops_with(9, 50, 70)), 0.1, ["0.png", "1.png", "2.png"]),
        (crops_with(9, 50, 70), 0.6, ["2.png"]),
        (crops_with(9, 50, 70, shape=(5, 20, 1)), 0.1, ["1.png", "2.png"]),
        (crops_with(70, 50, 9), 0.1, ["0.png", "1.png"]),
        (crops_with(9, 50, 70, 80), 0.1, ["1.png", "2.png", "3.png"]),
    ],
    ids=["mask", "threshold", "crop shape", "order", "one crop more"],
)
def test_another_choice_is_made_for_anything_else(changed, share, expected, tmp_path):
    discard_crops(crops_with(9, 50, 70), min_foreground=0.1, cache_dir=tmp_path)
    (path,) = cached_files(tmp_path)
    write_json(path, read_json(path) | {"kept": []})  # reading it would be refused
    assert names(discard_crops(changed, min_foreground=share, cache_dir=tmp_path)) == expected
    assert len(cached_files(tmp_path)) == 2


def test_crops_of_another_size_of_the_same_images_are_another_choice(tmp_path):
    mask = np.zeros((32, 32, 1), np.uint8)
    mask[:8, :8] = 1
    images = ImageSet([mask], [mask], [ImageName("a.png")], (0, 1))
    kept = [
        names(discard_crops(crop_image_set(images, shape), min_foreground=0.2, cache_dir=tmp_path))
        for shape in ((16, 16, 1), (8, 8, 1), (8, 16, 1))
    ]
    assert kept == [["a_y00000_x00000.png"]] * 3 and len(cached_files(tmp_path)) == 3


@pytest.mark.parametrize("content", ["", '{"kept": [1', "[]", "{}"])
def test_half_a_file_is_made_anew(content, tmp_path):
    crops = crops_with(0, 50)
    discard_crops(crops, min_foreground=0.1, cache_dir=tmp_path)
    (path,) = cached_files(tmp_path)
    path.write_text(content)
    assert names(discard_crops(crops, min_foreground=0.1, cache_dir=tmp_path)) == ["1.png"]
    assert read_json(path)["kept"] == [1]


def test_a_cache_that_cannot_be_written_does_not_stop_the_run(tmp_path, capsys):
    (tmp_path / "file").write_text("no folder")
    crops = discard_crops(crops_with(0, 50), min_foreground=0.1, cache_dir=tmp_path / "file")
    assert names(crops) == ["1.png"]
    assert "cannot be stored for later runs" in capsys.readouterr().out
