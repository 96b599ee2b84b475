"""Images with their masks and names, which stay together while they are split and cropped."""

import math
import os
from dataclasses import dataclass, replace

import numpy as np

from utils.data.mask_classes import to_classes
from utils.images.crops import crop_grid, crop_images
from utils.images.image_files import ImageName
from utils.images.scale import common_voxel_size, scale_of


@dataclass(frozen=True)
class ImageSet:
    """Images, masks and their names, in one order.

    Attributes
    ----------
    x : list of numpy.ndarray or LazyImage
        Images ``(y, x, c)``, or volumes ``(z, y, x, c)``, in their stored dtype; sizes may differ.
    y : list of numpy.ndarray or LazyImage, or None
        Masks ``(y, x, 1)`` or ``(z, y, x, 1)``, uint8, 0 .. classes - 1; None without ground truth.
    names : list of ImageName
        Name of each image or volume.
    mask_values : tuple of int or float
        The stored values that became the classes 0, 1, ...
    weights : list of numpy.ndarray or LazyImage, or None
        How much each pixel counts in training, shapes of the masks; None if all count the same.
    """

    x: list
    y: list | None
    names: list
    mask_values: tuple
    weights: list | None = None

    def __len__(self):
        return len(self.x)

    def subset(self, indices):
        """Return the images with the given indices, in that order."""
        indices = list(indices)
        masks, weights = (None if arrays is None else [arrays[i] for i in indices] for arrays in (self.y, self.weights))
        names = [self.names[i] for i in indices]
        return ImageSet([self.x[i] for i in indices], masks, names, self.mask_values, weights)

    def joined_with(self, other):
        """Return these images and then those of another set, which has masks and weights if this one has."""
        masks = None if self.y is None else self.y + other.y
        weights = None if self.weights is None else self.weights + other.weights
        return ImageSet(self.x + other.x, masks, self.names + other.names, self.mask_values, weights)

    def renamed(self, prefix):
        """Return the same images with ``prefix/`` before their names and those of their slices.

        File names hold no ``/``, so a new name never equals one of another folder.
        """

        def new_name(name):
            slices = {"slices": tuple(map(new_name, name.slices))} if name.slices else {}
            return name._replace(file=f"{prefix}/{name.file}", **slices)

        return replace(self, names=[new_name(name) for name in self.names])

    def with_voxel_size(self, voxel_size_nm):
        """Return the same images with a voxel size that was stated, which their results are written with.

        ``voxel_size_nm`` is one number, ``(y, x)`` or ``(z, y, x)``; None leaves what the files state.
        """
        stated = scale_of(voxel_size_nm)
        if stated is None:
            return self

        def stated_for(name):
            offset = name.scale.offset_nm if name.scale else stated.offset_nm
            slices = {"slices": tuple(map(stated_for, name.slices))} if name.slices else {}
            return name._replace(scale=stated._replace(offset_nm=offset), **slices)

        return replace(self, names=[stated_for(name) for name in self.names])

    def pieces(self, index):
        """List what of an image or volume is scored and written as one: ``(ImageName, index into the array)``.

        That is each slice of a volume that came as slices, otherwise the whole.
        """
        name = self.names[index]
        return [(part, number) for number, part in enumerate(name.slices or ())] or [(name, ...)]

    def with_classes(self, mask_values):
        """Return the same images with classes in place of the stored values of their masks.

        ``mask_values`` are from `utils.data.mask_classes.class_values`.
        """
        pairs = zip(self.y or (), self.names, strict=False)
        masks = None if self.y is None else [to_classes(mask, mask_values, str(name)) for mask, name in pairs]
        return replace(self, y=masks, mask_values=mask_values)


def voxel_size_of(images, *, volumes):
    """Return the voxel size of images, and print it.

    Parameters
    ----------
    images : ImageSet
        Their names hold the scale of each.
    volumes : bool
        Whether z counts.

    Returns
    -------
    tuple of float or None
        ``(z, y, x)`` or ``(y, x)`` in nanometres; None if it is neither stated nor in the files, or these differ.
    """
    size, note = common_voxel_size(images.names, volumes=volumes)
    shown = f"{' x '.join(f'{length:g}' for length in size)} nm" if size else "not known"
    print(f"Size of a {'voxel' if volumes else 'pixel'}: {shown}." + f" Note: {note}" * bool(note))
    return size


def split_validation(images, fraction, *, seed, shuffle=True):
    """Split whole images into training and validation, before they are cropped.

    Parameters
    ----------
    images : ImageSet
        All training images.
    fraction : float
        Share for validation, above 0 and below 1, rounded up to whole images.
    seed : int
        Seed of the random choice.
    shuffle : bool
        True draws the validation images at random (as published). False takes the last ones, so that neighbouring
        slices of a volume are not on both sides.

    Returns
    -------
    training, validation : ImageSet

    Raises
    ------
    ValueError
        If one side would be empty.
    """
    n_validation = math.ceil(len(images) * fraction)
    if not 0 < fraction < 1 or n_validation >= len(images):
        raise ValueError(
            f"a validation split of {fraction} of {len(images)} image(s) leaves nothing to train on. "
            "Use a fraction between 0 and 1 and at least two images."
        )
    order = np.arange(len(images))
    if shuffle:
        np.random.default_rng(seed).shuffle(order)
    return images.subset(sorted(order[:-n_validation])), images.subset(sorted(order[-n_validation:]))


