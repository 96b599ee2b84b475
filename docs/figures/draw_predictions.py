"""Draw what a run predicted under each protocol, as docs/figures/predictions.png, from the run that `make demo` leaves.

make demo
python docs/figures/draw_predictions.py [folder of the run] [data folder] [path of another png]
"""

# ruff: noqa: E402

import csv
import io
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np
from PIL import Image

from utils.images.image_files import list_images
from utils.images.reading import read_images
from utils.pictures.charts import FALSE_COLOUR, MISSED_COLOUR, TRUE_COLOUR
from utils.pictures.figures import new_figure

SHOWN = {  # (protocol, post-processing): title
    ("per_image", "none"): "merged crops",
    ("per_image", "blending"): "blending",
    ("per_image", "blending_z_filter"): "blending + z-filter",
    ("overlap_50", "ensemble"): "50 % overlap, ensemble",
    ("full_image", "none"): "full image",
    ("full_image", "ensemble"): "full image, ensemble",
}
WINDOW = (slice(0, 300), slice(0, 300))


def read_scores(run):
    """Return the foreground IoU of each protocol and post-processing of a run."""
    with (run / "scores.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "foreground_iou"]
    return {(row["protocol"], row["post"]): float(row["value"]) for row in rows}


def coloured(image, truth, predicted):
    """Return an image ``(y, x, 3)`` with right pixels in green, false ones in red, missed ones in blue."""
    picture = np.repeat(image[..., np.newaxis] / 255, 3, axis=-1)
    areas = ((truth & predicted, TRUE_COLOUR), (~truth & predicted, FALSE_COLOUR), (truth & ~predicted, MISSED_COLOUR))
    for area, colour in areas:
        picture[area] = 0.6 * picture[area] + 0.4 * np.asarray(colour)
    return picture


def main(run=ROOT / "demo" / "results" / "demo_0", data=ROOT / "demo" / "data", path=None):
    """Read the first test slice and its predictions, draw and save."""
    run, data = Path(run), Path(data)
    if not (run / "scores.csv").is_file():
        raise ValueError(f"{run} holds no scores.csv. Run make demo first, or give the folder of a finished run.")
    scores = read_scores(run)
    image, truth = (read_images(list_images(data / "test" / kind)[0])[0][WINDOW][..., 0] for kind in "xy")
    figure, panels = new_figure(2, 4, width=2.6, height=2.8)
    panels[0][0].imshow(image, cmap="gray", vmin=0, vmax=255)
    panels[0][0].set_title("test slice", fontsize=9)
    probability = read_images(list_images(run / "images" / "per_image" / "none" / "probability")[0])[0]
    panels[1][0].imshow(probability[WINDOW][..., 0], cmap="gray", vmin=0, vmax=1)
    panels[1][0].set_title("probability, merged crops", fontsize=9)
    for panel, (stage, title) in zip(panels[:, 1:].flat, SHOWN.items(), strict=True):
        mask = read_images(list_images(run.joinpath("images", *stage, "binary"))[0])[0][WINDOW][..., 0]
        panel.imshow(coloured(image, truth > 0, mask > 0))
        panel.set_title(f"{title}: {scores[stage]:.3f}", fontsize=9)
    for panel in panels.flat:
        panel.axis("off")
    figure.suptitle("foreground IoU of all test slices; right in green, false in red, missed in blue", fontsize=9)
    stream = io.BytesIO()
    figure.savefig(stream, dpi=100, format="png")
    picture = Image.open(stream).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    picture.save(path or Path(__file__).parent / "predictions.png", optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
