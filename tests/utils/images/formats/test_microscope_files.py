"""Tests of mrc, NIfTI, dm3 and dm4 files, and of what is said where a package is missing."""

import struct
import sys

import mrcfile
import nibabel
import numpy as np
import pytest
from PIL import Image

from utils.data.data_folder import load_image_sets, open_image_sets
from utils.images.image_files import list_images, stem_of
from utils.images.reading import open_sources, read_images

VOLUME = np.random.default_rng(0).integers(0, 4000, (5, 20, 30)).astype(np.int16)
UNITS = {"x": "nm", "y": "nm", "z": "nm"}


def write_mrc(path, array, *, size=(0, 0, 0), order=(1, 2, 3), stack=False, origin=(0, 0, 0), imod_flags=None):
    """Write an MRC file; ``size`` and ``origin`` are x, y, z in angstrom, ``order`` the axes, fastest first."""
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(array)
        if stack:
            mrc.set_image_stack()
        mrc.voxel_size = size
        mrc.header.mapc, mrc.header.mapr, mrc.header.maps = order
        mrc.header.origin.x, mrc.header.origin.y, mrc.header.origin.z = origin
        if imod_flags is not None:
            extra = bytearray(mrc.header.extra2.tobytes())
            extra[40:48] = struct.pack("<ii", 1146047817, imod_flags)
            mrc.header.extra2 = np.void(bytes(extra))


def write_nifti(path, array, *, size=(1, 1, 1), unit="unknown", scaled=None):
    """Write a volume ``(z, y, x)`` as NIfTI; ``size`` is x, y, z; ``scaled`` is slope and intercept."""
    image = nibabel.Nifti1Image(np.ascontiguousarray(array.T), np.diag([*size, 1.0]), dtype=array.dtype)
    image.header.set_xyzt_units(unit)
    if scaled:
        image.header.set_slope_inter(*scaled)
    nibabel.save(image, path)


def write_dm3(path, images, *, thumbnail=False):
    """Write a dm3 file of ``(title, array, sizes, unit)``, sizes in the order of the axes of the array."""
    kinds = {"int16": (1, 2), "uint16": (10, 4), "uint8": (6, 8), "float32": (2, 6), "complex64": (3, None)}

    def number(value, kind="l"):
        code = {"l": 3, "f": 6, "d": 7, "L": 5}[kind]
        return struct.pack(">4sii", b"%%%%", 1, code) + struct.pack("<" + kind, value)

    def text(value):
        return struct.pack(">4siiii", b"%%%%", 3, 20, 4, len(value)) + value.encode("utf-16-le")

    def pixels(array):
        if array.dtype.name == "complex64":
            element = (15, 0, 2, 0, 6, 0, 6)  # pairs of floats
        else:
            element = (kinds[array.dtype.name][1],)
        head = struct.pack(">4si", b"%%%%", 2 + len(element))
        return head + struct.pack(f">{2 + len(element)}i", 20, *element, array.size) + array.tobytes()

    def group(content):
        items = list(content.items()) if isinstance(content, dict) else [("", item) for item in content]
        parts = [struct.pack(">BBi", 1, 0, len(items))]
        for name, item in items:
            is_group = isinstance(item, dict | list)
            parts.append(struct.pack(">BH", 20 if is_group else 21, len(name)) + name.encode())
            parts.append(group(item) if is_group else item)
        return b"".join(parts)

    def image(title, array, sizes, unit):
        axes = [{"Origin": number(0.0, "f"), "Scale": number(size, "f"), "Units": text(unit)} for size in sizes[::-1]]
        brightness = {"Origin": number(0.0, "f"), "Scale": number(1.0, "f"), "Units": text("")}
        data = {
            "Calibrations": {"Brightness": brightness, "Dimension": axes},
            "Data": pixels(array),
            "DataType": number(kinds[array.dtype.name][0]),
            "Dimensions": [number(length) for length in array.shape[::-1]],
            "PixelDepth": number(array.itemsize),
        }
        return {"ImageData": data, "ImageTags": {"empty": number(0)}, "Name": text(title)}

    content = {"ImageList": [image(*one) for one in images]}
    if thumbnail:
        content["Thumbnails"] = [{"ImageIndex": number(0)}]
    root = group(content)
    path.write_bytes(struct.pack(">iii", 3, len(root), 1) + root + bytes(8))


def read(path, **options):
    return np.stack(read_images(path, **options))[..., 0]


