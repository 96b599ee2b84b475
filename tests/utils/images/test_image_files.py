"""Tests of reading and writing image files."""

import random
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from utils.images.image_files import ImageName, list_images, passed_over, stem_of
from utils.images.reading import read_images
from utils.images.writing import ImageWriter, SavedImages


def grey(dtype=np.uint8, shape=(5, 7), seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.random(shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def save(path, array, mode=None):
    Image.fromarray(array, mode).save(path)
    return path


def assert_one_page(path, expected):
    (image,) = read_images(path)
    assert image.dtype == expected.dtype
    assert np.array_equal(image, expected if expected.ndim == 3 else expected[..., np.newaxis])


def write_png_16_bit_colour(path, height=3, width=2):
    """Write a 16-bit RGB png by hand, which pillow cannot."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    values = (np.arange(height * width * 3) * 2000).reshape(height, width, 3).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    return values.astype(np.uint16)


# --- png and its relatives


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(5, 7), (1, 9), (9, 1), (1, 1)])
def test_grey_png_keeps_its_values_and_dtype(tmp_path, dtype, shape):
    array = grey(dtype, shape)
    assert_one_page(save(tmp_path / "a.png", array), array)


@pytest.mark.parametrize("suffix", [".bmp", ".PNG"])
def test_other_suffixes(tmp_path, suffix):
    array = grey()
    assert_one_page(save(tmp_path / f"a{suffix}", array), array)


def test_jpeg_is_read_within_its_compression(tmp_path):
    array = np.full((16, 16), 100, np.uint8)
    Image.fromarray(array).save(tmp_path / "a.jpg")
    (image,) = read_images(tmp_path / "a.jpg")
    assert image.shape == (16, 16, 1)
    assert np.abs(image.astype(int) - 100).max() <= 2


def test_one_bit_png_has_two_grey_values(tmp_path):
    array = np.array([[True, False, True]])
    Image.fromarray(array).save(tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").mode == "1"
    (image,) = read_images(tmp_path / "a.png")
    assert image.dtype == np.uint8
    assert image[..., 0].tolist() == [[255, 0, 255]]


def test_grey_palette_is_read_as_grey_levels(tmp_path):
    picture = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("P")
    picture.putpalette([0, 0, 0, 10, 10, 10, 200, 200, 200])
    picture.save(tmp_path / "a.png")
    (image,) = read_images(tmp_path / "a.png")
    assert image[..., 0].tolist() == [[0, 10, 200]]


def test_colour_palette_is_read_as_colours(tmp_path):
    picture = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    picture.putpalette([0, 0, 0, 255, 10, 0])
    picture.save(tmp_path / "a.png")
    (image,) = read_images(tmp_path / "a.png")
    assert image.tolist() == [[[0, 0, 0], [255, 10, 0]]]


def test_rgb_with_equal_channels_is_grey(tmp_path):
    array = grey()
    assert_one_page(save(tmp_path / "a.png", np.stack([array] * 3, axis=-1)), array)


def test_rgb_with_one_differing_pixel_stays_colour(tmp_path):
    array = np.stack([grey()] * 3, axis=-1)
    array[2, 3] = 1, 2, 3
    assert_one_page(save(tmp_path / "a.png", array), array)


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_is_dropped(tmp_path, channels):
    array = grey(shape=(5, 7, channels))
    array[..., -1] = 255
    assert_one_page(save(tmp_path / "a.png", array), array[..., :-1])


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("channels", [2, 4])
def test_a_mask_that_was_drawn_in_the_alpha_channel_is_not_thrown_away(tmp_path, channels, suffix):
    array = grey(shape=(5, 7, channels))
    Image.fromarray(array).save(tmp_path / f"a.{suffix}")
    with pytest.raises(ValueError, match=f"a.{suffix} cannot be read: its alpha channel .*Save it without"):
        read_images(tmp_path / f"a.{suffix}")


def test_sixteen_bit_colour_png_keeps_its_dtype(tmp_path):
    values = write_png_16_bit_colour(tmp_path / "a.png")
    (image,) = read_images(tmp_path / "a.png", keep_colour=True)
    assert image.dtype == np.uint16
    np.testing.assert_array_equal(image, values)


# --- tif


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float32])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tif_keeps_its_values_and_dtype(tmp_path, dtype, compression):
    array = grey(dtype)
    tifffile.imwrite(tmp_path / "a.tif", array, compression=compression)
    assert_one_page(tmp_path / "a.tif", array)


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_tif_of_either_byte_order_is_read_in_that_of_the_machine(tmp_path, byteorder):
    array = grey(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", array, byteorder=byteorder)
    assert_one_page(tmp_path / "a.tif", array)
    assert read_images(tmp_path / "a.tif")[0].dtype.isnative


@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (1, 1)])
def test_thin_tif(tmp_path, shape):
    array = grey(shape=shape)
    tifffile.imwrite(tmp_path / "a.tiff", array)
    assert_one_page(tmp_path / "a.tiff", array)


@pytest.mark.parametrize(
    "options",
    [{}, {"imagej": True, "metadata": {"axes": "ZYX"}}, {"metadata": None}, {"compression": "zlib"},
     {"metadata": {"axes": "TYX"}}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("n_pages", [2, 3, 4, 6])
def test_pages_are_read_in_order(tmp_path, options, n_pages):
    stack = grey(shape=(n_pages, 5, 7))
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack", **options)
    assert np.array_equal(read_images(tmp_path / "a.tif"), stack[..., np.newaxis])


def test_stack_of_one_page(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", grey(shape=(1, 5, 7)))
    assert_one_page(tmp_path / "a.tif", grey(shape=(1, 5, 7))[0])


def test_pages_written_one_by_one(tmp_path):
    stack = grey(shape=(3, 5, 7))
    for page in stack:
        tifffile.imwrite(tmp_path / "a.tif", page, append=True)
    assert np.array_equal(read_images(tmp_path / "a.tif"), stack[..., np.newaxis])


def test_pages_of_different_sizes_keep_their_order(tmp_path):
    pages = [np.full(shape, value, np.uint8) for value, shape in enumerate([(5, 7), (6, 8), (5, 7)])]
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for page in pages:
            writer.write(page, metadata=None)
    assert [int(image.max()) for image in read_images(tmp_path / "a.tif")] == [0, 1, 2]


@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
@pytest.mark.parametrize("n_pages", [1, 3])
def test_rgb_pages(tmp_path, planarconfig, n_pages):
    stack = grey(shape=(n_pages, 5, 7, 3))
    data = stack if planarconfig == "contig" else np.moveaxis(stack, -1, 1)
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="rgb", planarconfig=planarconfig)
    assert np.array_equal(read_images(tmp_path / "a.tif"), stack)


def test_imagej_stack_with_three_channels(tmp_path):
    stack = grey(shape=(4, 3, 5, 7))
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, metadata={"axes": "ZCYX"})
    assert np.array_equal(read_images(tmp_path / "a.tif"), np.moveaxis(stack, 1, -1))


def test_one_bit_tif_is_scaled_as_the_one_bit_png(tmp_path):
    array = np.array([[True, False, True]])
    Image.fromarray(array).save(tmp_path / "a.tif")
    (image,) = read_images(tmp_path / "a.tif")
    assert image.dtype == np.uint8
    assert image[..., 0].tolist() == [[255, 0, 255]]


def test_tif_with_six_samples_has_six_channels(tmp_path):
    array = grey(shape=(5, 7, 6))
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", planarconfig="contig")
    assert_one_page(tmp_path / "a.tif", array)


# --- broken files


@pytest.mark.parametrize("name", ["a.png", "a.tif", "b.tif", "a.jpg"])
def test_truncated_file_is_named(tmp_path, name):
    path = tmp_path / name
    array = grey(shape=(64, 64))
    if path.suffix == ".tif":
        tifffile.imwrite(path, array, compression="zlib" if name == "b.tif" else None)
    else:
        Image.fromarray(array).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=f"^{name} cannot be read: "):
        read_images(path)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp"])
@pytest.mark.parametrize("content", [b"", b"just text, no image"], ids=["empty", "text"])
def test_file_that_is_no_image_is_named_without_its_folder(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"^{name} cannot be read: ") as error:
        read_images(tmp_path / name)
    assert str(tmp_path) not in str(error.value)
    assert "\n" not in str(error.value)


# --- folders


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in random.Random(0).sample(names, len(names)):
        (folder / name).touch()
    return folder


def listed(folder):
    return [path.name for path in list_images(folder)]


def test_images_are_listed_in_natural_order(tmp_path):
    names = ["im_1.png", "im_2.png", "im_10.png", "im_10_2.png", "im_10_11.png", "im_100.png"]
    assert listed(touch(tmp_path, *names)) == [
        "im_1.png",
        "im_2.png",
        "im_10.png",
        "im_10_2.png",
        "im_10_11.png",
        "im_100.png",
    ]


def test_folders_links_and_other_formats_beside_images_are_told(tmp_path):
    touch(tmp_path, "a.png", "b.czi", "c", "notes.txt")
    (tmp_path / "more").mkdir()
    (tmp_path / "x.png").mkdir()
    (tmp_path / "away").symlink_to(tmp_path / "nowhere")
    assert passed_over(tmp_path) == (["b.czi", "c"], ["away", "more", "x.png"])
    assert [path.name for path in list_images(tmp_path)] == ["a.png"]
    doubled = tmp_path / "doubled"
    (doubled / "x").mkdir(parents=True)
    touch(doubled / "x", "a.png")
    assert passed_over(doubled) == ([], [])


def test_why_a_folder_is_not_there(tmp_path):
    touch(tmp_path, "file")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, said in (("nowhere", "does not exist"), ("file", "is a file"), ("loop", "is a link to .*loop, which")):
        with pytest.raises(FileNotFoundError, match=f"the folder .*{name} {said}"):
            list_images(tmp_path / name)


def test_what_is_no_image_is_passed_over(tmp_path):
    names = [
        "a.png",
        ".hidden.png",
        "._a.png",
        "~lock.tif",
        "Thumbs.db",
        "notes.txt",
        ".DS_Store",
        "b.TIF",
        "c.jpeg",
        "d",
    ]
    assert listed(touch(tmp_path, *names)) == ["a.png", "b.TIF", "c.jpeg"]


def test_doubled_folder_is_entered(tmp_path):
    touch(tmp_path / "x" / "x", "a.png")
    touch(tmp_path / "x", ".DS_Store")
    assert list_images(tmp_path / "x") == [tmp_path / "x" / "x" / "a.png"]


def test_folder_beside_images_is_not_entered(tmp_path):
    touch(tmp_path / "deeper", "a.png")
    assert listed(touch(tmp_path, "b.png")) == ["b.png"]


def test_several_folders_are_not_entered(tmp_path):
    touch(tmp_path / "one", "a.png")
    touch(tmp_path / "two", "b.png")
    assert listed(tmp_path) == []


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        list_images(tmp_path / "nowhere")


# --- writing


@pytest.fixture
def folders(tmp_path):
    return [tmp_path / "probability", tmp_path / "binary"]


def write_all(folders, sources, *sets):
    with ImageWriter(folders, sources) as writer:
        for images in zip(*sets, strict=True):
            writer.write(*images)


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("stack", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_saved_images_read_back_what_was_written(folders, channels, stack, dtype):
    images = [grey(dtype, (6, 9, channels), seed) for seed in range(3)]
    names = [ImageName("a.tif", page) for page in range(3)] if stack else [ImageName(f"{n}.png") for n in range(3)]
    write_all(folders[:1], names, images)
    saved = SavedImages(folders[0], names)
    assert len(saved) == 3
    assert files(folders[0]) == (["a.tif"] if stack else ["0.tif", "1.tif", "2.tif"])
    for image, expected in zip(saved, images, strict=True):
        assert image.dtype == dtype
        assert np.array_equal(image, expected)


def test_files_and_stacks_may_alternate_and_pages_may_differ_in_size(folders):
    names = [
        ImageName("a.tif", 0),
        ImageName("a.tif", 1),
        ImageName("b.png"),
        ImageName("c.tif", 0),
        ImageName("c.tif", 1),
    ]
    images = [grey(shape=(4, 5 + n, 1), seed=n) for n in range(5)]
    write_all(folders, names, images, [255 - image for image in images])
    for folder, invert in zip(folders, (False, True), strict=True):
        assert files(folder) == ["a.tif", "b.tif", "c.tif"]
        for image, expected in zip(SavedImages(folder, names), images, strict=True):
            assert np.array_equal(image, 255 - expected if invert else expected)


def test_saved_images_behave_like_a_list(folders):
    names = [ImageName(f"{n}.png") for n in range(4)]
    images = [np.full((2, 2, 1), n, np.uint8) for n in range(4)]
    write_all(folders[:1], names, images)
    saved = SavedImages(folders[0], names)
    assert [int(image.max()) for image in saved[1:3]] == [1, 2]
    assert int(saved[-1].max()) == 3
    with pytest.raises(IndexError):
        saved[4]


def test_written_files_are_compressed(folders):
    write_all(folders[:1], [ImageName("a.png")], [np.zeros((256, 256, 1), np.float32)])
    assert (folders[0] / "a.tif").stat().st_size < 256 * 256


def test_written_stack_can_be_read_as_input(folders):
    images = [grey(shape=(6, 9, 1), seed=seed) for seed in range(3)]
    write_all(folders[:1], [ImageName("a.tif", page) for page in range(3)], images)
    assert np.array_equal(read_images(folders[0] / "a.tif"), images)


@pytest.mark.parametrize(("limit", "is_big"), [(600, False), (400, True)])
def test_what_may_not_fit_into_a_classic_tif_becomes_a_bigtiff(folders, limit, is_big, monkeypatch):
    monkeypatch.setattr("utils.images.writing.CLASSIC_TIF_BYTES", limit)
    images = [grey(shape=(10, 10, 1), seed=seed) for seed in range(6)]
    sources = [ImageName("a.tif", page) for page in range(5)] + [ImageName("b.tif")]
    write_all(folders[:1], sources, images)
    for name, expected in (("a.tif", is_big), ("b.tif", False)):
        with tifffile.TiffFile(folders[0] / name) as tif:
            assert tif.is_bigtiff == expected
    for found, image in zip(SavedImages(folders[0], sources), images, strict=True):
        np.testing.assert_array_equal(found, image)


def write_a_file_and_then_half_a_stack(folders, error=None):
    with ImageWriter(folders, [ImageName("a.png"), ImageName("b.tif", 0), ImageName("b.tif", 1)]) as writer:
        for _ in range(2):
            writer.write(grey(shape=(4, 4, 1)), grey(shape=(4, 4, 1)))
        if error is not None:
            raise error


def test_error_in_the_middle_of_a_stack_leaves_finished_files_only(folders):
    with pytest.raises(RuntimeError, match="stop"):
        write_a_file_and_then_half_a_stack(folders, RuntimeError("stop"))
    assert [files(folder) for folder in folders] == [["a.tif"], ["a.tif"]]


def test_stack_that_is_never_finished_does_not_appear(folders):
    write_a_file_and_then_half_a_stack(folders)
    assert [files(folder) for folder in folders] == [["a.tif"], ["a.tif"]]


def test_stack_in_the_writing_has_no_final_name(folders):
    with ImageWriter(folders, [ImageName("a.tif", 0), ImageName("a.tif", 1)]) as writer:
        writer.write(grey(shape=(4, 4, 1)), grey(shape=(4, 4, 1)))
        assert not (folders[0] / "a.tif").exists()
        writer.write(grey(shape=(4, 4, 1)), grey(shape=(4, 4, 1)))
        assert (folders[0] / "a.tif").exists()


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.png", "a.tif"), ("a.b.png", "a.b.tif"), ("s.TIFF", "s.tif"), ("x_y00016.jpg", "x_y00016.tif")],
)
def test_output_name_is_the_input_name_as_tif(name, expected):
    assert ImageName(name, 3).output == expected


def test_source_names_its_page():
    assert str(ImageName("a.png")) == "a.png"
    assert str(ImageName("a.tif", 0)) == "a.tif page 0"


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a.tif", "a"), ("a.ome.tif", "a"), ("a.nii.gz", "a"), ("v1.5.tif", "v1.5"), ("a", "a"), ("a.OME.TIFF", "a")],
)
def test_a_name_without_its_suffixes(name, stem):
    assert stem_of(name) == stem and ImageName(name).output == f"{stem}.tif"


def test_files_of_other_formats_are_named(tmp_path):
    touch(tmp_path, "a.png", "b.czi", "c.GIF", "d", "notes.txt", "table.csv", ".hidden.czi", "Thumbs.db")
    assert passed_over(tmp_path) == (["b.czi", "c.GIF", "d"], [])
