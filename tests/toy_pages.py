"""Small settings for any template, from the variables that it has: no list of templates and their settings is kept."""

from importlib import import_module

from study.page_network import ROOT, one_page_for_each_builder, page_variables

LEVELS = 2
# Small values of variables, used where a page has the variable.
VALUES = {
    "DEPTH": LEVELS,
    "N_POOL": LEVELS,
    "N_LAYERS_PER_BLOCK": (1, 2, 2, 2, 1),
    "N_FILTERS_FIRST_CONV": 4,
    "GROWTH_RATE": 2,
    "FULLY_CONNECTED": 8,
    "MAX_FEATURE_MAPS": 8,
    "ENCODER_WEIGHTS": None,
    "DEEP_SUPERVISION": True,
    "DROP_ORDER": "published",
    "GATE": "decoder",
    "OPTIMIZER": "adamw",
    "LEARNING_RATE": 0.005,
    "SCHEDULE": "one_cycle",
    "EPOCHS": 1,
    "BATCH_SIZE": 4,
    "Z_DOWN": 1,
    "Z_FILTER_SIZE": 3,
    "ENSEMBLE": False,
    "FULL_VOLUME": True,
}
CROP_SHAPES = {2: (32, 32, 1), 3: (4, 16, 16, 1)}
# What a page needs beside this. nnU-Net: strides of 8 along y and 16 along x, so that the ensemble cannot turn crops.
# U-Net++: its encoder always has 24 million weights, of which adamw would keep two more copies.
EXCEPTIONS = {
    "nnU-Net_template.py": {"CROP_SHAPE": (40, 64, 1), "ENSEMBLE": True},
    "U-Net++_template.py": {"OPTIMIZER": "sgd"},
}


def n_axes(page):
    """Return 2 or 3."""
    return len(page_variables(page)["CROP_SHAPE"]) - 1


def pages_of_networks():
    """Return one page for each builder in networks/, by module and name of the builder."""
    return {key: page for key, page in one_page_for_each_builder().items() if key[0].startswith("networks.")}


def builders(axes):
    """Return the builders of networks in 2D or in 3D."""
    found = [key for key, page in pages_of_networks().items() if n_axes(page) == axes]
    return [getattr(import_module(module), name) for module, name in found]


def toy_settings(page):
    """Return settings with which a page runs in seconds."""
    variables = page_variables(page)
    settings = {"CROP_SHAPE": CROP_SHAPES[n_axes(page)]} | VALUES | {"FEATURE_MAPS": small_maps(variables)}
    for name in ("DROP_VALUES", "OUTPUT_WEIGHTS"):
        settings[name] = of_levels(variables, name)
    settings |= EXCEPTIONS.get(page.name, {})
    return {name: value for name, value in settings.items() if name in variables}


def small_maps(variables):
    """Return feature maps for the levels that are left; MultiResUNet needs 4 at least."""
    if isinstance(variables.get("FEATURE_MAPS"), tuple):
        return tuple(range(4, 4 + len(of_levels(variables, "FEATURE_MAPS"))))
    return 4


def of_levels(variables, name):
    """Return the first values of a variable that has one for each level."""
    values = variables.get(name, ())
    return values[: len(values) - max(0, variables.get("DEPTH", LEVELS) - LEVELS)]


def template_name(page):
    """Return the path inside ``templates/``."""
    return page.relative_to(ROOT / "templates").as_posix()
