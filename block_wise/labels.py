"""Instances of a volume of blocks: components are labelled block by block and joined across the borders.

The first pass labels the components of each block and writes the labels on its six faces. The second finds pairs of
components that touch across a border, an edge or a corner; joined pairs are instances, numbered by their first voxels
in raster order. The third writes the final labels. The result is that of
`utils.metrics.components.connected_components` on the whole mask without the small components.
"""

import itertools
import shutil
from functools import partial
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components as connected_nodes

from block_wise.job import read_result, run_stage, write_block
from block_wise.levels import add_levels
from block_wise.results import explain_write_errors, save_arrays
from utils.files import atomic_path
from utils.metrics.components import connected_components

SIDES = ("low", "high")


def label_blocks(job, workers, mask, *, min_voxels=0):
    """Give each connected foreground object of a mask a label of its own, across all blocks.

    Diagonal neighbours are connected. ``volumes/instances.csv`` lists the voxels of each.

    Parameters
    ----------
    job, workers
        As `block_wise.prediction.predict_blocks`.
    mask : Path
        From `block_wise.post_processing.mask_blocks`; foreground is what is not 0.
    min_voxels : int
        Objects with fewer voxels are removed, at least 0.

    Returns
    -------
    labels : Path
        OME-Zarr labels of the probability, ``(z, y, x)``, uint32: 0 background, instances 1, 2, ... by their first
        voxels in raster order.
    count : int
        Number of instances.
    """
    grid, markers, folder = job.grid, job.markers("components"), _folder(job)
    if not job.output("components").exists() and job.done("labels") != set(grid.blocks):
        for block in markers.done():  # finished labels remove them, but some labels are needed again
            markers.forget(block)
    for name in ("components", "labels"):
        job.create(name, np.uint32)
    run_stage(job, workers, "components", _label_block, Path(mask), title="Components", also=partial(_facts, job))
    counts = [markers.read(block)["count"] for block in grid.blocks]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    save_arrays(folder / "offsets.npy", offsets)
    run_stage(job, workers, "touching", _touching_pairs, title="Borders", also=partial(_pairs, job))
    table, sizes = _join(job, offsets, min_voxels)
    save_arrays(folder / "table.npy", table)
    run_stage(job, workers, "labels", _relabel_block, title="Labels")
    add_levels(job, workers, "labels", title="Labels")
    listing = job.folder / "volumes" / "instances.csv"
    with explain_write_errors(listing), atomic_path(listing) as temporary:
        rows = np.column_stack([np.arange(1, len(sizes) + 1), sizes])
        np.savetxt(temporary, rows, fmt="%d", delimiter=",", header="label,voxels", comments="")
    shutil.rmtree(job.output("components"), ignore_errors=True)
    return job.output("labels"), len(sizes)


def _label_block(job, block, mask):
    box = job.grid.box(block)
    labels = connected_components(read_result(job, mask.stem, box))
    numbers, firsts = np.unique(labels, return_index=True)
    firsts = firsts[numbers > 0]
    corner = [part.start for part in box]
    places = [index + start for index, start in zip(np.unravel_index(firsts, labels.shape), corner, strict=True)]
    faces = {}
    for axis, (side, end) in itertools.product(range(3), zip(SIDES, (0, -1), strict=True)):
        faces[f"{side}_{axis}"] = np.take(labels, end, axis).astype(np.uint32)
    facts = {"sizes": np.bincount(labels[labels > 0], minlength=len(firsts) + 1)[1:]}
    facts["firsts"] = np.ravel_multi_index(places, job.grid.shape).astype(np.int64)
    save_arrays(_facts(job, block), faces | facts)
    write_block(job, "components", block, labels.astype(np.uint32), content={"count": len(firsts)})


