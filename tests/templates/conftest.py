"""Data for several files of tests of the templates."""

import pytest
import tifffile


@pytest.fixture(scope="session")
def volume_slices(tmp_path_factory):
    """Return a data folder with 12 training and 5 test slices of 33 x 37 as two multi-page tifs."""
    from test_3d_templates import make_volume

    data = tmp_path_factory.mktemp("volumes")
    for seed, (part, depth) in enumerate({"train": 12, "test": 5}.items()):
        for kind, array in zip("xy", make_volume((depth, 33, 37), seed), strict=True):
            (data / part / kind).mkdir(parents=True)
            tifffile.imwrite(data / part / kind / "volume.tif", array, imagej=True, metadata={"axes": "ZYX"})
    return data
