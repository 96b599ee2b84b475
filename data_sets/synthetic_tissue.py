"""The tissue of the synthetic EM volumes, not yet imaged: cells with membranes, organelles and vesicles.

Everything is drawn from implicit fields in nm. So one description of the tissue serves FIB-SEM-like isotropic voxels,
ssTEM-like anisotropic voxels and small coarse toy volumes alike.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from data_sets.synthetic_cells import grow_cells

_MITOCHONDRION_RADIUS_NM = (75.0, 190.0)


@dataclass
class _Scene:
    """The volume under construction; fields are (z, y, x), ``coordinates`` is (3, z, y, x), lengths in nm.

    ``cells`` is (n, 8): centre, unit axis, half-length and radius of capsules, which are straight in the warped
    coordinates and so become bent neurites in the image. ``free`` is the distance to the nearest obstacle.
    """

    rng: np.random.Generator
    voxel: np.ndarray
    coordinates: np.ndarray
    cells: np.ndarray
    owner: np.ndarray
    neighbour: np.ndarray
    free: np.ndarray
    image: np.ndarray


def _smooth_noise(rng, shape, voxel, spacing_nm):
    """Return unit-variance float32 noise: random values on a lattice of ``spacing_nm``, joined by cubic B-splines."""
    weights = []
    for length, step in zip(shape, voxel, strict=True):
        position = np.arange(length) * step / max(spacing_nm, step) + rng.random()
        first = np.floor(position).astype(int)
        t = position - first
        matrix = np.zeros((length, first[-1] + 4), np.float32)
        spline = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
        for shift, weight in enumerate(spline):
            matrix[np.arange(length), first + shift] = weight / 6
        weights.append(matrix)
    lattice = rng.standard_normal([matrix.shape[1] for matrix in weights], dtype=np.float32)
    field = np.tensordot(weights[0], lattice, (1, 0))
    field = weights[1] @ field
    # 151/315 is the mean variance that one cubic B-spline axis leaves of white noise.
    return (field @ weights[2].T) / np.float32((151 / 315) ** 1.5)


def _warped_coordinates(rng, shape, voxel):
    """Return voxel positions in nm, (3, z, y, x) float32, displaced by smooth noise so that straight things bend."""
    axes = [np.arange(length, dtype=np.float32) * np.float32(step) for length, step in zip(shape, voxel, strict=True)]
    coordinates = np.stack(np.meshgrid(*axes, indexing="ij"))
    for amplitude, spacing in ((80.0, 500.0), (20.0, 180.0), (3.0, 60.0)):
        for axis in range(3):
            coordinates[axis] += np.float32(amplitude) * _smooth_noise(rng, shape, voxel, spacing)
    return coordinates


def _to_distance(level, voxel):
    """Turn a level function into a distance in nm near its zero by dividing by its gradient."""
    squared = np.float32(0)
    for axis in range(3):
        if level.shape[axis] > 1:
            squared = squared + np.gradient(level, np.float32(voxel[axis]), axis=axis) ** 2
    return level / np.clip(np.sqrt(squared), 0.5, 2.0)


def _ridge(distance, position, width, voxel):
    """Return a smooth line, 1 at ``position`` nm; lines thinner than a voxel widen and fade instead of aliasing."""
    wide = max(width, 0.5 * float(voxel[2]))
    return np.float32(np.sqrt(width / wide)) * np.exp(-(((distance - np.float32(position)) / np.float32(wide)) ** 2))


def _paint_cells(scene):
    """Paint cytoplasm with its texture, the two membranes with the space between, and postsynaptic densities."""
    rng, shape, voxel = scene.rng, scene.owner.shape, scene.voxel
    count = len(scene.cells)
    grey = rng.normal(178, 11, count)
    dark = rng.random(count) < 0.12
    grey[dark] = rng.uniform(132, 160, dark.sum())
    granular = rng.uniform(14, 40, count).astype(np.float32)
    image = grey.astype(np.float32)[scene.owner]
    for amplitude, spacing in ((7.0, 120.0), (8.0, 30.0), (9.0, 14.0)):
        image += np.float32(amplitude) * _smooth_noise(rng, shape, voxel, spacing)
    # Ribosomes, filaments and microtubules: sparse dark grains, more of them in some cells than in others.
    image -= granular[scene.owner] * np.maximum(_smooth_noise(rng, shape, voxel, 17.0) - 0.5, 0)

    distance = _to_distance(scene.free, voxel)
    space = np.clip(8 + 5 * _smooth_noise(rng, shape, voxel, 110.0), 2, 18)
    membrane = _ridge(distance - space, 0, 10.0, voxel)
    image -= 25 * _ridge(distance, 12.0, 22.0, voxel)
    image += membrane * (np.float32(62) - image)
    postsynaptic = (rng.random((count, count)) < 0.45)[scene.owner, scene.neighbour]
    patch = np.clip(2.5 * (_smooth_noise(rng, shape, voxel, 150.0) - 0.75), 0, 1) * postsynaptic
    image += 0.85 * patch * _ridge(np.maximum(distance - 14, 0), 0, 20.0, voxel) * (np.float32(55) - image)
    scene.image = image


def _pick_centre(scene, clearance):
    """Return the index of a voxel at least ``clearance`` nm from any membrane, or the best of a few hundred."""
    candidates = scene.rng.integers(0, scene.free.size, 300)
    room = scene.free.ravel()[candidates]
    good = np.flatnonzero(room > clearance)
    # Of a few that fit, the tightest: organelles then fill slim neurites instead of gathering in the big ones.
    best = good[:3][np.argmin(room[good[:3]])] if good.size else np.argmax(room)
    return np.unravel_index(candidates[best], scene.free.shape)


def _carve(scene, centre, radius, half_length, *, straying, clearance):
    """Shape a bent capsule inside the cell at ``centre``.

    Returns the box (slices), the level in nm (positive inside, one connected piece) and the position along the axis,
    or None where nothing is left of it.
    """
    rng = scene.rng
    axis = scene.cells[scene.owner[centre], 3:6] + straying * rng.standard_normal(3)
    frame = np.linalg.qr(np.column_stack([axis, rng.standard_normal((3, 2))]))[0].T.astype(np.float32)
    bend = np.float32(rng.uniform(-0.35, 0.35) / max(half_length, radius))
    flatness = np.float32(rng.uniform(1.0, 1.35))
    origin = scene.coordinates[(slice(None), *centre)][:, None, None, None]

    def evaluate(coordinates):
        along, side, up = np.tensordot(frame, coordinates - origin, 1)
        side = side - bend * along**2
        beyond = np.maximum(np.abs(along) - np.float32(half_length), 0)
        return np.float32(radius) - np.sqrt(beyond**2 + side**2 + (flatness * up) ** 2), along

    # The warp makes the extent hard to predict: a coarse look at the whole volume finds the box that holds it.
    strides = tuple(max(1, int(20 // step)) for step in scene.voxel)
    coarse = evaluate(scene.coordinates[(slice(None), *[slice(None, None, stride) for stride in strides])])[0] > -70
    box = tuple(
        slice(max(0, hit.min() - 1) * stride, (hit.max() + 2) * stride)
        for hit, stride in zip(np.nonzero(coarse), strides, strict=True)
    )
    level, along = evaluate(scene.coordinates[(slice(None), *box)])
    level += 4 * _smooth_noise(rng, level.shape, scene.voxel, 70.0)
    # Beyond the membrane the room keeps falling, so that the level stays a distance there too.
    free = scene.free[box]
    room = np.where(scene.owner[box] == scene.owner[centre], free, -np.abs(free)) - np.float32(clearance)
    # A rounded minimum avoids sharp edges where the capsule meets the cell membrane.
    blend = np.maximum(60 - np.abs(level - room), 0) / 60
    level = np.minimum(level, room) - blend**2 * np.float32(15)
    pieces, count = ndimage.label(level > 0)
    if not count:
        return None
    largest = np.bincount(pieces.ravel())[1:].argmax() + 1
    level = np.where((pieces > 0) & (pieces != largest), -level, level)
    return box, level, along


def _blend(scene, box, distance, value):
    """Lay ``value`` over the image where ``distance`` (nm) is positive, and keep later structures away from it."""
    cover = np.clip(distance / np.float32(scene.voxel[2]) + 0.5, 0, 1)
    scene.image[box] += cover * (value - scene.image[box])
    scene.free[box] = np.minimum(scene.free[box], -distance - 8)


def _paint_mitochondrion(scene, box, level, along):
    """Paint outer membrane, gap, inner membrane, matrix and cristae of one mitochondrion."""
    rng, voxel = scene.rng, scene.voxel
    distance = _to_distance(level, voxel)

    def noise(spacing):
        return _smooth_noise(rng, level.shape, voxel, spacing)

    value = np.float32(rng.uniform(100, 124)) + 7 * noise(14.0) + 5 * noise(60.0)
    # Cristae: lamellae across the axis whose phase wanders and which fade out in places, so no regular grating.
    period = max(rng.uniform(42, 62), 2.5 * float(voxel[2]))
    phase = along / np.float32(period) + rng.uniform(0.5, 0.9) * noise(90.0) + 0.15 * noise(30.0)
    from_lamella = np.abs(phase - np.round(phase)) * np.float32(period)
    present = np.clip(noise(55.0) + 0.6, 0, 1)
    value -= 52 * present * _ridge(from_lamella, 8.0, 7.0, voxel)
    # Some cristae are swollen and show their bright lumen.
    value += 60 * np.clip(noise(45.0) - 0.5, 0, 1) * _ridge(from_lamella, 0.0, 7.0, voxel)
    value += 20 * _ridge(distance, 16.0, 4.0, voxel) - 36 * _ridge(distance, 27.0, 6.0, voxel)
    value -= 50 * _ridge(distance, 4.0, 9.0, voxel)
    _blend(scene, box, distance, value)


def _place_mitochondria(scene, fraction):
    """Place mitochondria until their share of the voxels is near ``fraction``; return uint16 labels (z, y, x)."""
    labels = np.zeros(scene.owner.shape, np.uint16)
    target, filled, count, failures = fraction * labels.size, 0, 0, 0
    extent = np.array(labels.shape) * scene.voxel
    smallest = np.prod(np.minimum(extent, 110.0)) / np.prod(scene.voxel)
    while filled < 0.88 * target and failures < 60:
        # Each failure asks for less: a smaller body, less room around it and, as long as there is none, any size.
        shrink = 0.93 ** (failures % 20)
        low, high = _MITOCHONDRION_RADIUS_NM
        radius = max(low, shrink * low * (high / low) ** scene.rng.random())
        half_length = shrink * scene.rng.uniform(30, 700)
        centre = _pick_centre(scene, 0.8 * radius + 20)
        carved = _carve(scene, centre, radius, half_length, straying=0.2, clearance=24.0)
        size = np.count_nonzero(carved[1] > 0) if carved else 0
        allowed = target - filled + 0.2 * target * (1 if count else 1 + failures / 4)
        if size < min(smallest, 0.5 * target) / (1 + failures / 10) or size > allowed:
            failures += 1
            continue
        box, level, along = carved
        count, filled, failures = count + 1, filled + size, 0
        labels[box][level > 0] = count
        _paint_mitochondrion(scene, box, level, along)
    return labels


def _place_distractors(scene):
    """Paint lysosome-like dark bodies, pale vacuoles and endoplasmic reticulum, none of them mitochondria."""
    rng, voxel = scene.rng, scene.voxel
    extent_um = np.array(scene.owner.shape) * voxel / 1000
    # Bodies centred a little above or below a thin volume would show in it too, hence the added depth.
    volume = (extent_um[0] + 0.3) * extent_um[1] * extent_um[2]
    kinds = (
        (0.5, (50, 110), (0, 60), (66, 100), 20.0),
        (3.0, (35, 75), (0, 60), (160, 195), 85.0),
        (26.0, (13, 24), (40, 240), (120, 170), 85.0),
    )
    for density, radii, halves, greys, rim in kinds:
        for _ in range(rng.poisson(density * volume)):
            radius, half_length = rng.uniform(*radii), rng.uniform(*halves)
            centre = _pick_centre(scene, radius + 20)
            carved = _carve(scene, centre, radius, half_length, straying=0.6, clearance=18.0)
            if carved is None:
                continue
            distance = _to_distance(carved[1], voxel)
            texture = 7 * _smooth_noise(rng, distance.shape, voxel, 16.0)
            value = np.float32(rng.uniform(*greys)) + texture - np.float32(rim) * _ridge(distance, 5.0, 8.0, voxel)
            _blend(scene, carved[0], distance, value)


def _place_vesicles(scene):
    """Fill parts of some cells with synaptic vesicles: 40-50 nm spheres with a dark rim and a brighter core."""
    rng, voxel, shape = scene.rng, scene.voxel, scene.owner.shape
    extent = np.array(shape) * voxel
    pitch = 54.0
    lattice = np.stack(np.meshgrid(*[np.arange(-25, e + 25, pitch) for e in extent], indexing="ij"), -1).reshape(-1, 3)
    centres = lattice + rng.uniform(-15, 15, lattice.shape) + rng.uniform(-0.5, 0.5, 3) * pitch
    index = tuple(np.clip((centres / voxel).astype(int), 0, np.array(shape) - 1).T)
    terminal = rng.random(len(scene.cells)) < np.where(scene.cells[:, 7] > 270, 0.0, 0.55)
    crowd = _smooth_noise(rng, shape, voxel, 170.0)[index]
    keep = terminal[scene.owner[index]] & (crowd > -0.35) & (scene.free[index] > 30)
    for centre in centres[keep]:
        radius = rng.uniform(19, 25)
        low = np.maximum(((centre - radius - 20) / voxel).astype(int), 0)
        high = np.minimum(((centre + radius + 20) / voxel).astype(int) + 2, shape)
        if (high <= low).any():
            continue
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        offsets = [(np.arange(a, b) * v - c) ** 2 for a, b, v, c in zip(low, high, voxel, centre, strict=True)]
        away = np.sqrt(offsets[0][:, None, None] + offsets[1][:, None] + offsets[2]).astype(np.float32)
        scene.image[box] -= 75 * _ridge(away, radius - 8, 9.0, voxel)


def paint_tissue(rng, shape, *, voxel_size_nm, foreground_fraction):
    """Grow a piece of brain tissue and paint it as stained, without blur and noise.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    shape : tuple of int
        Voxels along (z, y, x).
    voxel_size_nm : numpy.ndarray
        float ``(3,)``: voxel size along (z, y, x) in nm.
    foreground_fraction : float
        Wanted share of mitochondria voxels, 0 to 0.5.

    Returns
    -------
    image : numpy.ndarray
        float32 ``(z, y, x)``: grey values, roughly 50 to 200; membranes are dark.
    labels : numpy.ndarray
        uint16 ``(z, y, x)``: 0 for background, 1..n for the mitochondria, each one face-connected piece.
    """
    coordinates = _warped_coordinates(rng, shape, voxel_size_nm)
    cells, owner, neighbour, margin = grow_cells(rng, coordinates)
    scene = _Scene(rng, voxel_size_nm, coordinates, cells, owner, neighbour, margin, np.empty(0, np.float32))
    _paint_cells(scene)
    labels = _place_mitochondria(scene, foreground_fraction)
    _place_distractors(scene)
    _place_vesicles(scene)
    return scene.image, labels
