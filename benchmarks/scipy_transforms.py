"""The transforms of the generators as a user would write them with scipy.ndimage and NumPy, for comparison.

Each takes a uint8 image ``(y, x)`` or volume ``(z, y, x)``, its mask and a generator, and returns a float32 sample and
a mask. Volumes are changed in the y-x plane unless a name says otherwise.
"""

import math

import numpy as np
from scipy import ndimage

LINEAR = {"order": 1, "mode": "reflect", "output": np.float32}
NEAREST = {"order": 0, "mode": "reflect"}


def through_matrix(image, mask, matrix, shift=0.0):
    """Resample through a matrix on (y, x) or (z, y, x), about the centre."""
    whole = np.eye(image.ndim)
    whole[-len(matrix) :, -len(matrix) :] = matrix
    centre = (np.array(image.shape) - 1) / 2
    offset = centre - whole @ centre
    offset[-len(matrix) :] += shift
    return tuple(
        ndimage.affine_transform(array, whole, offset, **options)
        for array, options in ((image, LINEAR), (mask, NEAREST))
    )


def turn(angle):
    return np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])


def rotated(image, mask, rng):
    return through_matrix(image, mask, turn(rng.uniform(-np.pi, np.pi)))


def rotated_in_space(image, mask, rng):
    matrix = np.eye(3)
    for axes in ((1, 2), (0, 2), (0, 1)):
        step = np.eye(3)
        step[np.ix_(axes, axes)] = turn(rng.uniform(-np.pi, np.pi))
        matrix = step @ matrix
    return through_matrix(image, mask, matrix)


def zoomed(image, mask, rng):
    return through_matrix(image, mask, rng.uniform(0.8, 1.2) * np.eye(2))


def sheared(image, mask, rng):
    return through_matrix(image, mask, np.array([[1, 0], [math.tan(math.radians(rng.uniform(-20, 20))), 1]]))


def shifted(image, mask, rng):
    return through_matrix(image, mask, np.eye(2), rng.uniform(-0.1, 0.1, 2) * image.shape[-2:])


def mirrored(image, mask, rng):
    axes = [axis for axis in (-2, -1) if rng.random() < 0.5]
    return np.flip(image, axes).astype(np.float32), np.flip(mask, axes).copy()


def turned_by_right_angles(image, mask, rng):
    turns = rng.integers(4)
    return np.rot90(image, turns, (-2, -1)).astype(np.float32), np.rot90(mask, turns, (-2, -1)).copy()


def elastic(image, mask, rng, n_axes=2):
    coordinates = np.indices(image.shape, np.float32)
    for axis in range(image.ndim - n_axes, image.ndim):
        noise = ndimage.gaussian_filter(rng.standard_normal(image.shape, dtype=np.float32), 10)
        coordinates[axis] += 2 / noise.std() * noise
    return tuple(
        ndimage.map_coordinates(array, coordinates, **options) for array, options in ((image, LINEAR), (mask, NEAREST))
    )


def elastic_in_space(image, mask, rng):
    return elastic(image, mask, rng, n_axes=3)


def misaligned(image, mask, rng):
    return _from_one_on(image, mask, rng, lambda part, options: ndimage.shift(part, _move(part, rng), **options))


def rotated_and_misaligned(image, mask, rng):
    return misaligned(*rotated(image, mask, rng), rng)


def _move(part, rng):
    angle = rng.uniform(-np.pi, np.pi)
    return (0, 16) if part.ndim == 2 else (0, round(16 * math.sin(angle)), round(16 * math.cos(angle)))


def misaligned_by_a_turn(image, mask, rng):
    axes, angle = (image.ndim - 1, image.ndim - 2), math.degrees(32 / math.hypot(*image.shape[-2:]))
    options = {"axes": axes, "reshape": False}
    return _from_one_on(image, mask, rng, lambda part, more: ndimage.rotate(part, angle, **options, **more))


