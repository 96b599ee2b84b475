import numpy as np
import pytest
from PIL import Image

from utils.images.crops import crop_grid
from utils.pictures import charts
from utils.pictures.charts import draw_crop_grid, draw_history, draw_overlays, draw_pairs


@pytest.fixture
def picture(tmp_path):
    return tmp_path / "folder" / "picture.png"


def colours_of(path):
    return np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3).astype(int)


def has_colour(path, condition):
    red, green, blue = colours_of(path).T
    return bool(condition(red, green, blue).any())


def test_overlays_show_right_false_and_missed_pixels_in_their_colours(picture):
    image = np.full((32, 48, 1), 128, np.uint8)
    truth, prediction = np.zeros((2, 32, 48, 1), np.uint8)
    truth[4:20, 4:20] = 1
    draw_overlays(picture, [image], [truth], [prediction], titles=["a"])
    assert has_colour(picture, lambda r, g, b: (b > 140) & (r < 120))
    assert not has_colour(picture, lambda r, g, b: (r > 160) & (b < 110) & (g < 110))
    prediction[4:20, 12:40] = 1
    draw_overlays(picture, [image], [truth], [prediction], titles=["a"])
    assert has_colour(picture, lambda r, g, b: (r > 160) & (b < 110) & (g < 110))
    assert has_colour(picture, lambda r, g, b: (g > 140) & (r < 110) & (b < 110))


def test_overlays_without_truth_show_the_prediction_in_green(picture):
    image, mask = np.full((16, 16, 1), 128, np.uint8), np.ones((16, 16, 1), np.uint8)
    draw_overlays(picture, [image], None, [mask], titles=["a"])
    assert has_colour(picture, lambda r, g, b: (g > 140) & (r < 110) & (b < 110))


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_pairs_are_drawn_for_grey_and_colour_with_and_without_masks(picture, channels, masks):
    images = [np.random.default_rng(0).integers(0, 255, (16, 24, channels), np.uint8)] * 5
    truth = [np.eye(16, 24, dtype=np.uint8)[..., np.newaxis] * 2] * 5 if masks else None
    draw_pairs(picture, images, truth, titles=list("abcde"))
    assert len(np.unique(colours_of(picture), axis=0)) > 10


@pytest.mark.parametrize(("overlap", "most"), [(0.0, 1), (0.25, 2), (0.8, 5)])
def test_the_crop_grid_says_how_often_pixels_are_covered(picture, overlap, most, monkeypatch):
    figures, image = [], np.zeros((32, 64, 1), np.uint8)
    monkeypatch.setattr(charts, "save_figure", lambda figure, path: figures.append(figure))
    draw_crop_grid(picture, image, (32, 32, 1), overlap=overlap)
    panel, *bars = figures[0].axes
    coverage = np.zeros((32, 64), int)
    for y, x in crop_grid(image.shape, (32, 32), overlap):
        coverage[y : y + 32, x : x + 32] += 1
    assert coverage.max() == most and f"covered {coverage.min()} to {most} times" in panel.get_title()
    assert len(bars) == (most > 1)
    for bar in bars:
        tint = panel.images[1]
        assert np.array_equal(tint.get_array().filled(1), coverage) and tint.get_clim() == (1, most)
        assert list(bar.get_yticks()) == list(range(1, most + 1)) and "crops that cover a pixel" in bar.get_ylabel()


def test_the_crop_grid_of_a_volume_is_drawn_from_above(picture):
    draw_crop_grid(picture, np.zeros((4, 32, 48, 1), np.uint8), (2, 32, 32, 1), overlap=(0, 0.5, 0.9))
    assert has_colour(picture, lambda r, g, b: (r > g + 40) & (g > b))


def test_the_history_is_drawn_from_its_first_epoch(picture):
    row = {
        "epoch": 1,
        "loss": 0.5,
        "val_loss": 0.4,
        "foreground_iou": 0.1,
        "val_foreground_iou": 0.2,
        "learning_rate": 0.1,
    }
    draw_history(picture, [row], best_epoch=1)
    first = picture.stat().st_size
    draw_history(picture, [row, row | {"epoch": 2, "loss": 0.1}], best_epoch=2)
    assert picture.stat().st_size != first
