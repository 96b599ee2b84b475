"""Tests of the notebook: it is what its script writes, its cells are those of the template, and it runs."""

import base64
import csv
import importlib.util
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import matplotlib as mpl
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image

from utils.data.image_set import ImageSet
from utils.files import TEMPORARY_PREFIX
from utils.template_text import template_variables

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("make_notebook", ROOT / "docs" / "make_notebook.py")
maker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(maker)
page = sys.modules["notebook_page"]

REMEDY = "run: python docs/make_notebook.py"
TINY = {"CROP_SHAPE": "(32, 32, 1)", "FEATURE_MAPS": "(4, 8, 16)", "DEPTH": "2", "DROP_VALUES": "(0.0, 0.0, 0.0)"}


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(maker.NOTEBOOK, as_version=4)


def code(notebook, start):
    """Return the one code cell that holds a text."""
    found = [cell for cell in notebook.cells if cell.cell_type == "code" and start in cell.source]
    assert len(found) == 1, f"{start}: {len(found)} cells"
    return found[0]


def test_the_committed_notebook_is_up_to_date_and_without_outputs(notebook):
    assert maker.NOTEBOOK.read_text(encoding="utf-8") == nbformat.writes(maker.make_notebook()) + "\n", REMEDY
    assert not [cell for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")]


def test_its_cells_are_the_template_but_for_values_that_say_what_they_were(notebook):
    template = maker.TEMPLATE.read_text()
    cells = re.split(r"^# %% (.+)\n", template, flags=re.MULTILINE)[1:]
    titles, bodies = cells[::2], [body.strip() for body in cells[1::2]]
    shown = [cell.source for cell in notebook.cells if cell.source.partition("\n")[0].removeprefix("# ") in titles]
    changed = re.compile(rf"^(\w+) = .*{maker.NOTE}(.*)$", flags=re.MULTILINE)
    assert [changed.sub(r"\1 = \2", source) for source in shown] == [
        f"# {title}\n{body}" for title, body in zip(titles, bodies, strict=True)
    ]
    notes = [match[1] for source in shown for match in changed.finditer(source)]
    assert sorted(notes) == sorted(maker.SHORT_TRAINING)


def test_its_short_training_and_its_data_are_those_of_make_demo():
    makefile = (ROOT / "Makefile").read_text()
    code_cells = "\n".join(text for kind, text in maker.PAGE if kind == "code")
    demo = re.findall(r'--set "?(\w+)=(\([^)]*\)|[\w.]+)', makefile)
    demo += re.findall(r"^(EPOCHS) \?= (\d+)", makefile, re.MULTILINE)
    texts = {"LOSS", "OPTIMIZER", "SCHEDULE"}
    evaluated = {name: value if name in texts else eval(value) for name, value in demo}
    assert evaluated == {name: eval(value) for name, value in maker.SHORT_TRAINING.items()}
    for size in ("n_train=24", "n_test=6", "train_volumes=12", "(512, 512)", "(15.0, 8.0, 8.0)"):
        assert size in makefile and size in code_cells


def test_a_template_with_other_cells_is_refused(monkeypatch, tmp_path):
    text = maker.TEMPLATE.read_text().replace("# %% Network", "# %% Architecture")
    monkeypatch.setattr(maker, "TEMPLATE", tmp_path / "changed.py")
    maker.TEMPLATE.write_text(text)
    with pytest.raises(ValueError, match="2 problems in cells of changed.py .* Architecture is .*; Network is in one"):
        maker.make_notebook()


def test_values_are_replaced_where_they_are_set_once():
    cell = "A = 1  # @param\nAB = 1\nB = (2,\n 3)"
    assert maker.with_values(cell, {"A": "(3, 4)"}) == "A = (3, 4)  # @param\nAB = 1\nB = (2,\n 3)"
    assert maker.with_values("A = 1", {"A": "2"}, note="  # was ") == "A = 2  # was 1"
    with pytest.raises(ValueError, match="sets C 0 times"):
        maker.with_values(cell, {"C": "1"})
    with pytest.raises(ValueError, match="sets A 2 times"):
        maker.with_values("A = 1\nA = 2", {"A": "1"})


def test_the_readme_opens_it_in_colab():
    assert page.BADGE in (ROOT / "README.md").read_text()
    assert page.COLAB_URL.endswith("/blob/main/templates/U-Net_2D_workflow.ipynb")


def in_ipython(folder, source, *, fails=False):
    """Run a cell, with its ! and %, in a folder; return what it printed."""
    (folder / "profile").mkdir(exist_ok=True)
    (folder / "cell.ipy").write_text(source)
    command = [sys.executable, "-m", "IPython", "--ipython-dir", folder / "profile", "--colors=nocolor", "cell.ipy"]
    answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert bool(answer.returncode) == fails, answer.stdout + answer.stderr
    return answer.stdout + answer.stderr


def test_outside_of_a_checkout_the_code_is_cloned_once(notebook, tmp_path):
    origin, here = tmp_path / "origin", tmp_path / "here"
    for folder in (origin / "docs", here / "within"):
        folder.mkdir(parents=True)
    (origin / "docs" / "make_notebook.py").touch()
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(origin)]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "a"]):
        subprocess.run([*git, *words], check=True)
    source = code(notebook, "git clone").source
    assert f'repository = "https://github.com/{page.REPOSITORY}"' in source
    source = re.sub('"https://.*"', f'"file://{origin}"', source)
    for _ in range(2):
        printed = in_ipython(here, source)
        assert f"The code is in {here / 'EM_Image_Segmentation'}" in printed and "fatal" not in printed
    assert (here / "EM_Image_Segmentation" / "docs" / "make_notebook.py").exists()
    assert f"The code is in {origin}" in in_ipython(origin / "docs", source)


