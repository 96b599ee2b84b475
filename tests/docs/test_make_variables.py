"""Tests of the page that lists all variables."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("make_variables", ROOT / "docs" / "make_variables.py")
page_maker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(page_maker)

START = "# %% Experiment variables\n# --- Data\n"
REMEDY = "run: python docs/make_variables.py"


@pytest.fixture
def write_templates(tmp_path, monkeypatch):
    """Return a function that writes the variables of templates and gives their paths."""
    monkeypatch.setattr(page_maker, "ROOT", tmp_path)

    def write(**cells):
        paths = [tmp_path / "templates" / f"{name}_template.py" for name in cells]
        paths[0].parent.mkdir(exist_ok=True)
        for path, cell in zip(paths, cells.values(), strict=True):
            path.write_text(f"{START}{cell}\n\n# %% Imports\n")
        return paths

    return write


def test_the_committed_page_is_up_to_date():
    assert page_maker.PAGE.read_text() == page_maker.make_page(page_maker.template_files()), REMEDY


def test_every_meaning_is_needed_by_a_template():
    uncommented = {
        name
        for path in page_maker.template_files()
        for name, _, comment in page_maker.template_variables(path.read_text())
        if not comment
    }
    assert set(page_maker.MEANINGS) <= uncommented


def test_page_gives_meaning_values_defaults_and_templates(write_templates):
    crop = "# Crop\nCROP_SHAPE = (8, 8, 1)\n"
    paths = write_templates(
        a=f"{crop}# How often\nEPOCH_COUNT = 3\n# Two\n# lines\nRATE = 0.5",
        b=f"{crop}# How often\nEPOCH_COUNT = 3",
        c="# Crop\nCROP_SHAPE = (8, 8, 8, 1)\n# How long\nEPOCH_COUNT = 4\n\n# --- Network\nDEPTH = 2",
    )
    page = page_maker.make_page(paths)
    assert "## Data\n\n### CROP_SHAPE\n\n- Crop\n- Values: tuple of whole numbers\n" in page
    assert "- Default: `(8, 8, 1)`; `(8, 8, 8, 1)` in all 3D templates\n- In all templates\n" in page
    assert "- How often (*all 2D templates*)\n- How long (*all 3D templates*)\n- Values: whole number\n" in page
    assert "- Default: `3`; `4` in all 3D templates\n" in page
    assert "### RATE\n\n- Two lines\n- Values: number\n- Default: `0.5`\n- In a\n" in page
    assert "## Network\n\n### DEPTH\n\n- Number of poolings\n" in page


def test_variables_without_meaning_are_all_named(write_templates):
    paths = write_templates(a="CROP_SHAPE = (8, 8, 1)\nTHIS = 1", b="# Said\nTHIS = 1\nTHAT = 2")
    with pytest.raises(ValueError, match=r"3 problems in variables without.*CROP_SHAPE in a; THIS in a; THAT in b"):
        page_maker.make_page(paths)


@pytest.mark.parametrize(
    ("defaults", "meaning", "expected"),
    [
        (["True"], "", "True or False"),
        (["(1.0, 2.0)", "None"], "", "tuple of numbers, None"),
        (["None"], "", "None, or as the meaning says"),
        (["()"], "", "tuple"),
        (["'x'", "'y'"], "", "text"),
        (["1", "2.5"], "", "whole number, number"),
        (["0.0"], "as a fraction, for all axes or one each", "number, tuple with one for each axis or pooling"),
        (["(0, 0)"], "margin, for both axes or one each", "tuple of whole numbers"),
        (["'step'"], "None, one_cycle or step", "text, None"),
    ],
)
def test_values_follow_from_defaults_and_meaning(defaults, meaning, expected):
    assert page_maker.values_of(defaults, [meaning]) == expected


def test_the_briefest_list_of_templates_is_given():
    dimensions = {"a": 2, "b": 2, "c": 2, "d": 3}
    assert page_maker.where(["a", "b", "c", "d"], dimensions) == "all templates"
    assert page_maker.where(["d"], dimensions) == "all 3D templates"
    assert page_maker.where(["a", "b"], dimensions) == "a, b"
    long = {f"long_name_{number}": 2 for number in range(9)}
    assert page_maker.where(list(long)[1:], long) == "all templates but long_name_0"
    assert page_maker.where(list(long)[:2], long | {"d": 3}) == "long_name_0, long_name_1"
