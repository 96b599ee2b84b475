"""Tests of the synthetic electron-microscopy volumes."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from data_sets.synthetic_em import synthetic_em_volume, write_demo_data

TOY = {"shape": (8, 64, 64), "voxel_size_nm": (20.0, 20.0, 20.0)}


def toy(seed, **changes):
    arguments = {**TOY, **changes}
    return synthetic_em_volume(arguments.pop("shape"), seed, **arguments)


@pytest.fixture(scope="module")
def fine():
    """Return a small volume with Lucchi-like voxels of 5 nm."""
    return synthetic_em_volume((8, 192, 192), 5)


def test_same_seed_gives_same_bytes():
    np.random.seed(1)
    first = toy(7)
    np.random.seed(2)
    second = toy(7)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_global_random_state_is_left_alone():
    np.random.seed(3)
    expected = np.random.random()
    np.random.seed(3)
    toy(0)
    assert np.random.random() == expected


def test_different_seeds_differ():
    (image, labels), (other_image, other_labels) = toy(1), toy(2)
    assert (image != other_image).mean() > 0.9
    assert not np.array_equal(labels, other_labels)


@pytest.mark.parametrize(
    ("shape", "voxel_size_nm"),
    [((8, 64, 64), (20, 20, 20)), ((3, 96, 128), (50, 10, 10)), ((1, 130, 97), (5, 8, 8)), ((1, 1, 1), (5, 5, 5))],
)
def test_shapes_dtypes_and_consecutive_labels(shape, voxel_size_nm):
    image, labels = synthetic_em_volume(shape, 0, voxel_size_nm=voxel_size_nm)
    assert image.shape == labels.shape == (*shape, 1)
    assert image.dtype == np.uint8
    assert labels.dtype == np.uint16
    present = np.unique(labels)
    assert np.array_equal(present[present > 0], np.arange(1, labels.max() + 1))


@pytest.mark.parametrize("seed", range(3))
def test_each_label_is_one_connected_piece(seed):
    labels = toy(seed, shape=(12, 64, 64))[1][..., 0]
    assert labels.max() >= 1
    for label in range(1, labels.max() + 1):
        assert ndimage.label(labels == label)[1] == 1


def test_toy_volume_always_holds_a_mitochondrion_near_the_wanted_fraction():
    fractions = [(toy(seed)[1] > 0).mean() for seed in range(20)]
    assert min(fractions) > 0
    assert 0.1 / 1.5 < np.mean(fractions) < 0.1 * 1.5


@pytest.mark.parametrize("wanted", [0.05, 0.1, 0.15])
def test_foreground_fraction_is_near_the_wanted_one(wanted):
    labels = toy(4, shape=(16, 96, 96), foreground_fraction=wanted)[1]
    assert wanted / 1.5 < (labels > 0).mean() < wanted * 1.5


def test_fraction_zero_gives_no_mitochondria():
    assert not toy(0, foreground_fraction=0.0)[1].any()


def test_grey_values_resemble_electron_microscopy(fine):
    image = fine[0].astype(float)
    assert 110 < image.mean() < 160
    assert 28 < image.std() < 55
    assert np.percentile(image, 1) < 75
    assert np.percentile(image, 99) > 185


def test_neighbouring_slices_are_contiguous(fine):
    image, labels = fine
    mask = labels > 0
    overlap = (mask[1:] & mask[:-1]).sum() / (mask[1:] | mask[:-1]).sum()
    assert overlap > 0.9
    smooth = ndimage.gaussian_filter(image[..., 0].astype(float), (0, 2, 2))
    near = np.corrcoef(smooth[3].ravel(), smooth[4].ravel())[0, 1]
    assert near > 0.85


def test_mitochondria_are_darker_but_no_threshold_separates_them(fine):
    image, labels = fine
    mask = labels > 0
    assert image[mask].mean() < image[~mask].mean() - 15
    best = max(((image < t) & mask).sum() / ((image < t) | mask).sum() for t in range(40, 220, 5))
    assert best < 0.6


def read(path):
    with Image.open(path) as picture:
        assert picture.mode == "L"
        return np.asarray(picture)


def test_write_demo_data_layout(tmp_path):
    options = {"n_train": 3, "n_test": 2, "image_shape": (96, 128), "voxel_size_nm": (10, 10, 10)}
    folder = write_demo_data(tmp_path / "demo", 3, **options)
    assert folder == tmp_path / "demo"
    for part, count in (("train", 3), ("test", 2)):
        for kind in "xy":
            names = sorted(path.name for path in (folder / part / kind).iterdir())
            assert names == [f"{kind}_{number:04d}.png" for number in range(count)]
        assert read(folder / part / "x" / "x_0000.png").shape == (96, 128)
        masks = np.stack([read(path) for path in sorted((folder / part / "y").iterdir())])
        assert set(np.unique(masks)) == {0, 255}
    assert not np.array_equal(read(folder / "train/x/x_0000.png"), read(folder / "test/x/x_0000.png"))
    again = write_demo_data(str(tmp_path / "again"), 3, **options)
    for path in sorted(folder.rglob("*.png")):
        assert path.read_bytes() == (again / path.relative_to(folder)).read_bytes()


@pytest.mark.parametrize("existing", ["train", "test"])
def test_write_demo_data_refuses_a_filled_folder(tmp_path, existing):
    (tmp_path / existing).mkdir()
    with pytest.raises(ValueError, match=f"{tmp_path.name} already holds {existing}.*choose another folder"):
        write_demo_data(tmp_path, n_train=1, n_test=1, image_shape=(32, 32))
    assert [path.name for path in tmp_path.iterdir()] == [existing]


def test_several_training_volumes_show_different_tissue(tmp_path):
    options = {"n_train": 4, "n_test": 1, "image_shape": (64, 64), "voxel_size_nm": (20.0, 20.0, 20.0)}
    folder = write_demo_data(tmp_path / "demo", train_volumes=2, **options)
    images = [np.asarray(Image.open(path), float) for path in sorted((folder / "train" / "x").iterdir())]
    likeness = [np.corrcoef(images[a].ravel(), images[b].ravel())[0, 1] for a, b in ((0, 1), (1, 2), (2, 3))]
    assert len(images) == 4 and likeness[1] < min(likeness[0], likeness[2])
    with pytest.raises(ValueError, match="n_train 4 is not a multiple of train_volumes 3"):
        write_demo_data(tmp_path / "other", train_volumes=3, **options)


def test_write_demo_data_with_a_bad_argument_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="positive integers"):
        write_demo_data(tmp_path / "demo", n_train=1, n_test=0, image_shape=(32, 32))
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize("shape", [(8, 64), (0, 64, 64), (8, -64, 64), (8.0, 64, 64), "abc", 8])
def test_wrong_shape(shape):
    with pytest.raises(ValueError, match="shape is .*three positive integers"):
        synthetic_em_volume(shape, 0)


@pytest.mark.parametrize("voxel_size_nm", [(5, 5), (5, 0, 5), (5, 5, -1), (5, 5, np.nan), 5, ("a", "b", "c")])
def test_wrong_voxel_size(voxel_size_nm):
    with pytest.raises(ValueError, match="voxel_size_nm is .*three positive lengths"):
        synthetic_em_volume((1, 8, 8), 0, voxel_size_nm=voxel_size_nm)


@pytest.mark.parametrize("fraction", [-0.01, 0.51, np.nan])
def test_wrong_fraction(fraction):
    with pytest.raises(ValueError, match="foreground_fraction is .*from 0 to 0.5"):
        synthetic_em_volume((1, 8, 8), 0, foreground_fraction=fraction)


@pytest.mark.parametrize("seed", [None, -1, 1.5, "seed", ()])
def test_wrong_seed(seed):
    with pytest.raises(ValueError, match="seed is .*non-negative integer"):
        synthetic_em_volume((1, 8, 8), seed)