def test_a_repository_with_other_code_or_none_is_said_in_one_sentence(notebook, tmp_path):
    source = re.sub('"https://.*"', f'"file://{tmp_path / "nowhere"}"', code(notebook, "git clone").source)
    printed = in_ipython(tmp_path, source, fails=True)
    [said] = [line for line in printed.splitlines() if line.startswith("RuntimeError: ")]
    assert f"{tmp_path / 'EM_Image_Segmentation'} holds no copy of the repository with this notebook: remove" in said
    assert said.endswith("put a copy of yours there.")


def test_colab_keeps_its_tensorflow_and_gets_what_is_missing(notebook, tmp_path):
    source = code(notebook, "%pip install").source
    start = f"import sys\nfrom pathlib import Path\ncode_dir = Path({str(ROOT)!r})\n"
    colab = "sys.modules['google.colab'] = sys\nget_ipython().register_magic_function(print, 'line', 'pip')\n"
    packages = re.findall(r"^([\w-]+)==", (ROOT / "env" / "requirements.txt").read_text(), flags=re.MULTILINE)
    assert packages[0] == "tensorflow-cpu" and len(packages) > 8
    assert in_ipython(tmp_path, start + colab + source).split() == ["install", "--quiet", "tensorflow", *packages[1:]]
    assert in_ipython(tmp_path, start + source) == ""


@pytest.mark.parametrize("name", ["demo", "lucchi", "own"])
def test_data_is_made_or_downloaded_or_the_users_own(name, notebook, toy_data, tmp_path, monkeypatch, capsys):
    made = []

    def make(folder):
        made.append(folder.name.removeprefix(TEMPORARY_PREFIX))
        shutil.copytree(toy_data, folder, dirs_exist_ok=True)

    monkeypatch.setattr("data_sets.synthetic_em.write_demo_data", lambda folder, **sizes: make(folder))
    monkeypatch.setattr("data_sets.data_preparation.prepare_data", lambda name, folder: make(folder))
    names = {"Path": Path, "FOLDER": str(tmp_path), "DATA": str(toy_data) if name == "own" else name}
    for _ in range(2):
        exec(code(notebook, "prepare_data(").source, names)
    assert made == ([] if name == "own" else [name])
    assert "train/x" in capsys.readouterr().out
    assert names["data_dir"] == (toy_data if name == "own" else tmp_path / "data" / name)


def test_demo_data_appear_complete_or_not_at_all(notebook, tmp_path, monkeypatch):
    def stopped(folder, **sizes):
        (folder / "train").mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr("data_sets.synthetic_em.write_demo_data", stopped)
    with pytest.raises(KeyboardInterrupt):
        exec(code(notebook, "prepare_data(").source, {"Path": Path, "FOLDER": str(tmp_path), "DATA": "demo"})
    assert list((tmp_path / "data").iterdir()) == []


