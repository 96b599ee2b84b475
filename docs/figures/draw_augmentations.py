"""Draw every transform of ImageDataGenerator on a synthetic EM image, as docs/figures/augmentations.png.

Each panel is a sample of a generator with one transform on, with the outline of its mask. Where the geometry changes, a
grid went along with the image as its weight map.

    python docs/figures/draw_augmentations.py [path of another png]
"""

# ruff: noqa: E402

import io
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from data_sets.synthetic_em import synthetic_em_volume
from generators.image_data_generator import ImageDataGenerator
from generators.probability_map import ProbabilityMap

SIZE, COLUMNS = 200, 6
BOX = (0.35, 0.45)
OUTLINE = (255, 176, 0)
MOVED = {  # title, options, seed of a sample that shows well
    "original": ({}, 0),
    "flips, right angles": ({"horizontal_flip": True, "rotation90": True}, 4),
    "rotation": ({"rotation_range": 60}, 5),
    "shift": ({"width_shift_range": 0.2, "height_shift_range": 0.2}, 6),
    "shear": ({"shear_range": 30}, 1),
    "zoom": ({"zoom_range": (0.5, 0.6)}, 1),
    "elastic": ({"elastic_alpha": (4, 4), "elastic_sigma": 15}, 3),
    "misalignment": ({"misalignment": (14, 14)}, 23),
    "misalignment, turned": ({"misalignment": (24, 24), "misalignment_rotation": 1}, 7),
    "cutmix": ({"cutmix_size": BOX}, 3),
}
CHANGED = {
    "gaussian blur": ({"blur_sigma": (2, 2)}, 1),
    "median blur": ({"median_size": (7, 7)}, 1),
    "motion blur": ({"motion_length": (11, 11)}, 5),
    "brightness": ({"brightness_range": (1.3, 1.3)}, 1),
    "contrast": ({"contrast_range": (1.8, 1.8)}, 1),
    "gamma": ({"gamma": (2, 2)}, 1),
    "noise": ({"noise_std": (0.15, 0.15)}, 1),
    "dropout": ({"dropout": (0.1, 0.1)}, 1),
    "missing sections": ({"missing_sections": (0.15, 0.15)}, 3),
    "cutout": ({"cutout_size": BOX, "cut_count": (2, 2)}, 6),
    "cutblur": ({"cutblur_size": BOX, "cutblur_factor": (6, 6)}, 4),
    "cutblur around": ({"cutblur_size": BOX, "cutblur_factor": (6, 6), "cutblur_inside": False}, 5),
    "cutnoise": ({"cutnoise_size": BOX, "cutnoise_strength": (0.4, 0.4), "cut_count": (2, 2)}, 7),
}
TOGETHER = {
    "rotation_range": 180,
    "elastic_alpha": (3, 3),
    "brightness_range": (0.8, 1.2),
    "noise_std": (0.05, 0.1),
    "missing_sections": (0.05, 0.1),
    "cutblur_size": BOX,
    "cutout_size": (0.1, 0.2),
}


def make_pairs():
    """Return two images and their masks, uint8 (y, x, 1)."""
    volume, labels = synthetic_em_volume((2, 400, 400), 3, voxel_size_nm=(400, 8, 8))
    return list(volume), [(mask > 0).astype(np.uint8) for mask in labels]


def make_grid(shape, step=25):
    """Return the lines of a grid, float32 (y, x, 1)."""
    grid = np.zeros((*shape, 1), np.float32)
    grid[::step] = grid[:, ::step] = 1
    return grid


def draw_panel(panel, title, options, seed, pairs):
    """Draw one sample of a generator."""
    first, second = ((image, mask, make_grid(image.shape[:2])) for image, mask in zip(*pairs, strict=True))
    middle = np.zeros_like(first[1])
    middle[middle.shape[0] // 2, middle.shape[1] // 2] = 1
    in_the_middle = ProbabilityMap(middle, (1, 0))
    sample = ImageDataGenerator(**options).random_sample(
        first,
        (SIZE, SIZE),
        np.random.default_rng(seed),
        limits=(0, 255),
        probability_map=in_the_middle,
        draw_partner=lambda rng: (second, (0, 255), in_the_middle),
    )
    image, mask, grid = (array[..., 0] for array in sample)
    panel.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="bilinear")
    if title in MOVED:
        colours = np.zeros((*grid.shape, 4))
        colours[...] = (1, 1, 1, 0)
        colours[..., 3] = 0.5 * grid
        panel.imshow(colours, interpolation="bilinear")
    panel.contour(mask, levels=[0.5], colors=[np.divide(OUTLINE, 255)], linewidths=1.1)
    panel.set_title(title, fontsize=9, pad=3)
    panel.set(xticks=[], yticks=[], xlim=(-0.5, SIZE - 0.5), ylim=(SIZE - 0.5, -0.5))
    for line in panel.spines.values():
        line.set_visible(False)


def main(path=Path(__file__).parent / "augmentations.png"):
    """Draw and save."""
    panels = MOVED | CHANGED | {"several at once": (TOGETHER, 3)}
    rows = -(-len(panels) // COLUMNS)
    figure = Figure(figsize=(1.72 * COLUMNS, 1.9 * rows), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.03, wspace=0.02, hspace=0.02)
    FigureCanvasAgg(figure)
    pairs = make_pairs()
    for panel, (title, (options, seed)) in zip(figure.subplots(rows, COLUMNS).flat, panels.items(), strict=True):
        draw_panel(panel, title, options, seed, pairs)
    stream = io.BytesIO()
    figure.savefig(stream, dpi=100, format="png")
    with_palette(Image.open(stream).convert("RGB")).save(path, optimize=True)


def with_palette(picture):
    """Return a picture in 192 greys and 64 mixtures of them with the colour of the outlines: half as many bytes."""
    greys = np.linspace(0, 255, 192)[:, np.newaxis].repeat(3, axis=1)
    shares = np.linspace(1 / 8, 1, 8)[:, np.newaxis, np.newaxis]
    mixtures = shares * np.array(OUTLINE) + (1 - shares) * greys[np.newaxis, ::27]
    colours = Image.new("P", (1, 1))
    colours.putpalette(np.rint(np.concatenate([greys, mixtures.reshape(-1, 3)])).astype(np.uint8).tobytes())
    numbers, pixels = np.array(picture.quantize(palette=colours, dither=Image.Dither.NONE)), np.asarray(picture)
    is_grey = (pixels == pixels[..., :1]).all(axis=-1)
    numbers[is_grey] = np.rint(pixels[is_grey, 0] * (191 / 255))  # Pillow finds the nearest colour only roughly
    result = Image.fromarray(numbers)
    result.putpalette(colours.getpalette())
    return result


if __name__ == "__main__":
    main(*sys.argv[1:])