def _from_one_on(image, mask, rng, change):
    """Change all rows of an image, or all sections of a volume, from a random one on."""
    sample, mask, first = image.astype(np.float32), mask.copy(), rng.integers(1, len(image))
    sample[first:], mask[first:] = change(image[first:], LINEAR), change(mask[first:], NEAREST)
    return sample, mask


def _in_plane(image, value, beside=0):
    return (beside,) * (image.ndim - 2) + (value, value)


def blurred(image, mask, rng):
    return ndimage.gaussian_filter(image, _in_plane(image, 1.5), output=np.float32), mask.copy()


def median(image, mask, rng, size=5):
    return ndimage.median_filter(image.astype(np.float32), _in_plane(image, size, 1), mode="nearest"), mask.copy()


def median_7(image, mask, rng):
    return median(image, mask, rng, 7)


def in_motion(image, mask, rng):
    angle, kernel = rng.uniform(0, np.pi), np.zeros((7, 7), np.float32)
    for step in range(-3, 4):
        kernel[round(3 + step * math.sin(angle)), round(3 + step * math.cos(angle))] += 1 / 7
    kernel = kernel.reshape((1,) * (image.ndim - 2) + (7, 7))
    return ndimage.convolve(image.astype(np.float32), kernel, mode="reflect"), mask.copy()


def brightened(image, mask, rng):
    return np.clip(image * np.float32(rng.uniform(0.8, 1.2)), 0, 255), mask.copy()


def contrasted(image, mask, rng):
    mean = np.float32(image.mean())
    return np.clip((image - mean) * np.float32(rng.uniform(0.8, 1.2)) + mean, 0, 255), mask.copy()


def with_gamma(image, mask, rng):
    return np.power(image / np.float32(255), np.float32(rng.uniform(0.8, 1.25))) * np.float32(255), mask.copy()


def noisy(image, mask, rng):
    return np.clip(image + rng.normal(0, 25.5, image.shape).astype(np.float32), 0, 255), mask.copy()


def with_dropout(image, mask, rng):
    return np.where(rng.random(image.shape) < 0.1, np.float32(0), image), mask.copy()


def _box(image, rng):
    sides = [round(0.3 * size) for size in image.shape]
    corner = [rng.integers(size - side + 1) for size, side in zip(image.shape, sides, strict=True)]
    return tuple(slice(start, start + side) for start, side in zip(corner, sides, strict=True))


def cut_out(image, mask, rng):
    sample = image.astype(np.float32)
    sample[_box(image, rng)] = 0
    return sample, mask.copy()


def cut_blurred(image, mask, rng):
    sample, box = image.astype(np.float32), _box(image, rng)
    part = sample[box]
    small = ndimage.zoom(ndimage.uniform_filter(part, _in_plane(part, 4, 1)), _in_plane(part, 1 / 4, 1), order=1)
    factors = np.array(part.shape) / small.shape
    sample[box] = ndimage.zoom(small, factors, order=0, mode="nearest", grid_mode=True)
    return sample, mask.copy()


def cut_mixed(image, mask, rng):
    sample, mixed, box, other = image.astype(np.float32), mask.copy(), _box(image, rng), _box(image, rng)
    sample[box], mixed[box] = image[other], mask[other]
    return sample, mixed


def cut_noisy(image, mask, rng):
    sample, box = image.astype(np.float32), _box(image, rng)
    sample[box] = np.clip(sample[box] + rng.uniform(-38, 38, sample[box].shape), 0, 255)
    return sample, mask.copy()


def with_missing_sections(image, mask, rng):
    sample = image.astype(np.float32)
    if image.ndim == 3:
        sample[rng.choice(len(image), 3, replace=False)] = 0
        return sample, mask.copy()
    y, x = np.indices(image.shape)
    (height, width), (first, second) = image.shape, rng.random(2) * image.shape[0]
    sample[np.abs(y - first - (second - first) * x / width) < 0.05 * height] = 0
    return sample, mask.copy()
