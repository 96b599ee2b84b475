"""The way that CONTRIBUTING.md shows leads to a network that trains, and the house finds it."""

import importlib.util
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import warm_process
from running import read_scores
from toy_pages import toy_settings

ROOT = Path(__file__).resolve().parents[1]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text()
BUILDER, IMPORT, CALL = re.findall(r"^```python\n(.*?)^```$", GUIDE, flags=re.MULTILINE | re.DOTALL)
ROW = re.search(r"^```markdown\n(.*?)^```$", GUIDE, flags=re.MULTILINE | re.DOTALL)[1]


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """Return a copy of the repository with the new builder and the new page."""
    copy = tmp_path_factory.mktemp("repository")
    for folder in ("generators", "networks", "study", "templates", "utils"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / builder_file()).write_text(BUILDER)
    page = (copy / "templates" / "U-Net_2D_template.py").read_text()
    for old, new in (("from networks.unet import U_Net_2D\n", IMPORT), ("model = U_Net_2D(\n", CALL)):
        assert page.count(old) == 1
        page = page.replace(old, new)
    (copy / page_file()).write_text(page)
    return copy


def builder_file():
    return re.search(r"`(networks/separable\w*\.py)`", GUIDE)[1]


def page_file():
    return re.search(r"\*\*The page\*\*, here `([^`]*)`", GUIDE)[1]


def test_the_new_network_trains_and_is_scored(repository, toy_data, tmp_path):
    page = repository / page_file()
    overrides = [word for name, value in toy_settings(page).items() for word in ("--set", f"{name}={value}")]
    command = [page, repository, toy_data, tmp_path, "--id", "new", "--gpu", "-1", *overrides]
    result = warm_process.run(command, cwd=tmp_path, env=os.environ | {"KERAS_BACKEND": "tensorflow"})
    assert result.returncode == 0, result.stderr
    assert np.isfinite(read_scores(tmp_path / "results" / "new_0")["Test Foreground IoU (full)"])


def test_the_house_finds_the_new_network(repository):
    spec = importlib.util.spec_from_file_location("copied_page_network", repository / "study" / "page_network.py")
    copied = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copied)
    builder = re.search(r"^def (\w+)\(", BUILDER, flags=re.MULTILINE)[1]
    module = builder_file().replace("/", ".").removesuffix(".py")
    assert copied.one_page_for_each_builder()[module, builder] == repository / page_file()


def test_the_number_of_parameters_is_that_of_the_new_network(repository):
    names = {}
    exec(compile(BUILDER, "CONTRIBUTING.md", "exec"), names)
    count = f"{names['Separable_U_Net_2D']((None, None, 1)).count_params():,}"
    assert f" {count} parameters" in BUILDER and f"| {count} |" in ROW and f"`{page_file()}`" in ROW


def test_files_that_are_named_exist():
    new = {builder_file(), page_file()}
    for name in re.findall(r"`((?:templates|networks|tests|docs|data_sets|sota_implementations)/[^`<]*)`", GUIDE):
        assert name in new or (ROOT / name).exists(), name
