"""Tests of the table, the notes and the picture of a data folder."""

import shutil

import numpy as np
import pytest
import tifffile
from PIL import Image

from data_sets.data_survey import draw_data, survey_data, survey_table
from utils.data.data_folder import load_image_sets
from utils.data.experiment_data import load_images, open_images
from utils.data.survey import survey_notes

WITH_VALIDATION = {"train": False, "val": False, "test": True}


def gradient(number, dtype=np.uint8):
    return (np.arange(80).reshape(8, 10) + number).astype(dtype)


def mask_with(n_pixels, value=255):
    mask = np.zeros(80, np.uint8)
    mask[:n_pixels] = value
    return mask.reshape(8, 10)


@pytest.fixture
def data_dir(tmp_path):
    for part, start in (("train", 0), ("test", 100)):
        for kind in "xy":
            (tmp_path / part / kind).mkdir(parents=True)
        for number in range(3):
            Image.fromarray(gradient(start + number)).save(tmp_path / part / "x" / f"im_{number}.png")
            Image.fromarray(mask_with(8)).save(tmp_path / part / "y" / f"im_{number}.png")
    return tmp_path


def n_orange(picture):
    return int((picture[..., 0] - picture[..., 2] > 150).sum())


def notes_of(data_dir):
    return survey_notes(survey_data(data_dir))


def test_pages_are_channels_where_as_many_are_wanted(data_dir):
    for path in sorted((data_dir / "train" / "x").iterdir()):
        tifffile.imwrite(path.with_suffix(".tif"), np.stack([gradient(1), gradient(2)]), imagej=True)
        path.unlink()
    assert survey_data(data_dir)[0].n_unreadable == 3  # two channels, or two slices: refused unless CROP_SHAPE says
    survey = survey_data(data_dir, channels=2)[0]
    assert (survey.n_images, list(survey.shapes)) == (3, [(8, 10, 2)])


def test_a_folder_without_oddities(data_dir):
    surveys = survey_data(data_dir)
    assert [(s.name, s.n_files, s.n_images, s.low, s.high) for s in surveys] == [
        ("train/x", 3, 3, 0, 81),
        ("train/y", 3, 3, 0, 255),
        ("test/x", 3, 3, 100, 181),
        ("test/y", 3, 3, 0, 255),
    ]
    assert [s.foreground_share() for s in surveys[1::2]] == pytest.approx([0.1, 0.1])
    assert survey_notes(surveys) == []
    lines = survey_table(surveys).splitlines()
    assert len({len(line) for line in lines}) == 1
    row = [cell.strip() for cell in lines[3].split("|")]
    assert row == ["", "train/y", "3", "3", "8x10", "uint8", "0 to 255", "0: 90.00%, 255: 10.00%", ""]


def test_sizes_pages_types_and_broken_files_are_counted(data_dir):
    tifffile.imwrite(data_dir / "train" / "x" / "stack.tif", np.zeros((4, 6, 10), np.uint16), photometric="minisblack")
    Image.fromarray(np.dstack([gradient(7), gradient(8), gradient(9)])).save(data_dir / "train" / "x" / "rgb.png")
    (data_dir / "train" / "x" / "broken.png").write_bytes(b"no png")
    row = survey_table(survey_data(data_dir)).splitlines()[2]
    assert "| 6 (1 unreadable) | 8 " in row
    assert "6x10 (4), 8x10 (3), 8x10 RGB (1)" in row and "uint8 (4), uint16 (4)" in row


def test_many_sizes_and_many_values_are_cut_short(data_dir):
    for size in range(3, 8):
        Image.fromarray(gradient(0)[:size]).save(data_dir / "test" / "x" / f"other{size}.png")
    Image.fromarray(gradient(0)).save(data_dir / "test" / "y" / "picture.png")
    rows = survey_table(survey_data(data_dir)).splitlines()
    assert "8x10 (3), 3x10 (1), 4x10 (1) and 3 more" in rows[4] and "81 values" in rows[5]


def test_equal_images_in_both_parts(data_dir):
    Image.fromarray(gradient(1)).save(data_dir / "test" / "x" / "im_0.png")
    (note,) = notes_of(data_dir)
    assert "1 image is there more than once: train/x im_1.png = test/x im_0.png. A test image that is" in note


def test_validation_images_are_looked_at_too(data_dir, monkeypatch):
    for kind in "xy":
        (data_dir / "val" / kind).mkdir(parents=True)
    for number in range(2):
        Image.fromarray(gradient(50 + number)).save(data_dir / "val" / "x" / f"im_{number}.png")
        Image.fromarray(mask_with(8)).save(data_dir / "val" / "y" / f"im_{number}.png")
    surveys = survey_data(data_dir)
    assert [survey.name for survey in surveys] == ["train/x", "train/y", "val/x", "val/y", "test/x", "test/y"]
    assert surveys[2].high == 130 and survey_notes(surveys) == []
    train, validation, test = load_image_sets(data_dir, WITH_VALIDATION)
    assert [len(part) for part in (train, validation, test)] == [3, 2, 3]
    titles = []
    monkeypatch.setattr("data_sets.data_survey.draw_pairs", lambda *_, **options: titles.extend(options["titles"]))
    draw_data("drawn.png", train, test, validation=validation)
    counts = {"train": 3, "val": 2, "test": 3}
    assert titles == [f"{part}: im_{number}.png" for part in counts for number in range(counts[part])]
    Image.fromarray(gradient(0)).save(data_dir / "val" / "x" / "im_1.png")
    assert "A validation image that is trained on does not" in notes_of(data_dir)[0]
    Image.fromarray(gradient(100)).save(data_dir / "val" / "x" / "im_0.png")
    assert "A test image that is trained on or validated with makes" in notes_of(data_dir)[0]
    (data_dir / "val" / "y" / "im_1.png").unlink()
    with pytest.raises(ValueError, match="val/: no mask for im_1.png"):
        load_image_sets(data_dir, WITH_VALIDATION)


