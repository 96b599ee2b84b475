"""Tests of the documentation: it builds without a warning, its links lead somewhere, and nothing is left out."""

import ast
import doctest
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
import warm_process
from PIL import Image

from utils.template_text import template_variables

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
FIGURES = ("architectures_2d.png", "architectures_3d.png", "crops.png", "predictions.png")


class Page(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors = set(), set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.anchors |= {attributes[name] for name in ("id", "name") if attributes.get(name)}
        wanted = attributes.get("href") if tag == "a" else attributes.get("src") if tag == "img" else None
        self.links |= {wanted} if wanted else set()


@pytest.fixture
def site_pages():
    """Return docs/site_pages.py as a module."""
    sys.path.insert(0, str(DOCS))
    import site_pages

    sys.path.remove(str(DOCS))
    return site_pages


def test_the_site_builds_without_warnings_and_is_complete(tmp_path, site_pages):
    # One test, because workers that share the tests of a module would each build the site.
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", tmp_path / "trees", DOCS]
    answer = subprocess.run([*command, tmp_path / "site"], capture_output=True, text=True, timeout=1500, check=False)
    assert answer.returncode == 0, answer.stderr[-5000:]
    pages = {path: Page(path) for path in sorted((tmp_path / "site").rglob("*.html"))}
    assert len(pages) > 100
    assert not broken_links(pages)
    for template in site_pages.template_files():
        name = f"{site_pages.page_name(template)}.html"
        text = (tmp_path / "site" / "generated" / "templates" / name).read_text(encoding="utf-8")
        assert template.relative_to(ROOT).as_posix() in text
        variables = template_variables(template.read_text())
        assert variables and not [name for name, _, _ in variables if name not in text]
    anchors = set().union(*(page.anchors for page in pages.values()))
    assert not public_names(site_pages) - anchors


def broken_links(pages):
    broken = []
    for path, page in pages.items():
        for link in page.links:
            if re.match(r"\w+:", link):
                continue
            address, anchor = urldefrag(link)
            target = (path.parent / unquote(address)).resolve() if address else path
            if not target.exists():
                broken.append(f"{path.name}: {link}")
            elif anchor and target in pages and unquote(anchor) not in pages[target].anchors:
                broken.append(f"{path.name}: no place {link}")
    return broken


def public_names(site_pages):
    names = set()
    for module in site_pages.modules():
        tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())
        found = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        names |= {f"{module}.{name}" for name in found if not name.startswith("_")}
    return names


def test_every_package_has_its_modules_in_the_reference(site_pages):
    listed = site_pages.modules()
    for package in site_pages.PACKAGES:
        assert [module for module in listed if module.startswith(f"{package}.")]


def test_errors_that_are_explained_are_those_of_the_code(site_pages):
    quoted = re.findall(r"\*\*`(.+?)`\*\*", (DOCS / "troubleshooting.md").read_text())
    source = "\n".join(path.read_text() for package in site_pages.PACKAGES for path in (ROOT / package).rglob("*.py"))
    words = {word for text in quoted for word in re.findall(r"[a-z]{4,}", text)} - {"many", "wanted"}
    assert len(quoted) > 8 and not {word for word in words if word not in source}


def test_the_ten_answers_of_the_house_name_what_is_there_in_two_files_at_most():
    text = (DOCS / "house.md").read_text()
    places = set(re.findall(r"`(\w+/[\w./-]*)`", text)) - {"checkpoints/best.weights.h5"}
    assert len(places) > 20 and not [place for place in places if not (ROOT / place).exists()]
    answers = re.split(r"^\*\*.+?\?\*\*", text, flags=re.MULTILINE)[1:]
    assert len(answers) == 10
    for answer in answers:
        files = set(re.findall(r"`([\w/-]+\.py)`", answer))
        assert 1 <= len(files) <= 2
        source = "".join((ROOT / file).read_text() for file in files)
        assert not [name for name in re.findall(r"`(?:\w+\.)?(\w+)`", answer) if name not in source]


def test_figures_are_small_and_their_scripts_are_here():
    for name in FIGURES:
        assert (DOCS / "figures" / name).stat().st_size < 300_000
        assert name in "".join(path.read_text() for path in (DOCS / "figures").glob("draw_*.py"))


def test_the_picture_of_crops_is_what_its_script_draws(tmp_path):
    answer = warm_process.run([DOCS / "figures" / "draw_crops.py", tmp_path / "drawn.png"], cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr[-3000:]
    drawn, published = Image.open(tmp_path / "drawn.png"), Image.open(DOCS / "figures" / "crops.png")
    assert drawn.size == published.size and len(drawn.convert("RGB").getcolors(1 << 20)) > 100


def test_the_pictures_of_architectures_are_drawn_from_the_builders(tmp_path):
    answer = warm_process.run([DOCS / "figures" / "draw_architectures.py", tmp_path], cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr[-3000:]
    for name in FIGURES[:2]:
        assert Image.open(tmp_path / name).size == Image.open(DOCS / "figures" / name).size


def test_predictions_are_drawn_from_the_folder_of_a_run(tmp_path):
    from data_sets.synthetic_em import write_demo_data

    data = write_demo_data(tmp_path / "data", n_train=1, n_test=1, image_shape=(300, 300))
    run = tmp_path / "run"
    command = [DOCS / "figures" / "draw_predictions.py", run, data, tmp_path / "drawn.png"]
    answer = warm_process.run(command, cwd=tmp_path)
    assert answer.returncode != 0 and "Run make demo first" in answer.stderr
    lines = ["protocol,post,metric,value"]
    for stage in ("per_image/none", "per_image/blending", "per_image/blending_z_filter", "overlap_50/ensemble") + (
        "full_image/none",
        "full_image/ensemble",
    ):
        lines.append(f"{stage.replace('/', ',')},foreground_iou,1.0")
        for kind in ("binary", "probability"):
            (run / "images" / stage / kind).mkdir(parents=True)
            shutil.copy(data / "test" / "y" / "y_0000.png", run / "images" / stage / kind)
    (run / "scores.csv").write_text("\n".join(lines))
    answer = warm_process.run(command, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr[-3000:]
    assert Image.open(tmp_path / "drawn.png").size == Image.open(DOCS / "figures" / "predictions.png").size


def test_the_site_is_built_elsewhere_as_here():
    settings = (ROOT / ".readthedocs.yaml").read_text()
    assert "env/requirements-docs.txt" in settings and "fail_on_warning: true" in settings
    assert "-r requirements-docs.txt" in (ROOT / "env" / "requirements-test.txt").read_text()
    assert "sphinx -W" in (ROOT / "Makefile").read_text()


def test_generated_pages_follow_the_code(site_pages, tmp_path):
    old = tmp_path / "templates" / "gone.md"
    old.parent.mkdir()
    old.write_text("# Gone")
    site_pages.write_pages(tmp_path)
    assert not old.exists()
    page = tmp_path / "templates" / "U-Net_2D.md"
    text, written = page.read_text(), os.stat(page).st_mtime_ns
    assert text.startswith("# U-Net_2D\n") and r"job\_dir/results/\<id\>\_\<rid\>/" in text
    assert (
        "| `EPOCHS` | `360` |" in text
        and "| `DROP_VALUES` | `(0.1, 0.1, 0.2, 0.2, 0.3)` | Dropout of each level" in text
    )
    assert "automodule:: utils.images.crops" in (tmp_path / "api" / "utils.images.crops.rst").read_text()
    site_pages.write_pages(tmp_path)
    assert os.stat(page).st_mtime_ns == written
    assert doctest.testmod(site_pages).failed == 0
