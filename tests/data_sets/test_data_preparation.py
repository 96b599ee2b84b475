"""Tests of preparing public data sets, on small ones of the same build."""

import hashlib
import shutil
import zipfile

import numpy as np
import pytest
import tifffile
from PIL import Image

from data_sets.data_preparation import prepare_data
from data_sets.public_data import CASSER_FOLDERS, LUCCHI_FILES, PUBLIC_DATA, File, Stack
from utils.data.data_folder import load_image_sets

TRAIN, TEST = (12, 20, 30), (11, 18, 24)
FOLDERS = ("train/x", "train/y", "test/x", "test/y")


def images_of(shape):
    return np.random.default_rng(shape).integers(0, 256, shape).astype(np.uint8)


def masks_of(shape):
    masks = np.zeros(shape, np.uint8)
    masks[:, 3:9, 4:10] = 255
    return masks


CONTENT = {
    "train/x": images_of(TRAIN),
    "train/y": masks_of(TRAIN),
    "test/x": images_of(TEST),
    "test/y": masks_of(TEST),
}


@pytest.fixture
def small(monkeypatch):
    """Give every public data set the shapes of CONTENT, and files that no test downloads."""
    for name, names in (("lucchi", LUCCHI_FILES), ("lucchi++", CASSER_FOLDERS), ("kasthuri++", CASSER_FOLDERS)):
        stacks = tuple(Stack(*stack) for stack in zip(FOLDERS, names, (TRAIN, TRAIN, TEST, TEST), strict=True))
        files = tuple(File(f"http://127.0.0.1:9/{file.name}") for file in PUBLIC_DATA[name].files)
        monkeypatch.setitem(PUBLIC_DATA, name, PUBLIC_DATA[name]._replace(stacks=stacks, files=files))


def write_tifs(folder, **changed):
    folder.mkdir(exist_ok=True)
    for name, place in zip(LUCCHI_FILES, FOLDERS, strict=True):
        tifffile.imwrite(folder / f"{name}.tif", changed.get(name, CONTENT[place]), photometric="minisblack")
    return folder


def write_slices(folder, name, array, pattern="{}.png"):
    (folder / name).mkdir(parents=True)
    for number, image in enumerate(array):
        Image.fromarray(image).save(folder / name / pattern.format(number))


def write_zip(folder, name, *, colour=False, padding=None):
    """Write a zip as Casser et al. do: images as mask0000.png, masks as 0.png, in colour or grey."""
    source = folder / "source"
    for place, stack in zip(FOLDERS, CASSER_FOLDERS, strict=True):
        array = CONTENT[place].copy()
        if place.endswith("y"):
            if padding is not None:
                array[:, -2:] = padding
            array = np.stack([array] * 3, axis=-1) if colour else array
        write_slices(source, stack, array, "{}.png" if place.endswith("y") else "mask{:04d}.png")
    files = folder / "files"
    files.mkdir()
    with zipfile.ZipFile(files / name, "w") as archive:
        for path in sorted(source.rglob("*.png")):
            archive.write(path, f"Top++/{path.relative_to(source)}")
        archive.writestr("__MACOSX/Top++/Train_In/._mask0000.png", b"no image")
        archive.writestr("Top++/readme.txt", "text")
    return files


def check_content(data_dir):
    for place, expected in CONTENT.items():
        names = sorted(path.name for path in (data_dir / place).iterdir())
        assert names == [f"{place[-1]}_{number:04d}.png" for number in range(len(expected))]
        found = np.stack([np.asarray(Image.open(data_dir / place / name)) for name in names])
        assert found.dtype == np.uint8 and np.array_equal(found, expected)
    train, test = load_image_sets(data_dir)
    assert (len(train), len(test), train.mask_values) == (12, 11, (0, 255))


def test_multi_page_tifs(small, tmp_path):
    files = write_tifs(tmp_path / "files")
    card = prepare_data("lucchi", tmp_path / "data", files=files, command="python prepare lucchi")
    check_content(tmp_path / "data")
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        "DATA_CARD.md",
        "overview.png",
        "test",
        "train",
    ]
    assert (tmp_path / "data" / "DATA_CARD.md").read_text(encoding="utf-8") == card
    digest = hashlib.sha256((files / "training.tif").read_bytes()).hexdigest()
    for text in (
        "# Lucchi (EPFL hippocampus)",
        "- licence: none stated",
        "- voxel size (z, y, x): 5 x 5 x 5 nm",
        f"- training.tif: {digest} (no checksum on record)",
        "with `python prepare lucchi`.",
        "@inproceedings{lucchi2013learning,",
        "0: 94.00%, 255: 6.00%",
    ):
        assert text in card
    assert "Note" not in card


