"""What is allowed in a data folder but may be a mistake, said before a training."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from utils.data.mask_classes import values_in
from utils.images.intensity import dtype_range

PARTS = ("train", "val", "test")
# Images that use a smaller part of the range of their dtype are dark to a network.
DARK_BELOW = 0.25
# A range that leaves more of the grey values outside cannot be that of the images.
MOST_OUTSIDE = 0.95


@dataclass
class FolderSurvey:
    """What the readable files of one folder of images or masks, such as ``train/x``, hold."""

    name: str
    n_files: int = 0
    n_unreadable: int = 0
    n_images: int = 0  # pages of the readable files, or volumes
    shapes: Counter = field(default_factory=Counter)
    dtypes: Counter = field(default_factory=Counter)
    ranges: dict = field(default_factory=dict)  # lowest and highest value by dtype
    values: Counter = field(default_factory=Counter)  # pixels of each value, of masks only
    n_empty: int = 0  # masks that hold one value
    digests: dict = field(default_factory=dict)  # names by hash of the pixels, of images only

    @property
    def low(self):
        """Lowest value of all images."""
        return min((low for low, _ in self.ranges.values()), default=np.inf)

    @property
    def high(self):
        """Highest value of all images."""
        return max((high for _, high in self.ranges.values()), default=-np.inf)

    def foreground_share(self):
        """Return the share of mask pixels above the smallest value, 0 .. 1; 0 if there is only one value."""
        return 1 - self.values[min(self.values)] / self.values.total() if len(self.values) > 1 else 0.0

    def add(self, name, image):
        """Count one image ``(y, x, c)`` or volume ``(z, y, x, c)`` under a name; of one on disk only its header."""
        self.n_images += 1
        self.shapes[image.shape] += 1
        self.dtypes[image.dtype] += 1
        if not isinstance(image, np.ndarray):
            return
        low, high = self.ranges.get(image.dtype, (np.inf, -np.inf))
        self.ranges[image.dtype] = min(low, image.min()), max(high, image.max())
        if self.name.endswith("y"):
            counts = {value: int(np.count_nonzero(image == value)) for value in values_in(image)}
            self.values.update(counts)
            self.n_empty += len(counts) == 1
        else:
            digest = hashlib.blake2b(f"{image.shape} {image.dtype}".encode())
            digest.update(np.ascontiguousarray(image))
            self.digests.setdefault(digest.digest(), []).append(f"{self.name} {name}")


def survey_image_sets(parts):
    """Count what loaded images and masks hold.

    Parameters
    ----------
    parts : dict of str to ImageSet
        By the names in ``PARTS``.

    Returns
    -------
    list of FolderSurvey
        Of the images and, if there are any, of the masks of each part.
    """
    surveys = []
    for part, images in parts.items():
        for kind, arrays in (("x", images.x), ("y", images.y)):
            if arrays is not None:
                surveys.append(FolderSurvey(f"{part}/{kind}"))
                for name, array in zip(images.names, arrays, strict=True):
                    surveys[-1].add(str(name), array)
    return surveys


def survey_notes(surveys, *, range_is_known=False):
    """Say what no template refuses but may be a mistake.

    Parameters
    ----------
    surveys : list of FolderSurvey
        Of one data folder.
    range_is_known : bool
        Whether the grey values are scaled by something else than their dtype.

    Returns
    -------
    list of str
        A sentence each: equal images, several dtypes, dark images, masks without foreground or the wrong way round, a
        missing ``test/y``.
    """
    notes = _equal_images(surveys)
    shares = {survey.name: survey.foreground_share() for survey in surveys if survey.values}
    for survey in surveys:
        if len(survey.dtypes) > 1:
            counts = ", ".join(f"{count} {dtype}" for dtype, count in survey.dtypes.most_common())
            notes.append(f"{survey.name}: the images have different dtypes: {counts}. Each is scaled by its own.")
        if survey.name.endswith("x"):
            notes += [] if range_is_known else _dark_images(survey)
        elif survey.values:
            notes += _odd_masks(survey, shares)
    names = {survey.name for survey in surveys}
    if "test/x" in names and "test/y" not in names:
        notes.append("There is no test/y: predictions will be written and nothing scored.")
    return notes


def _equal_images(surveys):
    digests = {}
    for survey in surveys:
        for digest, names in survey.digests.items():
            digests.setdefault(digest, []).extend(names)
    equal = [names for names in digests.values() if len(names) > 1]
    if not equal:
        return []
    shown = "; ".join(" = ".join(names[:3]) for names in equal[:3])
    shared = [{name.split("/")[0] for name in names} for names in equal]
    advice = ""
    if any("test" in parts and len(parts) > 1 for parts in shared):
        advice = " A test image that is trained on or validated with makes the scores worthless."
    elif any(len(parts) > 1 for parts in shared):
        advice = " A validation image that is trained on does not tell when a network overfits."
    count = "1 image is" if len(equal) == 1 else f"{len(equal)} images are"
    return [f"{count} there more than once: {shown}.{advice}"]


def _dark_images(survey):
    notes = []
    for dtype, (low, high) in survey.ranges.items():
        _, white = dtype_range(dtype) or (0, 0)
        if 0 <= low < high < DARK_BELOW * white:
            notes.append(
                f"{survey.name}: {dtype} images with values up to {high:g} of {white:g} are very dark to a network. "
                f"Use --set 'INTENSITY_RANGE=({low:g}, {high:g})' or another NORMALISATION."
            )
    return notes


def _odd_masks(survey, shares):
    share = shares[survey.name]
    if len(survey.values) == 1:
        (value,) = survey.values
        return [f"{survey.name}: all masks are {value:g} everywhere, {'fore' if value else 'back'}ground only."]
    notes = []
    others = [other for name, other in shares.items() if name != survey.name and 0 < other < 0.5]
    if share > 0.5 and len(survey.values) == 2:
        against = f" against {others[0]:.1%} in the other folder" if others else ""
        notes.append(
            f"{survey.name}: {share:.1%} of the pixels are foreground{against}. The smallest value, "
            f"{min(survey.values):g}, becomes the background: are the masks the wrong way round?"
        )
    if survey.n_empty:
        notes.append(f"{survey.name}: {survey.n_empty} of {survey.n_images} masks hold a single value.")
    return notes


def print_notes(parts, *, range_is_known, intensity_range=None):
    """Print what may be a mistake in loaded images and masks, and refuse what nothing can be learned from.

    Parameters
    ----------
    parts : sequence of ImageSet
        ``train`` and ``test``, or with ``val`` between them.
    range_is_known
        As `survey_notes`.
    intensity_range : tuple of float, optional
        Grey values of black and white, as stated.

    Raises
    ------
    ValueError
        If all training masks hold one value, or nearly all grey values of the training images lie outside of the
        range.
    """
    names = PARTS if len(parts) == len(PARTS) else (PARTS[0], PARTS[-1])
    for note in survey_notes(survey_image_sets(dict(zip(names, parts, strict=True))), range_is_known=range_is_known):
        print(f"Note: {note}")
    _check_masks(parts[0].y)
    if intensity_range is not None:
        _check_range(parts[0].x, intensity_range)


def _check_masks(masks):
    seen = set()
    for mask in masks:  # of masks on disk as a rule one is read
        seen.update(values_in(np.asarray(mask)))
        if len(seen) > 1:
            return
    what = "foreground" if seen - {0} else "background"
    raise ValueError(
        f"train/y: all masks are {what} everywhere, so there is nothing to learn. Put masks that show objects and "
        "background there."
    )


def _check_range(images, intensity_range):
    low, high = intensity_range[:2]
    # Of images on disk the first one is enough.
    images = [np.asarray(image) for image in (images if isinstance(images[0], np.ndarray) else images[:1])]
    outside = sum(np.count_nonzero((image < low) | (image > high)) for image in images)
    share = outside / sum(image.size for image in images)
    if share > MOST_OUTSIDE:
        values = f"{min(image.min() for image in images):g} to {max(image.max() for image in images):g}"
        raise ValueError(
            f"INTENSITY_RANGE is ({low:g}, {high:g}), but {share:.1%} of the grey values in train/x, {values}, lie "
            "outside of it and would be black or white. Give the grey values of black and white, or None."
        )