def test_equal_images_in_one_part_say_nothing_of_tests(data_dir):
    Image.fromarray(gradient(1)).save(data_dir / "train" / "x" / "im_0.png")
    (note,) = notes_of(data_dir)
    assert note == "1 image is there more than once: train/x im_0.png = train/x im_1.png."


def test_masks_the_wrong_way_round_and_empty_ones(data_dir):
    for number in range(3):
        Image.fromarray(mask_with(72)).save(data_dir / "train" / "y" / f"im_{number}.png")
    Image.fromarray(mask_with(0)).save(data_dir / "test" / "y" / "im_0.png")
    wrong, empty = notes_of(data_dir)
    assert wrong.startswith("train/y: 90.0% of the pixels are foreground against 6.7% in the other folder")
    assert empty == "test/y: 1 of 3 masks hold a single value."


def test_dark_16_bit_images_and_no_truth(data_dir):
    for number in range(3):
        path = data_dir / "test" / "x" / f"im_{number}.png"
        Image.fromarray(gradient(1000 + number, np.uint16)).save(path)
        (data_dir / "test" / "y" / f"im_{number}.png").unlink()
    (data_dir / "test" / "y").rmdir()
    dark, no_truth = notes_of(data_dir)
    assert "up to 1081 of 65535" in dark and "'INTENSITY_RANGE=(1000, 1081)'" in dark
    assert no_truth.startswith("There is no test/y")


def test_the_picture_shows_images_and_outlines(data_dir, tmp_path):
    for number in range(3):
        Image.fromarray(gradient(1000 + number, np.uint16)).save(data_dir / "train" / "x" / f"im_{number}.png")
    train, test = load_image_sets(data_dir)
    draw_data(tmp_path / "with.png", train, test)
    draw_data(tmp_path / "without.png", train, test.__class__(test.x, None, test.names, test.mask_values))
    with_outlines, without = (
        np.asarray(Image.open(tmp_path / name))[..., :3].astype(int) for name in ("with.png", "without.png")
    )
    assert n_orange(with_outlines) > n_orange(without) > 0
    # 16-bit images of 1000 to 1081 are stretched, so that something is to be seen.
    assert with_outlines[: len(with_outlines) // 4].min() < 60


# --- what every template prints before it trains


def printed_notes(data_dir, capsys, **options):
    load_images(data_dir, (8, 8, 1), seed=0, **options)
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("Note: ")]


def test_templates_print_the_notes(data_dir, capsys):
    assert printed_notes(data_dir, capsys) == []
    for number in range(3):
        for part, n_pixels in (("train", 0), ("test", 75)):
            Image.fromarray(mask_with(n_pixels)).save(data_dir / part / "y" / f"im_{number}.png")
    Image.fromarray(mask_with(8)).save(data_dir / "train" / "y" / "im_0.png")
    empty, wrong = printed_notes(data_dir, capsys)
    assert empty == "Note: train/y: 2 of 3 masks hold a single value."
    assert "test/y: 93.8% of the pixels are foreground" in wrong


def test_files_in_another_dtype_and_dark_ones(data_dir, capsys):
    for number in range(2):
        Image.fromarray(gradient(number, np.uint16)).save(data_dir / "train" / "x" / f"im_{number}.png")
    mixed, dark = printed_notes(data_dir, capsys)
    assert mixed == "Note: train/x: the images have different dtypes: 2 uint16, 1 uint8. Each is scaled by its own."
    assert "uint16 images with values up to 80 of 65535 are very dark" in dark
    assert printed_notes(data_dir, capsys, intensity_range=(0, 255)) == [mixed]


def test_images_on_disk_have_the_notes_that_headers_tell(data_dir, capsys):
    Image.fromarray(gradient(0, np.uint16)).save(data_dir / "train" / "x" / "im_0.png")
    open_images(data_dir, (8, 8, 1), seed=0, validation_split=0.3)
    assert "Note: train/x: the images have different dtypes: 2 uint8, 1 uint16." in capsys.readouterr().out


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("load", [load_images, open_images])
def test_masks_of_one_value_teach_nothing(data_dir, load, value):
    for path in (data_dir / "train" / "y").iterdir():
        Image.fromarray(np.full((8, 10), value, np.uint8)).save(path)
    shutil.rmtree(data_dir / "test" / "y")
    with pytest.raises(ValueError, match="train/y: all masks are (fore|back)ground everywhere, so there is nothing"):
        load(data_dir, (8, 8, 1), seed=1, validation_split=0.4)


@pytest.mark.parametrize("load", [load_images, open_images])
def test_a_range_that_no_grey_value_lies_in_is_refused(data_dir, load):
    with pytest.raises(ValueError, match=r"INTENSITY_RANGE is \(0, 1\), but 9\d.\d% of the grey values in"):
        load(data_dir, (8, 8, 1), seed=1, validation_split=0.4, intensity_range=(0, 1))
    load(data_dir, (8, 8, 1), seed=1, validation_split=0.4, intensity_range=(0, 80))