def test_folders_of_slices_and_names_in_another_case(small, tmp_path):
    for place, name in zip(FOLDERS, CASSER_FOLDERS, strict=True):
        write_slices(tmp_path / "files" / "deep", name.upper(), CONTENT[place])
    card = prepare_data("lucchi++", tmp_path / "data", files=tmp_path / "files")
    check_content(tmp_path / "data")
    assert "a folder of slices" in card


@pytest.mark.parametrize("colour", [False, True])
def test_zips_with_padding_in_the_masks(small, tmp_path, colour):
    files = write_zip(tmp_path, "kasthuri_pp.zip", colour=colour, padding=2)
    card = prepare_data("kasthuri++", tmp_path / "data", files=files)
    check_content(tmp_path / "data")
    assert "Note: Train_Out holds the value 2 outside of the tissue: background." in card
    assert "(no checksum on record)" in card and "kasthuri2015saturated" in card and "30 x 3 x 3 nm" in card


def test_zips_of_other_things_and_damaged_ones_may_lie_beside(small, tmp_path):
    files = write_zip(tmp_path, "lucchi_pp.zip")
    shutil.copy(files / "lucchi_pp.zip", files / "kasthuri_pp.zip")
    (files / "broken.zip").write_bytes(b"PK nothing")
    for name in ("lucchi++", "kasthuri++"):
        card = prepare_data(name, tmp_path / name, files=files)
        check_content(tmp_path / name)
        assert f"- {name[:-2]}_pp.zip: " in card and card.count(".zip: ") == 1


def test_a_zip_of_another_name_is_found_too(small, tmp_path):
    files = write_zip(tmp_path, "lucchi_pp (1).zip")
    shutil.copy(files / "lucchi_pp (1).zip", files / "kasthuri_pp.zip")
    prepare_data("lucchi++", tmp_path / "data", files=files)
    check_content(tmp_path / "data")


def test_the_data_folder_may_lie_in_the_folder_of_the_files(small, tmp_path):
    files = write_zip(tmp_path, "lucchi_pp.zip")
    (files / "deep" / "er").mkdir(parents=True)
    (files / "lucchi_pp.zip").rename(files / "deep" / "er" / "lucchi_pp.zip")
    prepare_data("lucchi++", files / "data", files=files)
    check_content(files / "data")


def test_names_that_do_not_agree_are_noted(small, tmp_path):
    for place, name in zip(FOLDERS, CASSER_FOLDERS, strict=True):
        offset = {"train/y": 1}.get(place, 0)
        write_slices(tmp_path / "files", name, CONTENT[place], "{}.png")
        for path in sorted((tmp_path / "files" / name).iterdir(), reverse=True) if offset else []:
            path.rename(path.with_name(f"s{int(path.stem) + offset:02d}.png"))
    card = prepare_data("lucchi++", tmp_path / "data", files=tmp_path / "files")
    check_content(tmp_path / "data")
    assert "names of Train_In and Train_Out do not agree" in card and "Test_In" not in card


