"""The size of pixels that a tif states: ImageJ, OME, electron microscopes, resolution tags; and writing it."""

import tifffile

from utils.images.scale import UNITS_NM, make_scale

# ResolutionUnit in the tag of that name.
TAG_UNITS = {2: "inch", 3: "cm"}


def scale_of_tif(tif, series):
    """Return the scale of a series of an open tif.

    Parameters
    ----------
    tif : tifffile.TiffFile
        Open.
    series : tifffile.TiffPageSeries
        One of its images.

    Returns
    -------
    Scale or None
    """
    if tif.is_ome and series.kind == "ome":
        return _ome_scale(tif.ome_metadata, tif.series.index(series))
    return scale_of_page(tif, series.keyframe)


def scale_of_page(tif, page):
    """Return the scale of a page of an open tif that is no OME-TIFF.

    Parameters
    ----------
    tif : tifffile.TiffFile
        Open.
    page : tifffile.TiffPage
        One of its pages.

    Returns
    -------
    Scale or None
    """
    of_microscope = _microscope_scale(tif)
    if of_microscope is not None:
        return of_microscope
    pixel = [_pixel_length(page, f"{axis}Resolution") for axis in "YX"]
    if None in pixel:
        return None
    imagej = tif.imagej_metadata or {}
    unit = imagej.get("unit") or TAG_UNITS.get(int(page.tags.valueof("ResolutionUnit") or 1))
    # The unit of a resolution without ImageJ's is that of the tag: of a stack z has none then.
    sizes = (imagej.get("spacing") if imagej.get("unit") else None, *pixel)
    offset = [-imagej.get(f"{axis}origin", 0) * (size or 0) for axis, size in zip("zyx", sizes, strict=True)]
    return make_scale(sizes, unit, offset=offset)


def _pixel_length(page, tag):
    """Return the length of a pixel in the unit of a resolution tag ``(pixels, units)``."""
    pixels, units = page.tags.valueof(tag) or (0, 1)
    return units / pixels if pixels and units else None


def _microscope_scale(tif):
    """Return what FEI and Thermo Fisher, Zeiss, and Olympus (SIS) write in metres or with a unit."""
    if tif.is_fei:
        scan = tif.fei_metadata.get("Scan", {}) or tif.fei_metadata.get("EScan", {})
        return make_scale((scan.get("PixelHeight"), scan.get("PixelWidth")), "m")
    if tif.is_sem:
        _, size, unit = (
            tif.sem_metadata.get("ap_image_pixel_size") or tif.sem_metadata.get("ap_pixel_size") or (0,) * 3
        )[:3]
        return make_scale((size, size), unit)
    if tif.is_sis:
        found = tif.sis_metadata or {}
        return make_scale((found.get("pixelsizey"), found.get("pixelsizex")), "m")
    return None


def _ome_scale(xml, number):
    """Return the physical size of one of the images in an OME-XML."""
    images = tifffile.xml2dict(xml)["OME"]["Image"]
    pixels = (images if isinstance(images, list) else [images])[number]["Pixels"]
    sizes = [pixels.get(f"PhysicalSize{axis}") for axis in "ZYX"]
    units = [pixels.get(f"PhysicalSize{axis}Unit", "µm") for axis in "ZYX"]
    planes = pixels.get("Plane", {})
    first = planes[0] if isinstance(planes, list) else planes
    offset = [first.get(f"Position{axis}") for axis in "ZYX"]
    offset_units = [first.get(f"Position{axis}Unit") for axis in "ZYX"]
    return make_scale(sizes, units, offset=offset, offset_unit=offset_units)


def resolution_tags(scale, *, in_cm=False):
    """Return the options of ``tifffile.TiffWriter.write`` for the size of a pixel.

    Parameters
    ----------
    scale : Scale or None
        Of the image.
    in_cm : bool
        For a page without `imagej_description`, which would tell the unit.

    Returns
    -------
    dict
        Empty if the size is not known.
    """
    if scale is None:
        return {}
    unit_nm, unit = (UNITS_NM["cm"], tifffile.RESUNIT.CENTIMETER) if in_cm else (1, tifffile.RESUNIT.NONE)
    _, y, x = scale.voxel_size_nm
    return {"resolution": (unit_nm / x, unit_nm / y), "resolutionunit": unit}


def imagej_description(scale, *, slices, channels):
    """Return what ImageJ writes as the description of a tif: its axes, unit and spacing.

    Parameters
    ----------
    scale : Scale or None
        Of the image.
    slices, channels : int
        Pages along these axes, the channels of a slice one after another.

    Returns
    -------
    str
    """
    about = {"ImageJ": "1.54f", "images": slices * channels, "channels": channels, "slices": slices}
    about |= {"hyperstack": "true", "mode": "color" if channels > 1 else "grayscale", "loop": "false"}
    if scale is not None:
        z, y, x = scale.voxel_size_nm
        about |= {"unit": "nm"} | ({} if z is None else {"spacing": z})
        # ImageJ keeps the origin in pixels, of which a positive one is the place of 0.
        places = {
            f"{axis}origin": -place / size
            for axis, place, size in zip("zyx", scale.offset_nm, (z, y, x), strict=True)
            if size
        }
        about |= {name: place for name, place in places.items() if place}
    return "".join(f"{name}={value}\n" for name, value in about.items())
