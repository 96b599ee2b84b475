"""Tests of importing label volumes as masks."""

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from data_sets.label_import import import_labels, parse_classes
from utils.data.data_folder import load_image_set
from utils.images.reading import read_images

# Three slices of 6 x 8: ids 5 and 7 touch, 70000 is alone.
LABELS = np.zeros((3, 6, 8), np.uint32)
LABELS[:, 1:3, 1:4] = 5
LABELS[:, 1:3, 4:6] = 7
LABELS[1, 5, 7] = 70000


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "x"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(np.full((6, 8), number, np.uint8)).save(folder / f"im_{number + 8}.png")
    return folder


def write_labels(path, labels=LABELS):
    if path.suffix == ".npy":
        np.save(path, labels)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["volumes/labels"] = labels
            file["volumes/raw"] = labels.astype(np.uint8)
    elif path.suffix == ".zarr":
        pytest.importorskip("zarr").save_array(path, labels)
    else:
        tifffile.imwrite(path, labels, photometric="minisblack")
    return path


def masks_in(folder):
    paths = sorted(folder.iterdir(), key=lambda path: (len(path.name), path.name))
    return [path.name for path in paths], np.stack([read_images(path)[0][..., 0] for path in paths])


@pytest.mark.parametrize("name", ["labels.tif", "labels.npy", "labels.h5", "labels.zarr"])
def test_a_volume_becomes_a_binary_mask_for_each_slice(images, tmp_path, name):
    dataset = "volumes/labels" if name.endswith("h5") else None
    labels = write_labels(tmp_path / name)
    report = import_labels(labels, images, tmp_path / "y", kind="binary", datasets=(dataset, None))
    names, masks = masks_in(tmp_path / "y")
    assert names == ["im_8.tif", "im_9.tif", "im_10.tif"] and masks.dtype == np.uint8
    assert np.array_equal(masks, np.where(LABELS > 0, 255, 0))
    assert "3 masks of 4 ids, 21.53% foreground." in report  # 31 of 144 pixels
    assert "3 objects of 1 (id 70000) to 18 (id 5) pixels." in report
    assert "at 6 places objects touch" in report  # two pixels in each slice


def test_classes_as_assigned_and_those_that_are_there_already(images, tmp_path):
    labels = write_labels(tmp_path / "labels.tif")
    classes = parse_classes("0:0, 5:2, rest:1")
    report = import_labels(labels, images, tmp_path / "y", kind="classes", classes=classes)
    expected = np.select([LABELS == 5, LABELS > 0], [2, 1])
    assert np.array_equal(masks_in(tmp_path / "y")[1], expected)
    assert "| 70000 | 1 | 1 | 0.69% |" in report and "--set N_CLASSES=3" in report
    import_labels(write_labels(tmp_path / "classes.tif", expected), images, tmp_path / "same", kind="classes")
    assert np.array_equal(masks_in(tmp_path / "same")[1], expected)


def test_ids_are_not_numbered_by_what_one_folder_happens_to_hold(images, tmp_path):
    some = np.where(LABELS == 70000, 0, LABELS).astype(np.uint8)
    for labels, found, assigned in (
        (some, "0, 5, 7", "0:0,5:1,7:2"),
        (np.where(some == 5, 0, some), "0, 7", "0:0,7:1"),
        (some + 1, "1, 6, 8", "1:0,6:1,8:2"),
    ):
        path = write_labels(tmp_path / "labels.tif", labels)
        match = f"the ids {found} are not classes .* the same classes for all folders, as --classes {assigned}\\.$"
        with pytest.raises(ValueError, match=match):
            import_labels(path, images, tmp_path / "y", kind="classes")
    assert not (tmp_path / "y").exists()


@pytest.mark.parametrize(("labels", "dtype"), [(LABELS, np.uint32), (LABELS.astype(np.uint8), np.uint16)])
def test_instances_are_kept_as_they_are(images, tmp_path, labels, dtype):
    import_labels(write_labels(tmp_path / "labels.tif", labels), images, tmp_path / "ids", kind="instances")
    _, masks = masks_in(tmp_path / "ids")
    assert masks.dtype == dtype and np.array_equal(masks, labels)