def test_odd_mask_values_are_noted_when_few_and_refused_when_many(small, tmp_path):
    masks = CONTENT["train/y"].copy()
    masks[0, 0, :5], masks[0, 3, 4:6] = 100, 200
    card = prepare_data("lucchi", tmp_path / "data", files=write_tifs(tmp_path / "files", training_groundtruth=masks))
    check_content(tmp_path / "data")
    assert "Note: training_groundtruth.tif holds the values 100 200 in 7 pixels: foreground from 128 on." in card
    as_classes = write_tifs(tmp_path / "files", testing_groundtruth=CONTENT["test/y"] // 255)
    with pytest.raises(
        ValueError, match=r"testing_groundtruth.tif holds the values 1 in 8.3% of its pixels, expected 0"
    ):
        prepare_data("lucchi", tmp_path / "other", files=as_classes)


def test_what_is_not_as_it_should_be_is_said_at_once_and_leaves_nothing(small, tmp_path):
    files = write_tifs(
        tmp_path / "files",
        training=CONTENT["train/x"][:5],
        training_groundtruth=255 - CONTENT["train/y"],
        testing=CONTENT["test/x"].astype(np.float32),
        testing_groundtruth=CONTENT["test/y"][:, :, :20],
    )
    with pytest.raises(ValueError) as caught:
        prepare_data("lucchi", tmp_path / "data", files=files)
    for clause in (
        "4 problems in Lucchi",
        "training.tif holds 5 of 20x30x1 uint8 (y, x, channels), expected 12 of 20x30x1 uint8",
        "training_groundtruth.tif has 94.0% foreground, expected 1% to 20%",
        "testing.tif holds 11 of 18x24x1 float32",
        "testing_groundtruth.tif holds 11 of 18x20x1 uint8",
    ):
        assert clause in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["files"]


def test_missing_doubled_and_damaged_files(small, tmp_path):
    files = write_tifs(tmp_path / "files")
    (files / "testing.tif").unlink()
    (files / "copy").mkdir()
    shutil.copy(files / "training.tif", files / "copy" / "training.TIFF")
    with pytest.raises(ValueError) as caught:
        prepare_data("lucchi", tmp_path / "data", files=files)
    for clause in (
        "2 problems in",
        "training is there 2 times, leave one",
        "testing (test/x) is missing: no tif and no folder of slices has that name. The files of Lucchi",
        "see https://www.epfl.ch/labs/cvlab/data/data-em/",
    ):
        assert clause in str(caught.value)
    archive = write_zip(tmp_path / "files", "lucchi_pp.zip") / "lucchi_pp.zip"
    archive.write_bytes(archive.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"lucchi_pp.zip from http.* is no whole zip file: .* in a browser"):
        prepare_data("lucchi++", tmp_path / "data", files=archive.parent)
    with pytest.raises(ValueError, match="--files .*nowhere does not exist, and a folder"):
        prepare_data("lucchi", tmp_path / "data", files=tmp_path / "nowhere")
    with pytest.raises(ValueError, match="the data set 'luchi' is not known; did you mean 'lucchi'"):
        prepare_data("luchi", tmp_path / "data")
    assert [path.name for path in tmp_path.iterdir()] == ["files"]


def test_nothing_is_written_over_and_nothing_downloaded_for_it(small, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine").write_text("mine")
    with pytest.raises(ValueError, match="data is there already"):
        prepare_data("lucchi", tmp_path / "data")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_files_are_downloaded_when_none_are_given(small, tmp_path, monkeypatch):
    monkeypatch.setattr("data_sets.downloads.time.sleep", lambda seconds: None)
    with pytest.raises(ConnectionError, match="127.0.0.1:9/training.tif could not be downloaded: .* browser .*--files"):
        prepare_data("lucchi", tmp_path / "data")
    files = write_tifs(tmp_path / "served")
    asked = []

    def fake_download(url, path, *, sha256, size):
        asked.append((url, sha256))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes((files / path.name).read_bytes())

    monkeypatch.setattr("data_sets.data_preparation.download", fake_download)
    prepare_data("lucchi", tmp_path / "data")
    check_content(tmp_path / "data")
    assert asked == [(f"http://127.0.0.1:9/{name}.tif", None) for name in LUCCHI_FILES]
    assert sorted(path.name for path in (tmp_path / "data_downloads").iterdir()) == sorted(
        f"{name}.tif" for name in LUCCHI_FILES
    )


def test_the_table_of_public_data_is_sound():
    for data_set in PUBLIC_DATA.values():
        assert tuple(stack.folder for stack in data_set.stacks) == FOLDERS
        assert (
            data_set.stacks[0].shape == data_set.stacks[1].shape
            and data_set.stacks[2].shape == data_set.stacks[3].shape
        )
        assert all(file.sha256 is None or len(bytes.fromhex(file.sha256)) == 32 for file in data_set.files)
        assert all(file.url.startswith("http") and file.name.endswith((".tif", ".zip")) for file in data_set.files)
        assert all(citation.count("{") == citation.count("}") for citation in data_set.citations)
    assert File("http://a/b%20c/d.tif").name == "d.tif"


def test_a_file_that_is_not_the_one_on_record_is_refused(small, tmp_path, monkeypatch):
    files = write_zip(tmp_path, "lucchi_pp.zip")
    url = PUBLIC_DATA["lucchi++"].files[0].url
    for record, said in (
        (File(url, "0" * 64), "SHA-256 checksum .* expected 0{64}"),
        (File(url, None, 7), "expected 7"),
    ):
        monkeypatch.setitem(PUBLIC_DATA, "lucchi++", PUBLIC_DATA["lucchi++"]._replace(files=(record,)))
        with pytest.raises(ValueError, match=f"lucchi_pp.zip from http.* {said}: it is damaged or another version"):
            prepare_data("lucchi++", tmp_path / "data", files=files)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files", "source"] and len(list(files.iterdir())) == 1