def _touching_pairs(job, block):
    """Write which components of a block touch which of the blocks before it along any axis."""
    found = [np.zeros((0, 2), np.int64)]
    for axis in range(3):
        if block[axis] == 0:
            continue
        ours = _face(job, block, "low", axis)
        theirs = _surrounding_faces(job, block, axis)
        rows, columns = ours.shape
        for row, column in itertools.product(range(3), range(3)):
            shifted = theirs[row : row + rows, column : column + columns]
            touching = (ours > 0) & (shifted > 0)
            found.append(np.unique(np.column_stack([shifted[touching], ours[touching]]), axis=0))
    save_arrays(_pairs(job, block), np.unique(np.concatenate(found), axis=0))
    job.markers("touching").mark(block)


def _surrounding_faces(job, block, axis):
    """Return the labels just before a block along an axis and one voxel more on each side, 0 beyond the volume."""
    along_rows, along_columns = (other for other in range(3) if other != axis)
    rows = []
    for row in (-1, 0, 1):
        pieces = []
        for column in (-1, 0, 1):
            neighbour = list(block)
            neighbour[axis] -= 1
            neighbour[along_rows] += row
            neighbour[along_columns] += column
            ends = [{-1: slice(-1, None), 0: slice(None), 1: slice(0, 1)}[step] for step in (row, column)]
            pieces.append(_face(job, tuple(neighbour), "high", axis)[tuple(ends)])
        rows.append(np.concatenate(pieces, axis=1))
    return np.concatenate(rows)


def _face(job, block, side, axis):
    """Return the labels on a face of a block, numbered through all blocks; zeros if there is no such block."""
    counts = [len(along.edges) - 1 for along in job.grid.axes]
    if any(not 0 <= number < count for number, count in zip(block, counts, strict=True)):
        # As wide as the neighbour would be, so that the pieces fit together.
        inside = [min(max(number, 0), count - 1) for number, count in zip(block, counts, strict=True)]
        box = job.grid.box(inside)
        return np.zeros([part.stop - part.start for number, part in enumerate(box) if number != axis], np.int64)
    offset = np.load(_folder(job) / "offsets.npy", mmap_mode="r")[np.ravel_multi_index(block, counts)]
    with np.load(_facts(job, block)) as facts:
        face = facts[f"{side}_{axis}"].astype(np.int64)
    return np.where(face > 0, face + offset, 0)


def _join(job, offsets, min_voxels):
    """Return the final label of each component of all blocks, 0 first, and the voxels of each instance."""
    total = int(offsets[-1])
    pairs, sizes, firsts = [np.zeros((0, 2), np.int64)], [], []
    for block in job.grid.blocks:
        pairs.append(np.load(_pairs(job, block)))
        with np.load(_facts(job, block)) as facts:
            sizes.append(facts["sizes"])
            firsts.append(facts["firsts"])
    pairs = np.concatenate(pairs)
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(total + 1, total + 1))
    n_objects, object_of = connected_nodes(graph, directed=False)
    voxels, first = np.zeros(n_objects, np.int64), np.full(n_objects, np.iinfo(np.int64).max)
    np.add.at(voxels, object_of[1:], np.concatenate(sizes))
    np.minimum.at(first, object_of[1:], np.concatenate(firsts))
    kept = np.flatnonzero(voxels >= max(1, min_voxels))
    kept = kept[np.argsort(first[kept])]
    label_of = np.zeros(n_objects, np.uint32)
    label_of[kept] = np.arange(1, len(kept) + 1)
    return label_of[object_of], voxels[kept]


def _relabel_block(job, block):
    counts = [len(along.edges) - 1 for along in job.grid.axes]
    first, end = np.load(_folder(job) / "offsets.npy", mmap_mode="r")[np.ravel_multi_index(block, counts) :][:2]
    table = np.load(_folder(job) / "table.npy", mmap_mode="r")[first + 1 : end + 1]
    table = np.concatenate([np.zeros(1, np.uint32), table])
    write_block(job, "labels", block, table[read_result(job, "components", job.grid.box(block))])


def _folder(job):
    return job.blocks_folder / "labels"


def _name(block):
    return "_".join(map(str, block))


def _pairs(job, block):
    return _folder(job) / f"pairs_{_name(block)}.npy"


def _facts(job, block):
    return _folder(job) / f"block_{_name(block)}.npz"
