"""Draw how images are cut into crops, as docs/figures/crops.png: grids, overlaps and the weights of blending.

Where crops lie for three overlaps on an image that they do not divide, and how many of them cover each pixel; then the
weights of blending, and the sum that the blended prediction is divided by.

    python docs/figures/draw_crops.py [path of another png]
"""

# ruff: noqa: E402

import io
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from matplotlib.patches import Rectangle
from PIL import Image

from data_sets.synthetic_em import synthetic_em_volume
from utils.images.crops import crop_grid, spline_window
from utils.pictures.figures import new_figure

CROP, OVERLAPS = (128, 128), (0.0, 0.25, 0.5)
IMAGE_SHAPE = (340, 440)


def coverage(shape, corners, window=1.0):
    """Add up what the crops of an image count at each pixel.

    Parameters
    ----------
    shape : tuple of int
        ``(y, x)`` of the image.
    corners : list of tuple of int
        First corners of the crops.
    window : float or numpy.ndarray
        Weights ``(y, x)`` of a crop's pixels.

    Returns
    -------
    numpy.ndarray
        ``(y, x)``, float.
    """
    total = np.zeros(shape)
    for y, x in corners:
        total[y : y + CROP[0], x : x + CROP[1]] += window
    return total


def draw_grid(panel, image, corners, overlap):
    """Draw the outlines of all crops, and one crop in full."""
    panel.imshow(image, cmap="gray", vmin=0, vmax=255)
    for y, x in corners:
        panel.add_patch(Rectangle((x, y), CROP[1], CROP[0], fill=False, edgecolor="#ffb000", linewidth=0.9))
    first = Rectangle((0, 0), CROP[1], CROP[0], facecolor="#ffb00055", edgecolor="#ffb000", linewidth=2)
    panel.add_patch(first)
    panel.set_title(f"overlap {overlap:g}: {len(corners)} crops of {CROP[0]}x{CROP[1]}", fontsize=9)


def draw_weights(figure, panel, weights, title):
    """Draw what crops count at each pixel, with its scale."""
    shown = panel.imshow(weights, cmap="viridis", vmin=0)
    panel.set_title(title, fontsize=9)
    figure.colorbar(shown, ax=panel, shrink=0.7, ticks=range(round(weights.max()) + 1))


def main(path=Path(__file__).parent / "crops.png"):
    """Draw and save."""
    image = synthetic_em_volume((1, *IMAGE_SHAPE), 3, voxel_size_nm=(400, 8, 8))[0][0, ..., 0]
    figure, panels = new_figure(2, len(OVERLAPS) + 1, width=2.9, height=2.5)
    for (above, below), overlap in zip(panels.T, OVERLAPS, strict=False):
        corners = crop_grid((*IMAGE_SHAPE, 1), CROP, overlap)
        draw_grid(above, image, corners, overlap)
        draw_weights(figure, below, coverage(IMAGE_SHAPE, corners), "crops that cover a pixel")
    window = spline_window(CROP)[..., 0]
    draw_weights(figure, panels[0][-1], window, "blending: weights of a crop")
    draw_weights(figure, panels[1][-1], coverage(IMAGE_SHAPE, corners, window), "their sum at overlap 0.5")
    for panel in panels.flat:
        panel.set(xticks=[], yticks=[])
    stream = io.BytesIO()
    figure.savefig(stream, dpi=100, format="png")
    Image.open(stream).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
