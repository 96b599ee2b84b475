"""The size of pixels and voxels, and where an image lies: read from files, compared, and written again.

Lengths are in nanometres, in the order of the axes: ``(z, y, x)``. A length that a file does not state is None; nothing
is invented.
"""

import math
from typing import NamedTuple

# Names and abbreviations of units of length, in nanometres.
UNITS_NM = {
    **dict.fromkeys(("pm", "picometer", "picometre"), 1e-3),
    **dict.fromkeys(("a", "å", "angstrom", "ångström"), 0.1),
    **dict.fromkeys(("nm", "nanometer", "nanometre"), 1.0),
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer", "micrometre", "\\u00b5m"), 1e3),
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1e6),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 1e7),
    **dict.fromkeys(("inch", "in"), 2.54e7),
    **dict.fromkeys(("m", "meter", "metre"), 1e9),
}
# A larger pixel is that of a screen or a printer (96 or 300 dots per inch), not of a microscope.
LARGEST_PIXEL_NM = 1e4
# Sizes that differ by less are equal: files round them.
TOLERANCE = 0.01


class Scale(NamedTuple):
    """Size of a voxel, and the position of the first one.

    Attributes
    ----------
    voxel_size_nm : tuple of float or None
        ``(z, y, x)``; z is None for images.
    offset_nm : tuple of float
        ``(z, y, x)``.
    """

    voxel_size_nm: tuple
    offset_nm: tuple = (0.0, 0.0, 0.0)

    def __str__(self):
        return " x ".join(f"{size:g}" for size in self.voxel_size_nm if size is not None) + " nm"


def make_scale(sizes, unit, *, offset=None, offset_unit=None):
    """Return a scale of what a file states, or None if that is no size of a pixel.

    Parameters
    ----------
    sizes : sequence of float or None
        ``(z, y, x)`` or ``(y, x)``, in the unit.
    unit : str, float, None, or a sequence of these, one an axis
        Its name, or its length in nanometres.
    offset : sequence of float, optional
        Position of the first voxel, in as many axes.
    offset_unit : as ``unit``, optional
        None: that of the sizes.

    Returns
    -------
    Scale or None

    Examples
    --------
    >>> str(make_scale((0.03, 0.005, 0.005), "um")), make_scale((1, 1), "pixel"), make_scale((1 / 300, 1 / 300), "inch")
    ('30 x 5 x 5 nm', None, None)
    """
    sizes = _in_nanometres(sizes, unit)
    if not all(size is not None and 0 < size <= LARGEST_PIXEL_NM for size in sizes[1:]):
        return None
    z = sizes[0] if sizes[0] is not None and 0 < sizes[0] < math.inf else None
    offset = _in_nanometres(offset or (0,) * 3, offset_unit or unit)
    known = tuple(0.0 if place is None or not math.isfinite(place) else place for place in offset)
    return Scale((z, *sizes[1:]), known)


def _in_nanometres(lengths, unit):
    """Return ``(z, y, x)``; what has no unit becomes None."""
    units = unit if isinstance(unit, list | tuple) else [unit] * len(lengths)
    factors = [u if isinstance(u, int | float) else UNITS_NM.get(str(u).strip().lower()) for u in units]
    # Ten digits drop what the division by a resolution adds.
    known = [
        None if length is None or not factor else float(f"{float(length) * factor:.10g}")
        for length, factor in zip(lengths, factors, strict=True)
    ]
    return (*[None] * (3 - len(known)), *known)


def common_voxel_size(names, *, volumes):
    """Return the voxel size of images that are used together.

    Parameters
    ----------
    names : list of utils.images.image_files.ImageName
        They hold the scale of each image.
    volumes : bool
        Whether z counts.

    Returns
    -------
    voxel_size_nm : tuple of float or None
        ``(z, y, x)`` of volumes or ``(y, x)`` of images; None if a file does not state it or the files differ.
    note : str or None
        A sentence if they differ.
    """
    sizes = {name.scale.voxel_size_nm[0 if volumes else 1 :] if name.scale else None: name for name in names}
    stated = [size for size in sizes if size is not None and None not in size]
    if not stated:
        return None, None
    other = next((size for size in sizes if size is None or None in size or not close(size, stated[0])), stated[0])
    if other is stated[0]:
        return stated[0], None
    words = ["no size" if s is None or None in s else str(Scale(s)) for s in (stated[0], other)]
    return None, (
        f"The sizes of pixels differ, so none is used: {sizes[stated[0]]} states {words[0]}, {sizes[other]} "
        f"{words[1]}. VOXEL_SIZE_NM states one."
    )


def close(sizes, others, tolerance=TOLERANCE):
    """Tell whether sizes agree within a share of themselves, along every axis.

    Parameters
    ----------
    sizes, others : sequence of float
        Of as many axes.
    tolerance : float
        Share of the larger one.

    Returns
    -------
    bool
    """
    return all(abs(a - b) <= tolerance * max(a, b) for a, b in zip(sizes, others, strict=True))


def scale_of(voxel_size_nm):
    """Return the scale of a voxel size as users state it.

    Parameters
    ----------
    voxel_size_nm : float, tuple of float or None
        One number, ``(y, x)`` or ``(z, y, x)``.

    Returns
    -------
    Scale or None
        None of None.
    """
    if voxel_size_nm is None:
        return None
    sizes = (voxel_size_nm,) * 3 if isinstance(voxel_size_nm, int | float) else tuple(voxel_size_nm)
    return Scale((*[None] * (3 - len(sizes)), *sizes))