def test_background_of_several_ids(images, tmp_path):
    labels = LABELS.astype(np.uint64)
    labels[0, 0, 0] = 2**64 - 1
    path = write_labels(tmp_path / "labels.npy", labels)
    import_labels(path, images, tmp_path / "ids", kind="instances")
    assert np.array_equal(masks_in(tmp_path / "ids")[1], LABELS)
    import_labels(path, images, tmp_path / "y", kind="binary", background=(0, 7, 2**64 - 1))
    assert np.array_equal(masks_in(tmp_path / "y")[1], np.where((LABELS == 5) | (LABELS == 70000), 255, 0))


@pytest.mark.parametrize("suffix", [".tif", ".npy"])
def test_a_folder_of_labels_pairs_by_name_and_templates_can_read_the_result(images, tmp_path, suffix):
    (tmp_path / "labels").mkdir()
    for number in range(3):
        write_labels(tmp_path / "labels" / f"seg{number + 8:03d}{suffix}", LABELS[number].astype(float))
    import_labels(tmp_path / "labels", images, tmp_path / "y", kind="binary")
    data = load_image_set(tmp_path)
    assert np.array_equal(np.stack(data.y)[..., 0], LABELS > 0)


def test_a_volume_for_a_volume(tmp_path):
    (tmp_path / "x").mkdir()
    write_labels(tmp_path / "x" / "a.h5", LABELS)
    labels = write_labels(tmp_path / "labels.tif", LABELS.astype(np.uint16))
    with pytest.raises(ValueError, match=r"a.h5 cannot be read: it holds volumes/labels"):
        import_labels(labels, tmp_path / "x", tmp_path / "y", kind="binary")
    import_labels(labels, tmp_path / "x", tmp_path / "y", kind="binary", datasets=(None, "volumes/raw"))
    data = load_image_set(tmp_path, volumes=True, image_dataset="volumes/raw")
    assert data.y[0].shape == (3, 6, 8, 1) and np.array_equal(data.y[0][..., 0], LABELS.astype(np.uint16) > 0)


def test_all_problems_of_the_files_are_listed_at_once_and_nothing_is_written(images, tmp_path):
    folder = tmp_path / "labels"
    folder.mkdir()
    Image.fromarray(np.arange(96, dtype=np.uint8).reshape(6, 8, 2)).save(folder / "im_8.png")
    write_labels(folder / "im_9.tif", LABELS[0, :5] + 0.5)
    (folder / "im_10.png").write_bytes(b"nothing")
    Image.fromarray(LABELS[0].astype(np.uint8)).save(folder / "im_11.png")
    with pytest.raises(ValueError) as caught:
        import_labels(folder, images, tmp_path / "y", kind="binary")
    for clause in (
        "6 problems in",
        "3 images but 4 masks",
        "no image for mask im_11.png",
        "im_8.png cannot be read: its alpha channel holds values 1 to 95",
        "im_9.tif holds values that are not whole numbers",
        "im_9.png is 6x8, its labels im_9.tif 5x8 (y x x)",
        "im_10.png cannot be read",
    ):
        assert clause in str(caught.value)
    assert not (tmp_path / "y").exists()


def test_mistakes_in_what_is_asked_for(images, tmp_path):
    labels, options = write_labels(tmp_path / "labels.tif"), {"kind": "classes"}
    with pytest.raises(ValueError, match="kind of masks 'mask' is not known"):
        import_labels(labels, images, tmp_path / "y", kind="mask")
    with pytest.raises(ValueError, match="missing.tif: it does not exist"):
        import_labels(tmp_path / "missing.tif", images, tmp_path / "y", **options)
    with pytest.raises(ValueError, match="nowhere does not exist; give the folder of the images"):
        import_labels(labels, tmp_path / "nowhere", tmp_path / "y", **options)
    with pytest.raises(ValueError, match="it has 2 slices, but .*x holds 3 images"):
        import_labels(write_labels(tmp_path / "two.tif", LABELS[:2]), images, tmp_path / "y", **options)
    with pytest.raises(ValueError, match=r"flat.npy cannot be read: the axes of the shape \(8,\) are unknown"):
        import_labels(write_labels(tmp_path / "flat.npy", LABELS[0, 0]), images, tmp_path / "y", **options)
    with pytest.raises(ValueError, match=r"2 problems in ids without a class; .* rest:0: 7 \(12 pix.*70000 \(1 pix"):
        import_labels(labels, images, tmp_path / "y", classes={0: 0, 5: 1}, **options)
    with pytest.raises(ValueError, match="48 different ids are too many for classes"):
        many = np.stack([np.arange(48).reshape(6, 8)] * 3).astype(np.uint8)
        import_labels(write_labels(tmp_path / "many.tif", many), images, tmp_path / "y", **options)
    with pytest.raises(ValueError, match=r"ids below 0; name those .*: -1 \(31 pixels\)"):
        negative = write_labels(tmp_path / "negative.npy", np.where(LABELS > 0, -1, 0))
        import_labels(negative, images, tmp_path / "y", kind="instances")
    images.joinpath("im_8.png").unlink()
    images.joinpath("im_9.png").unlink()
    with pytest.raises(ValueError, match="im_10.png has 1 slices, its labels labels.tif 3"):
        import_labels(labels, images, tmp_path / "y", **options)
    assert not (tmp_path / "y").exists()
    (tmp_path / "y").mkdir()
    (tmp_path / "y" / "mine.png").write_bytes(b"mine")
    with pytest.raises(ValueError, match="y is there already"):
        import_labels(write_labels(tmp_path / "one.tif", LABELS[0]), images, tmp_path / "y", kind="binary")


