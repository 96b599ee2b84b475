"""The picture of a data folder as a file that bears a mark, so that no other file is ever written over."""

import os
import tempfile
from pathlib import Path

from PIL import Image, PngImagePlugin

from data_sets.data_survey import draw_data
from utils.data.survey import PARTS
from utils.files import TEMPORARY_PREFIX

# The text in a png that says who drew it.
MARK = ("Source", "data_sets/check.py")


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
    """Draw a data folder as `data_sets.data_survey.draw_data` does, with a mark; the file appears whole or not at all.

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
