"""Tifs of microscopes, ImageJ, Bio-Formats and paint programs are read as viewers show them."""

import uuid

import numpy as np
import pytest
import tifffile
from PIL import Image

from utils.data.data_folder import load_image_set
from utils.images.reading import open_sources, read_images

OBJECT = np.zeros((32, 40), bool)
OBJECT[4:10, 5:20] = True
GREY = np.where(OBJECT, 200, 60).astype(np.uint8)


def read(path, **options):
    return np.stack(read_images(path, **options))


# --- white is zero, few bits


@pytest.mark.parametrize("compression", [None, "group4", "packbits"])
def test_bilevel_masks_are_white_where_viewers_show_white(tmp_path, compression):
    Image.fromarray(OBJECT).save(tmp_path / "a.tif", tiffinfo={262: 0}, compression=compression)
    assert np.array_equal(read(tmp_path / "a.tif")[0, ..., 0], OBJECT * 255)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_values_of_which_zero_is_white_are_inverted(tmp_path, dtype):
    inverted = np.iinfo(dtype).max - GREY.astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", inverted, photometric="miniswhite")
    assert np.array_equal(read(tmp_path / "a.tif")[0, ..., 0], GREY)
    (source,) = open_sources(tmp_path / "a.tif")
    assert np.array_equal(source.read([slice(0, 1), slice(3, 9), slice(2, 30)])[0, ..., 0], GREY[3:9, 2:30])


def test_imagej_inverts_only_its_lookup_table(tmp_path):
    mask, text = (OBJECT * 255).astype(np.uint8), "ImageJ=1.54f\n"
    tifffile.imwrite(tmp_path / "a.tif", mask, photometric="miniswhite", description=text, metadata=None)
    assert np.array_equal(read(tmp_path / "a.tif")[0, ..., 0], mask)


def test_white_is_zero_has_no_meaning_for_floats(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GREY.astype(np.float32), photometric="miniswhite")
    with pytest.raises(ValueError, match=r"a.tif cannot be read: zero is white in it, but its float32 .* Save it with"):
        read(tmp_path / "a.tif")


def test_twelve_bits_have_4095_as_white(tmp_path):
    pytest.importorskip("imagecodecs", reason="packed bits need imagecodecs")
    values = np.array([[0, 2048, 4095]], np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", bitspersample=12)
    assert read(tmp_path / "a.tif").ravel().tolist() == [0, 32775, 65535]


def test_complex_numbers_are_refused_by_name(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GREY.astype(np.complex64))
    with pytest.raises(ValueError, match="a.tif cannot be read: it holds complex64 numbers; wanted whole numbers or"):
        read(tmp_path / "a.tif")


def test_other_colour_models_are_refused_by_name(tmp_path):
    Image.fromarray(GREY).convert("CMYK").save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match="its colours are stored as SEPARATED. Save it in grey or as RGB"):
        read(tmp_path / "a.tif")


# --- palettes, orientation, alpha


def write_palette(path, indices, colours, **options):
    image = Image.fromarray(indices).convert("P")
    image.putdata(indices.ravel().tolist())
    image.putpalette(np.asarray(colours, np.uint8).ravel().tolist())
    image.save(path, **options)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_palettes_are_classes_of_masks_and_shown_greys_of_images(tmp_path, suffix):
    indices = (np.arange(12).reshape(3, 4) % 3).astype(np.uint8)
    greys = np.repeat([[0], [90], [250]], 3, axis=1)
    write_palette(tmp_path / f"a.{suffix}", indices, greys)
    assert np.array_equal(read(tmp_path / f"a.{suffix}", as_labels=True)[0, ..., 0], indices)
    assert np.array_equal(read(tmp_path / f"a.{suffix}")[0, ..., 0], greys[indices][..., 0])


