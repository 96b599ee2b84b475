"""What a data folder holds, as a table and a picture."""

import os
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from utils.data.survey import PARTS, FolderSurvey
from utils.files import TEMPORARY_PREFIX
from utils.images.image_files import ImageName, list_images
from utils.images.intensity import dtype_range
from utils.images.reading import read_images
from utils.pictures.charts import draw_pairs

# If masks have more values than that, these are counted and not listed.
LISTED_VALUES = 12
# The text in a png that says who drew it.
MARK = ("Source", "data_sets/check.py")


def survey_data(data_dir, *, channels=1, image_dataset=None, mask_dataset=None):
    """Read every file of a data folder, one at a time, and count what it holds.

    Files that cannot be read are only counted: `utils.data.data_folder` says what is wrong with them.

    Parameters
    ----------
    data_dir : str or Path
        Holds all or some of ``train/x train/y val/x val/y test/x test/y``.
    channels : int
        Channels of the images, where axes could be channels or slices.
    image_dataset, mask_dataset : str, optional
        Names of the arrays in hdf5 and zarr files that hold several.

    Returns
    -------
    list of FolderSurvey
        One for each of the six folders that exists.
    """
    surveys, kinds = [], {"x": (image_dataset, channels), "y": (mask_dataset, 1)}
    for name, (dataset, wanted) in ((f"{part}/{kind}", kinds[kind]) for part in PARTS for kind in kinds):
        if not (Path(data_dir) / name).is_dir():
            continue
        survey = FolderSurvey(name)
        for path in list_images(Path(data_dir) / name):
            survey.n_files += 1
            try:
                pages = read_images(path, dataset=dataset, channels=wanted, as_labels=name.endswith("y"))
            except ValueError:
                survey.n_unreadable += 1
                continue
            for number, page in enumerate(pages):
                survey.add(str(ImageName(path.name, number if len(pages) > 1 else None)), page)
        surveys.append(survey)
    return surveys


def survey_table(surveys):
    """Return a survey as a table in Markdown with aligned columns.

    Parameters
    ----------
    surveys : list of FolderSurvey
        From `survey_data`.

    Returns
    -------
    str
    """
    rows = [("folder", "files", "images", "size (y x x)", "dtype", "values", "share of each mask value")]
    for survey in surveys:
        rows.append(
            (
                survey.name,
                f"{survey.n_files}" + f" ({survey.n_unreadable} unreadable)" * bool(survey.n_unreadable),
                str(survey.n_images),
                _listed(survey.shapes, lambda shape: f"{shape[0]}x{shape[1]}" + " RGB" * (shape[2] == 3)),
                _listed(survey.dtypes, str),
                f"{survey.low:g} to {survey.high:g}" if survey.n_images else "",
                _shares(survey.values),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in rows
    )


def _listed(counter, text):
    if len(counter) <= 1:
        return "".join(text(value) for value in counter)
    shown = [f"{text(value)} ({count})" for value, count in counter.most_common(3)]
    return ", ".join(shown) + f" and {len(counter) - 3} more" * (len(counter) > 3)


def _shares(values):
    if len(values) > LISTED_VALUES:
        return f"{len(values)} values"
    return ", ".join(f"{value:g}: {values[value] / values.total():.2%}" for value in sorted(values))


def draw_data(path, train, test, *, validation=None, intensity_range=None):
    """Draw four images of each part, from the first to the last, each above itself with the outlines of its mask.

    Parameters
    ----------
    path : str or Path
        The png file.
    train, test, validation : ImageSet
        Images or volumes; of a volume the middle slice is drawn. ``validation``, from ``val/``, may be None.
    intensity_range : tuple of float, optional
        Grey values of black and white. Without it 8-bit images are drawn as they are, others from their lowest to their
        highest value.
    """
    images, masks, titles = [], [], []
    for name, part in zip(PARTS, (train, validation, test), strict=True):
        if part is None:
            continue
        for number in np.unique(np.linspace(0, len(part) - 1, 4).round().astype(int)):
            image = part.x[number]
            images.append(image)
            masks.append(np.zeros((*image.shape[:-1], 1), np.uint8) if part.y is None else part.y[number])
            titles.append(f"{name}: {part.names[number]}")
    if intensity_range is None and dtype_range(images[0].dtype) != (0.0, 255.0):
        low, high = min(image.min() for image in images), max(image.max() for image in images)
        intensity_range = (float(low), float(high)) if low < high else None
    draw_pairs(path, images, masks, titles=titles, intensity_range=intensity_range)


def check_picture(path, data_dir):
    """Raise a ``ValueError`` if a picture cannot be written, or would replace a file that `write_picture` did not make.

    Parameters
    ----------
    path : Path
        The picture to write.
    data_dir : Path
        The data folder; no picture may lie among its images.
    """
    real = Path(os.path.realpath(path))
    images = {os.path.realpath(data_dir / part / kind) for part in PARTS for kind in ("", "x", "y")}
    problem = None
    if path.suffix.lower() != ".png":
        problem = "does not end in .png, and only png is drawn"
    elif images & set(map(str, real.parents)):
        problem = f"lies among the images of {data_dir}"
    elif os.path.lexists(path) and not _is_ours(path):
        problem = "is there already and was not drawn by this tool"
    elif not real.parent.is_dir():
        problem = f"cannot be written: {real.parent} is no folder"
    elif not os.access(real.parent, os.W_OK):
        problem = f"cannot be written: {real.parent} may not be written to"
    if problem:
        raise ValueError(f"--picture {path} {problem}. Give a new file such as data.png.")


def write_picture(path, *parts, **options):
    """Draw a data folder as `draw_data` does, with a mark; the file appears whole or not at all.

    Parameters
    ----------
    path : Path
        The png file, which `check_picture` accepted.
    *parts, **options
        As `draw_data`.
    """
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=path.parent) as folder:
        drawn, marked = Path(folder) / "drawn.png", Path(folder) / "marked.png"
        draw_data(drawn, *parts, **options)
        text = PngImagePlugin.PngInfo()
        text.add_text(*MARK)
        with Image.open(drawn) as image:
            image.save(marked, pnginfo=text)
        os.replace(marked, path)


def _is_ours(path):
    if not path.is_file():
        return False
    try:
        with Image.open(path) as image:
            return image.format == "PNG" and image.text.get(MARK[0]) == MARK[1]
    except Exception:  # noqa: BLE001  whatever another file makes of the reader
        return False