# --- mrc


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.float32, np.float16])
def test_mrc_volumes_have_their_stored_numbers(tmp_path, dtype):
    write_mrc(tmp_path / "a.mrc", VOLUME.astype(dtype))
    np.testing.assert_array_equal(read(tmp_path / "a.mrc"), VOLUME.astype(dtype))
    (source,) = open_sources(tmp_path / "a.mrc", one_volume=True)
    window = (slice(1, 3), slice(4, 9), slice(0, 7))
    np.testing.assert_array_equal(source.read(window)[..., 0], VOLUME.astype(dtype)[window])


def test_the_scale_of_mrc_is_in_angstrom_and_that_of_a_stack_has_no_z(tmp_path):
    write_mrc(tmp_path / "a.rec", VOLUME, size=(40, 50, 300), origin=(400, -500, 0))
    (source,) = open_sources(tmp_path / "a.rec")
    assert source.scale.voxel_size_nm == pytest.approx((30, 5, 4))
    assert source.scale.offset_nm == pytest.approx((0, -50, 40))
    write_mrc(tmp_path / "a.st", VOLUME, size=(40, 40, 40), stack=True)
    assert open_sources(tmp_path / "a.st")[0].scale.voxel_size_nm == (None, 4, 4)
    write_mrc(tmp_path / "b.mrc", VOLUME[0])
    (source,) = open_sources(tmp_path / "b.mrc")
    assert source.shape == (1, 20, 30, 1) and source.scale is None


def test_columns_rows_and_sections_of_mrc_may_be_any_axes(tmp_path):
    write_mrc(tmp_path / "a.mrc", VOLUME.transpose(2, 1, 0), order=(3, 2, 1))
    np.testing.assert_array_equal(read(tmp_path / "a.mrc"), VOLUME)


@pytest.mark.parametrize(("flags", "dtype"), [(None, np.int8), (0, np.uint8), (1, np.int8)])
def test_bytes_of_imod_are_signed_only_if_it_says_so(tmp_path, flags, dtype):
    write_mrc(tmp_path / "a.mrc", np.array([[0, 100, -1]] * 2, np.int8), imod_flags=flags)
    found = read(tmp_path / "a.mrc")
    assert found.dtype == dtype and found[0, 0].tolist() == np.array([0, 100, -1], np.int8).view(dtype).tolist()


def test_complex_and_cut_off_mrc_files_are_refused_by_name(tmp_path):
    write_mrc(tmp_path / "fourier.mrc", np.zeros((4, 4), np.complex64))
    with pytest.raises(ValueError, match="fourier.mrc cannot be read: it holds complex64 numbers"):
        read_images(tmp_path / "fourier.mrc")
    write_mrc(tmp_path / "cut.mrc", VOLUME)
    (tmp_path / "cut.mrc").write_bytes((tmp_path / "cut.mrc").read_bytes()[:3000])
    with pytest.raises(ValueError, match="cut.mrc cannot be read: "):
        read_images(tmp_path / "cut.mrc")


# --- NIfTI


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_nifti_volumes_have_their_voxels_and_their_scale(tmp_path, name):
    write_nifti(tmp_path / name, VOLUME, size=(0.004, 0.005, 0.03), unit="micron")
    np.testing.assert_array_equal(read(tmp_path / name), VOLUME)
    (source,) = open_sources(tmp_path / name, one_volume=True)
    assert source.dtype == np.int16 and source.scale.voxel_size_nm == pytest.approx((30, 5, 4))
    window = (slice(1, 3), slice(4, 9), slice(0, 7))
    np.testing.assert_array_equal(source.read(window)[..., 0], VOLUME[window])
    assert stem_of(tmp_path / name) == "a" and list_images(tmp_path) == [tmp_path / name]


def test_numbers_that_nifti_scales_are_those_that_viewers_show(tmp_path):
    write_nifti(tmp_path / "a.nii", VOLUME, scaled=(0.5, 10))
    found = read(tmp_path / "a.nii")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, VOLUME * 0.5 + 10)
    assert open_sources(tmp_path / "a.nii")[0].scale is None


def test_colour_and_single_images_of_nifti(tmp_path):
    colour = np.random.default_rng(0).integers(0, 256, (30, 20, 2, 3), np.uint8)
    stored = np.ascontiguousarray(colour).view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    nibabel.save(nibabel.Nifti1Image(stored, np.eye(4)), tmp_path / "rgb.nii")
    np.testing.assert_array_equal(np.stack(read_images(tmp_path / "rgb.nii")), colour.transpose(2, 1, 0, 3))
    write_nifti(tmp_path / "flat.nii", VOLUME[0])
    np.testing.assert_array_equal(read(tmp_path / "flat.nii"), VOLUME[:1])


