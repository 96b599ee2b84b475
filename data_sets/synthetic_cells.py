"""The cells of the synthetic tissue: capsules scattered in a box, and the cell that each voxel belongs to."""

import numpy as np

# Radius range, half-length range (nm) and share of the tissue volume of the neurites: big dendrites and somata,
# ordinary dendrites and boutons, thin axons. The thin ones come last and fill the gaps.
_NEURITE_CLASSES = (
    ((280.0, 460.0), (200.0, 1200.0), 0.22),
    ((140.0, 230.0), (200.0, 900.0), 0.34),
    ((45.0, 105.0), (300.0, 1200.0), 0.70),
)
_PADDING_NM = 350.0
# Voxels whose distances are computed at once.
_BLOCK = (16, 32, 32)


def _cell_distances(points, cells):
    """Distance in nm from points (3, n) to the surfaces of cells (k, 8): (k, n) float32, negative inside."""
    # Distances are taken relative to the first point, which keeps the float32 differences of squares accurate.
    relative = points - points[:, :1]
    centre = (cells[:, :3] - points[:, 0]).astype(np.float32)
    axis, half, radius = np.split(cells[:, 3:].astype(np.float32), [3, 4], axis=1)
    squared = (relative**2).sum(0) - 2 * (centre @ relative) + (centre**2).sum(1)[:, None]
    along = axis @ relative - (axis * centre).sum(1)[:, None]
    foot = np.clip(along, -half, half)
    squared += foot * (foot - 2 * along)
    return np.sqrt(np.maximum(squared, 0)) - radius


def _overlap(proposals, cells, low, high):
    """Return which proposals (m, 8) reach into cells (n, 8), and the share of the axis of each in the box."""
    centre, axis, half, radius = np.split(proposals, [3, 6, 7], axis=1)
    samples = centre[:, None] + np.linspace(-1, 1, 7)[:, None] * (half * axis)[:, None]
    inside = ((samples > low) & (samples < high)).all(2)
    if not len(cells):
        return np.zeros(len(proposals), bool), inside.mean(1)
    gap = _cell_distances(samples.reshape(-1, 3).T.astype(np.float32), cells).min(0).reshape(inside.shape)
    return (inside & (gap < 0.8 * radius)).any(1), inside.mean(1)


def _throw_cells(rng, low, high):
    """Scatter capsules of mixed sizes in the box ``low`` .. ``high`` (nm); they overlap little and leave few gaps."""
    cells = np.empty((0, 8))
    for radii, halves, share in _NEURITE_CLASSES:
        wanted = share * np.prod(high - low)
        tries = int(40 + 15 * wanted / (np.pi * np.mean(radii) ** 2 * 2 * np.mean(halves)))
        axis = rng.standard_normal((tries, 3))
        axis /= np.linalg.norm(axis, axis=1, keepdims=True)
        sizes = rng.uniform(*np.transpose([halves, radii]), (tries, 2))
        proposals = np.hstack([rng.uniform(low, high, (tries, 3)), axis, sizes])
        for batch in np.array_split(proposals, tries // 200 + 1):
            # Most proposals collide with earlier cells, which is tested for the whole batch at once.
            fresh = cells[:0]
            for proposal in batch[~_overlap(batch, cells, low, high)[0]]:
                overlaps, within = _overlap(proposal[None], fresh, low, high)
                if wanted > 0 and not overlaps[0]:
                    fresh = np.vstack([fresh, proposal])
                    wanted -= 2 * np.pi * proposal[6] * proposal[7] ** 2 * within[0]
            cells = np.vstack([cells, fresh])
    return cells


def _partition(coordinates, cells):
    """Return owner, runner-up (int32) and half the difference of their distances (float32, nm) for each voxel."""
    shape = coordinates.shape[1:]
    owner, neighbour = np.empty(shape, np.int32), np.empty(shape, np.int32)
    margin = np.empty(shape, np.float32)
    for corner in np.ndindex(*[-(-length // step) for length, step in zip(shape, _BLOCK, strict=True)]):
        box = tuple(slice(c * step, (c + 1) * step) for c, step in zip(corner, _BLOCK, strict=True))
        points = coordinates[(slice(None), *box)]
        block_shape = points.shape[1:]
        points = points.reshape(3, -1)
        middle = points.mean(1, keepdims=True)
        reach = np.sqrt(((points - middle) ** 2).sum(0).max())
        # A distance changes by at most the distance moved, so cells beyond this bound cannot be first or second.
        central = _cell_distances(middle, cells)[:, 0]
        chosen = np.flatnonzero(central <= np.partition(central, 1)[1] + 2 * reach)
        distances = _cell_distances(points, cells[chosen])
        column = np.arange(points.shape[1])
        first = distances.argmin(0)
        nearest = distances[first, column]
        distances[first, column] = np.inf
        second = distances.argmin(0)
        owner[box] = chosen[first].reshape(block_shape)
        neighbour[box] = chosen[second].reshape(block_shape)
        margin[box] = ((distances[second, column] - nearest) / 2).reshape(block_shape)
    return owner, neighbour, margin


def grow_cells(rng, coordinates):
    """Fill the space of a volume with cells of mixed sizes, mostly thin neurites.

    Parameters
    ----------
    rng : numpy.random.Generator
        The only source of randomness.
    coordinates : numpy.ndarray
        float32 ``(3, z, y, x)``: position of each voxel in nm, along (z, y, x).

    Returns
    -------
    cells : numpy.ndarray
        float ``(n, 8)``: centre, unit axis, half-length and radius of each cell, a capsule; lengths in nm.
    owner, neighbour : numpy.ndarray
        int32 ``(z, y, x)``: the cell nearest to each voxel, and the second nearest.
    margin : numpy.ndarray
        float32 ``(z, y, x)``: distance in nm to the border between the two.
    """
    low = coordinates.min((1, 2, 3)).astype(float) - _PADDING_NM
    high = coordinates.max((1, 2, 3)).astype(float) + _PADDING_NM
    cells = _throw_cells(rng, low, high)
    return cells, *_partition(coordinates, cells)