def test_the_report_is_linked_and_colab_downloads_it(notebook, tmp_path, monkeypatch):
    source, shown, downloaded = code(notebook, "files.download").source, [], []
    names = {"sys": sys, "run": SimpleNamespace(folder=tmp_path), "display": shown.append, "FileLink": str}
    exec(source, names)
    assert shown == [str(tmp_path / "report.html")]
    colab = ModuleType("google.colab")
    colab.files = SimpleNamespace(download=downloaded.append)
    monkeypatch.setitem(sys.modules, "google", ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    exec(source, names)
    assert len(shown) == 1 and downloaded == [str(tmp_path / "report.html")]


@pytest.mark.parametrize(("with_truth", "n_classes", "titles"), [(True, 1, 4), (False, 1, 3), (True, 3, 4)])
def test_predictions_are_shown_beside_the_truth(with_truth, n_classes, titles, notebook, monkeypatch):
    mpl.use("agg")
    figures = []
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: figures.append(mpl.pyplot.gcf()))
    truth = np.zeros((8, 9, 1), np.uint8)
    truth[2:5] = max(1, n_classes - 1)
    probability = np.eye(n_classes)[truth[..., 0]] if n_classes > 1 else truth.astype(float)
    images = [np.full((8, 9, 1), 51, np.uint8)] * 2
    test = ImageSet(images, [truth] * 2 if with_truth else None, ["a.png", "b.png"], (0, 255))
    names = {"test": test, "N_CLASSES": n_classes, "INTENSITY_RANGE": None, "ENSEMBLE": with_truth}
    exec(code(notebook, "plt.show()").source, names | {"ensemble" if with_truth else "merged": [probability] * 2})
    assert len(figures) == 2
    panels = {panel.get_title(): panel.images[0].get_array() for panel in figures[0].axes}
    assert list(panels) == ["a.png", "probability", "prediction", "truth"][:titles]
    assert np.allclose(panels["a.png"], 0.2) and np.array_equal(panels["prediction"], truth[..., 0] > 0)
    assert np.array_equal(panels["probability"], truth[..., 0] > 0)


def printed(cell):
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def check_run(notebook, folder):
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert (folder / "report.html").stat().st_size > 10_000
    settings = json.loads((folder / "settings.json").read_text())["settings"]
    variables = [name for name, _, _ in template_variables(maker.TEMPLATE.read_text())]
    assert list(settings) == ["DATA", "FOLDER", "RUN_ID", *variables]
    assert settings["EPOCHS"] == 2 and settings["SCHEDULE"] == "one_cycle"


def check_progress(notebook, folder):
    cell = code(notebook, "# Training\n")
    bars = [output.data for output in cell.outputs if output.output_type == "display_data"]
    assert len(bars) == 1 and "application/vnd.jupyter.widget-view+json" in bars[0]
    assert len(re.findall(r"^epoch \d/2 .*val_foreground_iou", printed(cell), flags=re.MULTILINE)) == 2


def check_pictures(notebook, folder):
    counts = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                picture = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"])))
                assert min(picture.size) > 100 and len(picture.convert("L").getcolors()) > 20
                counts[cell.source.splitlines()[-1].strip()] = counts.get(cell.source.splitlines()[-1].strip(), 0) + 1
    assert counts == {
        'display(Image(run.checks / "data.png"))': 1,
        'display(Image(run.checks / "augmented_pairs.png"))': 1,
        'display(Image(run.charts / "history.png"))': 1,
        "plt.show()": 3,
        'display(Image(run.images / stage / "overlay.png"))': 1,
    }


def check_table(notebook, folder):
    table = re.findall(r"^(\w+) +(\w+) +([\d.]+) +([\d.]+)$", printed(code(notebook, "run.finish()")), re.MULTILINE)
    with (folder / "scores.csv").open(newline="") as file:
        rows = {(row["protocol"], row["post"], row["metric"]): float(row["value"]) for row in csv.DictReader(file)}
    assert len(table) == 11
    for protocol, post, *values in table:
        for metric, value in zip(("foreground_iou", "overall_iou"), values, strict=True):
            assert float(value) == pytest.approx(rows[protocol, post, metric], abs=5e-5)


def test_it_runs_from_top_to_bottom_on_demo_data(notebook, toy_data, tmp_path):
    # One test, because workers that share the tests of a module would each run the notebook.
    notebook, folder = nbformat.from_dict(notebook), tmp_path
    for start, values in (
        ("RUN_ID =", {"DATA": repr(str(toy_data)), "FOLDER": repr(str(folder))}),
        ("# Experiment variables", TINY | {"EPOCHS": "2"}),
    ):
        cell = code(notebook, start)
        cell.source = maker.with_values(cell.source, values)
    client = NotebookClient(notebook, timeout=1500, resources={"metadata": {"path": str(maker.NOTEBOOK.parent)}})
    client.execute()
    for check in (check_run, check_progress, check_pictures, check_table):
        check(notebook, folder / "results" / "workflow_0")
