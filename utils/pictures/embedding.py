"""Pictures as text within a page, shrunk until all of them together fit."""

import base64

import cv2
import numpy as np

# Characters of all pictures of a page, about 1.6 MB: with its tables the page stays below 2 MB and can be mailed.
BUDGET = 1_600_000
# Enough for an image of the narrowest width; many pictures do not shrink further, the last ones are left out.
LEAST_SHARE = 50_000
# What is seen first stays fine, however many follow.
OPEN_SHARE = 300_000
# Widths and qualities of WebP from the best on; 101 is without loss, for thin lines and letters.
SHARP = ((1600, 101), (1600, 90), (1200, 80))
NATURAL = ((1600, 85), (1400, 80), (1200, 75), (1000, 70), (800, 65))
MAX_WIDTH = 1600


def embedded(pictures, *, budget=BUDGET):
    """Return pictures as text for the ``src`` of an image, as good as the room allows.

    Each gets an equal share of the room that is left. It is made smaller and coarser until it fits; what does not fit
    at the smallest is left out.

    Parameters
    ----------
    pictures : sequence of (Path, bool, bool)
        Files, the most important first; whether each is a chart that must stay sharp; whether it is seen first.
    budget : int
        Characters of all together.

    Returns
    -------
    dict of Path to str
        An empty text where there was no room. What cannot be read is missing.
    """
    texts = {}
    for number, (path, is_chart, is_open) in enumerate(pictures):
        content = np.frombuffer(path.read_bytes(), np.uint8)
        picture = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
        if picture is None:
            continue
        share = max(budget // (len(pictures) - number), OPEN_SHARE if is_open else LEAST_SHARE)
        texts[path] = _fitting(picture, SHARP if is_chart else NATURAL, share, budget)
        budget -= len(texts[path])
    return texts


def _fitting(picture, levels, share, left):
    """Return a picture at the best level that its share holds, else at the last if there is room, else nothing."""
    text = ""
    for width, quality in levels:
        text = _as_text(picture, width, quality)
        if len(text) <= min(share, left):
            return text
    return text if len(text) <= left else ""


def _as_text(picture, width, quality):
    height = round(picture.shape[0] * width / picture.shape[1])
    if picture.shape[1] > width:
        picture = cv2.resize(picture, (width, max(1, height)), interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, quality])[1]
    return "data:image/webp;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")