def test_a_data_set_of_palettes(tmp_path):
    indices = (np.arange(12).reshape(3, 4) % 3).astype(np.uint8)
    colours = [(0, 0, 0), (250, 0, 0), (0, 0, 250)]
    for kind in "xy":
        (tmp_path / "d" / kind).mkdir(parents=True)
    write_palette(tmp_path / "d" / "x" / "a.png", indices, [(grey,) * 3 for grey in (0, 90, 250)])
    write_palette(tmp_path / "d" / "y" / "a.png", indices, colours)
    images = load_image_set(tmp_path / "d", n_classes=3)
    assert np.array_equal(images.y[0][..., 0], indices)
    assert np.array_equal(images.x[0][..., 0], np.array([0, 90, 250])[indices])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_the_orientation_tag_is_applied(tmp_path, orientation, compression):
    tag = [(274, "H", 1, orientation, True)]
    for name, how in (("a.tif", compression), ("pillow.tif", "zlib")):  # pillow turns compressed ones only
        tifffile.imwrite(tmp_path / name, GREY, compression=how, extratags=tag, metadata=None)
    with Image.open(tmp_path / "pillow.tif") as image:
        shown = np.asarray(image)
    assert np.array_equal(read(tmp_path / "a.tif")[0, ..., 0], shown)
    (source,) = open_sources(tmp_path / "a.tif")
    assert np.array_equal(source.read([slice(0, 1), slice(2, 9), slice(3, 20)])[0, ..., 0], shown[2:9, 3:20])


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_orientation_of_jpegs_is_applied(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(GREY).save(tmp_path / "a.jpg", exif=exif, quality=100)
    turns = {1: 0, 3: 2, 6: 3, 8: 1}[orientation]
    shown = np.rot90(GREY, turns)
    found = read(tmp_path / "a.jpg")[0, ..., 0]
    assert found.shape == shown.shape and np.abs(found.astype(int) - shown).mean() < 3


@pytest.mark.parametrize("name", ["a.tif", "a.png"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_uniform_alpha_channel_is_left_out_with_a_note(tmp_path, name, channels):
    pixels = np.random.default_rng(0).integers(0, 255, (5, 7, channels + 1)).astype(np.uint8)
    pixels[..., -1] = 255
    Image.fromarray(pixels).save(tmp_path / name)
    (source,) = open_sources(tmp_path / name)
    assert source.shape == (1, 5, 7, channels) and "alpha channel" in source.notes[0]
    assert np.array_equal(source.read()[0], pixels[..., :-1])
    window = [slice(0, 1), slice(1, 3), slice(2, 6)]
    assert np.array_equal(source.read(window)[0], pixels[1:3, 2:6, :-1])


def test_four_channels_that_are_wanted_are_no_alpha_channel(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (5, 7, 4)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    assert np.array_equal(read(tmp_path / "a.tif", channels=4)[0], pixels)


# --- thumbnails, series, files that list each other


@pytest.mark.parametrize("one_volume", [False, True])
def test_thumbnails_and_pyramids_are_no_images(tmp_path, one_volume):
    stack = np.random.default_rng(0).integers(0, 255, (3, 32, 40)).astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(stack, photometric="minisblack", metadata=None)
        tif.write(stack[0, ::4, ::4], photometric="minisblack", subfiletype=1, metadata=None)
    assert np.array_equal(read(tmp_path / "a.tif", one_volume=one_volume)[..., 0], stack)


def test_series_are_chosen_by_name_or_number(tmp_path):
    stacks = np.random.default_rng(0).integers(0, 255, (2, 5, 24, 32)).astype(np.uint8)
    path = tmp_path / "positions.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tif:
        for number, stack in enumerate(stacks):
            tif.write(stack, metadata={"axes": "ZYX", "Name": f"pos {number}"}, photometric="minisblack")
    for one_volume in (False, True):
        with pytest.raises(ValueError, match="it holds 2 images: 0 pos 0, 1 pos 1. Say which by name or number"):
            read(path, one_volume=one_volume)
        for number, stack in enumerate(stacks):
            for name in (f"pos {number}", number):
                assert np.array_equal(read(path, dataset=name, one_volume=one_volume)[..., 0], stack)
    with pytest.raises(ValueError, match="it holds no series pos 7; it holds 0 pos 0, 1 pos 1"):
        read(path, dataset="pos 7")


def test_a_part_of_a_series_in_tiles_is_that_of_the_chosen_one(tmp_path):
    stacks = np.random.default_rng(0).integers(0, 255, (2, 5, 64, 80)).astype(np.uint8)
    path = tmp_path / "positions.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tif:
        for stack in stacks:
            tif.write(stack, metadata={"axes": "ZYX"}, photometric="minisblack", compression="zlib", tile=(16, 16))
    window = [slice(1, 3), slice(2, 20), slice(3, 40)]
    for number, stack in enumerate(stacks):
        (source,) = open_sources(path, dataset=number, one_volume=True)
        assert np.array_equal(source.read(window)[..., 0], stack[tuple(window)])


def test_files_that_list_each_other_are_one_image_each(tmp_path):
    names = [f"pos_Z{number}.ome.tif" for number in range(3)]
    ids = [f"urn:uuid:{uuid.uuid4()}" for _ in names]
    listed = "".join(
        f'<TiffData IFD="0" PlaneCount="1" FirstZ="{z}" FirstC="0" FirstT="0"><UUID FileName="{name}">{id_}</UUID>'
        "</TiffData>"
        for z, (name, id_) in enumerate(zip(names, ids, strict=True))
    )
    for number, (name, id_) in enumerate(zip(names, ids, strict=True)):
        text = (
            '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="{id_}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="40" '
            f'SizeY="24" SizeZ="3" SizeC="1" SizeT="1"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>{listed}</Pixels>'
            "</Image></OME>"
        )
        plane = np.full((24, 40), 10 * (number + 1), np.uint8)
        tifffile.imwrite(tmp_path / name, plane, description=text, metadata=None)
    for number, name in enumerate(names):
        assert np.array_equal(read(tmp_path / name), np.full((1, 24, 40, 1), 10 * (number + 1)))


# --- channels


TWO = np.random.default_rng(0).integers(0, 255, (2, 24, 32)).astype(np.uint8)


def test_two_channels_are_read_if_they_are_wanted(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", TWO, imagej=True, metadata={"axes": "CYX"})
    assert np.array_equal(read(tmp_path / "a.tif", channels=2)[0], np.moveaxis(TWO, 0, -1))
    with pytest.raises(ValueError, match="it has 2 channels, which may be slices: end CROP_SHAPE with 2 for channels"):
        read(tmp_path / "a.tif", channels=1)
    assert np.array_equal(read(tmp_path / "a.tif", channels=1, one_volume=True)[..., 0], TWO)


@pytest.mark.parametrize("mode", ["composite", "ome"])
def test_channels_that_the_file_is_certain_of(tmp_path, mode):
    options = {"ome": True} if mode == "ome" else {"imagej": True}
    metadata = {"axes": "CYX"} | ({} if mode == "ome" else {"mode": mode})
    tifffile.imwrite(tmp_path / "a.tif", TWO, photometric="minisblack", metadata=metadata, **options)
    assert read(tmp_path / "a.tif", channels=1).shape == (1, 24, 32, 2)
    for kind in "xy":
        (tmp_path / "d" / kind).mkdir(parents=True)
    (tmp_path / "a.tif").rename(tmp_path / "d" / "x" / "a.tif")
    tifffile.imwrite(tmp_path / "d" / "y" / "a.tif", (TWO[0] > 99).astype(np.uint8))
    with pytest.raises(
        ValueError, match="a.tif has 2 channels, the crop shape 1 .end CROP_SHAPE with 2, or save it in"
    ):
        load_image_set(tmp_path / "d")
    assert load_image_set(tmp_path / "d", channels=2).x[0].shape == (24, 32, 2)


@pytest.mark.parametrize("channels", [2, 5])
def test_stacks_with_channels(tmp_path, channels):
    stack = np.random.default_rng(0).integers(0, 255, (6, channels, 24, 32)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, metadata={"axes": "ZCYX"})
    for one_volume in (False, True):
        found = read(tmp_path / "a.tif", one_volume=one_volume, channels=channels)
        assert np.array_equal(found, np.moveaxis(stack, 1, -1))


# --- the size of pixels


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (
            {"imagej": True, "resolution": (200, 200), "metadata": {"axes": "ZYX", "spacing": 0.03, "unit": "um"}},
            (30, 5, 5),
        ),
        (
            {"imagej": True, "resolution": (0.25, 0.2), "metadata": {"axes": "ZYX", "spacing": 50, "unit": "nm"}},
            (50, 5, 4),
        ),
        ({"imagej": True, "resolution": (1, 1), "metadata": {"axes": "ZYX", "spacing": 1, "unit": "pixel"}}, None),
        ({"resolution": (2e6, 2e6), "resolutionunit": "CENTIMETER"}, (None, 5, 5)),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, None),
        ({"resolution": (1, 1), "resolutionunit": "NONE"}, None),
        (
            {
                "ome": True,
                "metadata": {
                    "axes": "ZYX",
                    "PhysicalSizeX": 5,
                    "PhysicalSizeXUnit": "nm",
                    "PhysicalSizeY": 0.006,
                    "PhysicalSizeZ": 0.03,
                },
            },
            (30, 6, 5),
        ),
        ({}, None),
    ],
    ids=str,
)
def test_the_size_of_pixels_is_read(tmp_path, options, size):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 8, 9), np.uint8), photometric="minisblack", **options)
    (source,) = open_sources(tmp_path / "a.tif", one_volume=True)
    if size is None:
        assert source.scale is None
    else:
        assert source.scale.voxel_size_nm == pytest.approx(size)