def split_validation_z(volumes, fraction):
    """Split every volume along z: the last slices are for validation, so that no crop lies on both sides.

    Parameters
    ----------
    volumes : ImageSet
        Training volumes.
    fraction : float
        Share for validation, above 0 and below 1, rounded up to whole slices.

    Returns
    -------
    training, validation : ImageSet
        Views of the volumes.

    Raises
    ------
    ValueError
        If a volume has too few slices for both parts.
    """
    cuts = [len(volume) - math.ceil(len(volume) * fraction) for volume in volumes.x]
    for cut, volume, name in zip(cuts, volumes.x, volumes.names, strict=True):
        if not 0 < fraction < 1 or cut < 1:
            raise ValueError(
                f"a validation split of {fraction} of the {len(volume)} slices of {name} leaves nothing to train on. "
                "Use a fraction between 0 and 1 and at least two slices."
            )

    def part(places):
        names = [name._replace(slices=name.slices[place]) for name, place in zip(volumes.names, places, strict=True)]
        images, masks = (
            [volume[place] for volume, place in zip(arrays, places, strict=True)] for arrays in (volumes.x, volumes.y)
        )
        return ImageSet(images, masks, names, volumes.mask_values)

    return part([slice(0, cut) for cut in cuts]), part([slice(cut, None) for cut in cuts])


def with_context(volumes, part, *, depth):
    """Extend the last slices of volumes to a depth with the slices before them, which get the weight 0.

    Parameters
    ----------
    volumes : ImageSet
        Whole volumes.
    part : ImageSet
        Their last slices, from `split_validation_z`.
    depth : int
        Smallest number of slices.

    Returns
    -------
    completed : ImageSet
        At least ``depth`` slices of each volume; views.
    weights : list of numpy.ndarray or None
        Shapes of the masks, float32: 0 in slices that are not of ``part``, in the others equal with a mean of 1 over
        all. None if all were deep enough.
    """
    if all(len(volume) >= depth for volume in part.x):
        return part, None
    starts = [len(whole) - max(len(last), depth) for whole, last in zip(volumes.x, part.x, strict=True)]
    images, masks = (
        [array[start:] for array, start in zip(arrays, starts, strict=True)] for arrays in (volumes.x, volumes.y)
    )
    names = [name._replace(slices=name.slices[start:]) for name, start in zip(volumes.names, starts, strict=True)]
    weights = []
    for mask, last in zip(masks, part.x, strict=True):
        column = np.zeros((len(mask), 1, 1, 1), np.float32)
        column[-len(last) :] = len(mask) / len(last)
        weights.append(np.broadcast_to(column, mask.shape))
    return ImageSet(images, masks, names, volumes.mask_values), weights


def crop_image_set(images, crop_shape, *, overlap=0.0):
    """Cut images, masks and weights into crops that cover every pixel; crops are views and take no memory.

    Parameters
    ----------
    images : ImageSet
        Images of any size.
    crop_shape, overlap
        As `utils.images.crops.crop_grid`.

    Returns
    -------
    ImageSet
        One entry a crop, named after the image and the corner of the crop.
    """
    names = []
    for image, name in zip(images.x, images.names, strict=True):
        page = "" if name.page is None else f"_p{name.page:04d}"
        stem, suffix = os.path.splitext(name.file)
        for corner in crop_grid(image.shape, crop_shape, overlap):
            place = "".join(f"_{axis}{start:05d}" for axis, start in zip("zyx"[-len(corner) :], corner, strict=True))
            names.append(ImageName(f"{stem}{page}{place}{suffix}"))
    crops, masks, weights = (
        None if arrays is None else crop_images(arrays, crop_shape, overlap=overlap)
        for arrays in (images.x, images.y, images.weights)
    )
    return ImageSet(crops, masks, names, images.mask_values, weights)


def replicate(images, factor, *, seed):
    """Repeat training images or crops, or take a part of them; arrays are shared, so this takes no memory.

    Each repetition is augmented in its own way. For whole numbers, ``samples_per_array`` of the generators does the
    same and draws new random crops each time.

    Parameters
    ----------
    images : ImageSet
        The training data.
    factor : float
        Above 0: how often each image is taken. The fraction is a share of the images, drawn at random once: 1.5 takes
        all images and half of them again.
    seed : int
        Seed of that choice.

    Returns
    -------
    ImageSet
        In order; shuffle it in training.

    Examples
    --------
    >>> images = ImageSet(list("abcd"), list("ABCD"), [1, 2, 3, 4], (0, 1))
    >>> replicate(images, 2, seed=0).x
    ['a', 'b', 'c', 'd', 'a', 'b', 'c', 'd']
    >>> len(replicate(images, 1.5, seed=0))
    6
    """
    count = round(len(images) * factor) if 0 < factor < math.inf else 0
    if count < 1:
        raise ValueError(
            f"{factor} times {len(images)} training images leaves nothing to train on. Use a number above 0, e.g. 2 or "
            "1.5; 1 takes each once."
        )
    whole, rest = divmod(count, len(images))
    drawn = np.random.default_rng(seed).choice(len(images), rest, replace=False)
    return images.subset([*list(range(len(images))) * whole, *np.sort(drawn).tolist()])