# --- DigitalMicrograph


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.uint8, np.float32])
def test_dm3_images_and_stacks(tmp_path, dtype):
    write_dm3(tmp_path / "a.dm3", [("stack", VOLUME.astype(dtype), (30.0, 5.0, 4.0), "nm")])
    np.testing.assert_array_equal(read(tmp_path / "a.dm3"), VOLUME.astype(dtype))
    (source,) = open_sources(tmp_path / "a.dm3", one_volume=True)
    assert source.scale.voxel_size_nm == (30, 5, 4)
    window = (slice(1, 3), slice(4, 9), slice(0, 7))
    np.testing.assert_array_equal(source.read(window)[..., 0], VOLUME.astype(dtype)[window])
    write_dm3(tmp_path / "b.dm3", [("image", VOLUME[0].astype(dtype), (0.005, 0.004), "µm")])
    (source,) = open_sources(tmp_path / "b.dm3")
    assert source.shape == (1, 20, 30, 1) and source.scale.voxel_size_nm == (None, 5, 4)


def test_the_thumbnail_of_a_dm3_is_no_image_and_one_of_several_is_chosen(tmp_path):
    images = [(name, VOLUME[number], (1.0, 1.0), "") for number, name in enumerate(("first", "second", "third"))]
    write_dm3(tmp_path / "a.dm3", images[:2], thumbnail=True)
    np.testing.assert_array_equal(read(tmp_path / "a.dm3"), VOLUME[1:2])
    assert open_sources(tmp_path / "a.dm3")[0].scale is None
    write_dm3(tmp_path / "b.dm3", images)
    with pytest.raises(ValueError, match="b.dm3 cannot be read: it holds 3 images: 0 first, 1 second, 2 third. Say"):
        read_images(tmp_path / "b.dm3")
    np.testing.assert_array_equal(read(tmp_path / "b.dm3", dataset="second"), VOLUME[1:2])
    np.testing.assert_array_equal(read(tmp_path / "b.dm3", dataset="2"), VOLUME[2:3])


def test_complex_dm3_is_refused_by_name(tmp_path):
    write_dm3(tmp_path / "fft.dm3", [("fft", np.zeros((4, 4), np.complex64), (1.0, 1.0), "")])
    with pytest.raises(ValueError, match="fft.dm3 cannot be read: it holds complex64 numbers"):
        read_images(tmp_path / "fft.dm3")


# --- all of them


@pytest.mark.parametrize("volumes", [False, True])
@pytest.mark.parametrize("kind", ["mrc", "nii.gz", "dm3"])
def test_a_data_folder_of_any_format_is_read_at_once_and_when_needed(tmp_path, kind, volumes):
    write = {
        "mrc": write_mrc,
        "nii.gz": write_nifti,
        "dm3": lambda path, a: write_dm3(path, [("a", a, (1.0,) * 3, "")]),
    }
    for part in ("train", "test"):
        for folder, array in (("x", VOLUME.astype(np.float32) / 4000), ("y", (VOLUME > 2000).astype(np.float32))):
            (tmp_path / part / folder).mkdir(parents=True)
            write[kind](tmp_path / part / folder / f"vol.{kind}", array)
    now, later = (f(tmp_path, volumes=volumes)[0] for f in (load_image_sets, open_image_sets))
    assert len(now.x) == (1 if volumes else 5)
    for one, other in ((now.x, later.x), (now.y, later.y)):
        np.testing.assert_array_equal(np.stack([np.asarray(a) for a in one]), np.stack([a[...] for a in other]))
    assert now.names[0].output == "vol.tif"


@pytest.mark.parametrize(
    ("module", "package", "name"),
    [("mrcfile", "mrcfile", "a.mrc"), ("nibabel", "nibabel", "a.nii.gz"), ("rsciio", "rosettasciio", "a.dm4")],
)
def test_a_package_that_is_missing_is_named(tmp_path, monkeypatch, module, package, name):
    (tmp_path / name).write_bytes(bytes(2000))
    for loaded in [known for known in sys.modules if known.split(".")[0] == module]:
        monkeypatch.setitem(sys.modules, loaded, None)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"{name} needs the package {package}, .*requirements-formats.txt"):
        open_sources(tmp_path / name)


def test_a_compressed_file_of_another_kind_is_not_taken_for_nifti(tmp_path):
    (tmp_path / "notes.gz").write_bytes(b"?")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
    assert [path.name for path in list_images(tmp_path)] == ["a.png"]
