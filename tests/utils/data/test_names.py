"""Tests of the names of files: pairs, names that results cannot have, and what is said about a folder."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from utils.data.data_folder import load_image_set, load_image_sets
from utils.data.pairing import name_problems, pair_by_name


def write_pair(folder, x, y=None, *, alpha=None, palette=None):
    for kind, name in (("x", x), ("y", y or x)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        pixels = np.arange(24, dtype=np.uint8).reshape(4, 6) % (2 if kind == "y" else 24)
        image = Image.fromarray(pixels)
        if kind == "x" and alpha:
            image = Image.merge("LA", [image, Image.fromarray(np.full((4, 6), alpha, np.uint8))])
        if kind == "y" and palette:
            image = image.convert("P")
            image.putdata(pixels.ravel().tolist())
            image.putpalette(palette)
        image.save(folder / kind / name)


def notes_of(folder, capsys):
    load_image_set(folder)
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("Note: ")]


def test_accents_may_be_one_character_or_two():
    images, masks = ([Path(unicodedata.normalize(form, "Größe_é.png"))] for form in ("NFC", "NFD"))
    assert pair_by_name(images, masks) == ([(images[0], masks[0])], [])
    assert "2 images are called Größe_é and differ" in name_problems([images[0], masks[0]])[0]


def test_names_pair_without_double_suffixes():
    images, masks = [Path("a.ome.tif"), Path("b.ome.tif")], [Path("a.nii.gz"), Path("b.png")]
    assert [mask.name for _, mask in pair_by_name(images, masks)[0]] == ["a.nii.gz", "b.png"]


def test_names_that_results_cannot_have_are_refused_when_the_data_is_read(tmp_path):
    write_pair(tmp_path / "train", "a" * 245 + ".png")
    with pytest.raises(
        ValueError, match="the name aaa.* has 245 bytes, of which results can have 240: rename the file"
    ):
        load_image_set(tmp_path / "train")
    problem = name_problems([Path(os.fsdecode(b"caf\xe9.tif"))])
    assert problem == ["the name b'caf\\xe9' is no UTF-8, so results cannot have it: rename the file"]


def test_files_of_other_formats_are_named(tmp_path, capsys):
    write_pair(tmp_path / "train", "a.png")
    (tmp_path / "train" / "x" / "b.czi").touch()
    assert notes_of(tmp_path / "train", capsys) == [
        "Note: train/x: files in a format that is not read: b.czi; save them as tif."
    ]
    (tmp_path / "train" / "x" / "a.png").unlink()
    with pytest.raises(ValueError, match="holds no images .* files in a format that is not read: b.czi"):
        load_image_set(tmp_path / "train")


def test_a_gap_and_alpha_channels_are_one_line_each(tmp_path, capsys):
    for number in (1, 2, 3, 5, 6):
        write_pair(tmp_path / "train", f"im_{number}.png", alpha=255)
    gap, alpha = notes_of(tmp_path / "train", capsys)
    assert gap == "Note: train/x: the numbers in the names have a gap: im_5.png follows im_3.png."
    assert alpha == (
        "Note: train/x: 5 files, im_1.png, im_2.png, im_3.png ...: has an alpha channel without content, which is left "
        "out."
    )


def test_a_palette_that_differs_is_said(tmp_path, capsys):
    for number in range(3):
        colours = [0, 0, 0, 255, 0, 0] if number else [255, 255, 255, 0, 0, 255]
        write_pair(tmp_path / "train", f"im_{number}.png", palette=colours)
    (note,) = notes_of(tmp_path / "train", capsys)
    assert note == (
        "Note: the palette of train/y im_0.png is not that of train/y im_1.png; the numbers count, not colours."
    )


def test_a_palette_of_the_test_masks_that_differs_is_said(tmp_path, capsys):
    for part, colour in (("train", (255, 0, 0)), ("test", (0, 255, 0))):
        for number in range(2 if part == "train" else 1):
            write_pair(tmp_path / part, f"im_{number}.png", palette=[0, 0, 0, *colour])
    load_image_sets(tmp_path)
    notes = capsys.readouterr().out.splitlines()
    assert notes == [
        "Note: the palette of test/y im_0.png is not that of train/y im_0.png; the numbers count, not colours."
    ]


def test_slices_are_in_the_order_of_negative_numbers(tmp_path):
    for number in (-10, -2, 0, 3):
        for kind in "xy":
            (tmp_path / "train" / kind).mkdir(parents=True, exist_ok=True)
            value = np.uint8(number + 20 if kind == "x" else number > 0)
            tifffile.imwrite(tmp_path / "train" / kind / f"z{number}.tif", np.full((4, 6), value))
    images = load_image_set(tmp_path / "train")
    assert [int(image[0, 0, 0]) - 20 for image in images.x] == [-10, -2, 0, 3]