def test_classes_on_the_command_line():
    assert parse_classes(" -1:0 ,5:1, rest:255") == {-1: 0, 5: 1, "rest": 255}
    with pytest.raises(ValueError) as caught:
        parse_classes("5,a:1,7:300,7:2,8:-1")
    for clause in (
        "5 problems",
        "'5' is not id:class",
        "'a:1' is",
        "class 300 is above 255",
        "7 has two classes",
        "'8:-1'",
    ):
        assert clause in str(caught.value)


# --- ids of large data sets


FLYWIRE = (720575940621039145, 720575940621039146)


def test_ids_above_32_bits_are_numbered_anew(images, tmp_path):
    ids = np.zeros((3, 6, 8), np.uint64)
    ids[0, :2], ids[1:, 3:] = FLYWIRE
    report = import_labels(write_labels(tmp_path / "l.npy", ids), images, tmp_path / "y", kind="instances")
    assert "ids above 4294967295 were numbered anew, 1 to 2: ids.csv says which is which" in report
    rows = (tmp_path / "y" / "ids.csv").read_text().split()
    assert rows == ["id,new_id", *(f"{id_},{number}" for number, id_ in enumerate(FLYWIRE, start=1))]
    (tmp_path / "y" / "ids.csv").unlink()
    masks = masks_in(tmp_path / "y")[1]
    assert masks.dtype == np.uint16
    assert np.array_equal(masks, np.where(ids == FLYWIRE[0], 1, np.where(ids == FLYWIRE[1], 2, 0)))


@pytest.mark.parametrize("kind", ["binary", "instances"])
def test_the_largest_number_of_64_bits_is_no_object(images, tmp_path, kind):
    clefts = np.where(LABELS > 0, LABELS, np.uint64(2**64 - 1))
    import_labels(
        write_labels(tmp_path / "l.h5", clefts), images, tmp_path / "y", kind=kind, datasets=("volumes/labels", None)
    )
    masks = masks_in(tmp_path / "y")[1]
    assert np.array_equal(masks > 0, LABELS > 0)
    assert kind == "binary" or np.array_equal(masks, LABELS)


def test_colours_of_24_bits_are_ids(images, tmp_path):
    folder = tmp_path / "labels"
    folder.mkdir()
    for number, ids in enumerate(LABELS):
        colours = np.stack([ids // 65536, ids // 256 % 256, ids % 256], axis=-1).astype(np.uint8)
        Image.fromarray(colours).save(folder / f"im_{number + 8}.png")
    import_labels(folder, images, tmp_path / "y", kind="instances")
    # The colours of a slice whose ids are below 256 are blue only.
    assert np.array_equal(masks_in(tmp_path / "y")[1], LABELS)


def test_labels_of_a_part_of_the_image_are_refused_with_their_place(images, tmp_path):
    with h5py.File(tmp_path / "l.h5", "w") as file:
        file["inner"] = LABELS[:, :4, :5]
        file["inner"].attrs.update(resolution=(40.0, 4.0, 4.0), offset=(0.0, 8.0, 12.0))
    with pytest.raises(
        ValueError, match=r"im_8.png is 6x8, its labels l.h5 4x5 .* begins at 0 x 8 x 12 nm .* 40 x 4 x 4 nm"
    ):
        import_labels(tmp_path / "l.h5", images, tmp_path / "y", kind="binary")
