"""Reading images or volumes without masks, for a network that is trained already."""

from pathlib import Path

from utils.data.data_folder import _output_name_problems, _slice_problems, _stacked
from utils.data.image_set import ImageSet
from utils.errors import raise_problems
from utils.images.image_files import Source, list_images, read_images


def load_new_images(data_dir, trained, *, dataset=None):
    """Read the images of a folder, as many and as large as there are, and list every problem at once.

    Parameters
    ----------
    data_dir : str or Path
        Holds ``x/`` or ``test/x/`` with the images, or the images themselves. For a network in 3D a folder of slices
        is one volume, and so is each file of several slices (multi-page tif, hdf5, zarr).
    trained : Predictor
        From `utils.prediction.predictor.load_predictor`: says what the images must be like.
    dataset : str, optional
        Name of the array in hdf5 and zarr files that hold several.

    Returns
    -------
    ImageSet
        Without masks; images in their stored dtype.

    Raises
    ------
    ValueError
        If there are no images, files are broken, or channels, dtypes or sizes are not as they must be.
    """
    folder = next((path for path in _places(Path(data_dir)) if path.is_dir()), Path(data_dir))
    paths = list_images(folder)
    problems = ["there are no images (png, tif, hdf5, zarr)"] * (not paths) + _output_name_problems(paths)
    images, sources = [], []
    for path in paths:
        try:
            pages = read_images(
                path, keep_colour=trained.crop_shape[-1] == 3, dataset=dataset, one_volume=trained.is_3d
            )
        except ValueError as error:
            problems.append(str(error))
            continue
        problem = next(filter(None, map(trained.problem, pages)), None)
        problems += [f"{path.name} {problem}"] if problem else []
        images += pages
        sources += [Source(path.name, page if len(pages) > 1 else None) for page in range(len(pages))]
    pages = ImageSet(images, None, sources, ())
    raise_problems(f"{folder}", problems + (_slice_problems(pages) if trained.is_3d else []))
    return _stacked(pages) if trained.is_3d else pages


def _places(data_dir):
    return data_dir / "x", data_dir / "test" / "x"
