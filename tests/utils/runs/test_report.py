import base64
import csv
import json
import re
import shutil
from functools import partial
from html import unescape
from html.parser import HTMLParser
from types import SimpleNamespace
from urllib.parse import unquote

import cv2
import numpy as np
import pytest

from utils.files import write_csv, write_json
from utils.pictures.charts import draw_overlays
from utils.pictures.embedding import BUDGET, MAX_WIDTH, embedded
from utils.runs import report
from utils.runs.report import write_report

SETTINGS = {
    "CROP_SHAPE": [256, 256, 1],
    "LOSS": "bce <b>&</b> dice",
    "SCHEDULE": None,
    "LEARNING_RATE": 0.002,
    "BATCH_NORM": True,
}
ENVIRONMENT = {
    "git_commit": "57fee7b",
    "versions": {"python": "3.11.7", "keras": "3.15.1"},
    "device": "CPU (some <one>)",
    "start": "2026-01-01 10:00:00",
    "end": "2026-01-01 11:00:00",
    "seconds": 3600.0,
    "peak_memory_gib": 1.25,
}
LOG = """Run 400_0, 2026-01-01 09:00, in x

--- Training (7 s)
Run 400_0, 2026-01-01 10:00, in x

--- Training (90 s)
--- Evaluation (1800 s)
"""


def score(protocol, post, metric, value, **more):
    return {"protocol": protocol, "post": post, "metric": metric, "value": value, "n": 40, "label": "x"} | more


SCORES = [
    score("per_crop", "none", "loss", 0.12345),
    score("per_crop", "none", "foreground_iou", 0.71234, mean_per_image=0.61234, n_scored_images=39),
    score("per_image", "none", "foreground_iou", 0.81234, mean_per_image=None, n_scored_images=0),
    score("per_image", "<i>", "det", None),
]


def picture(path, *, width=20, colour=(10, 200, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((10, width, 3), colour, np.uint8))


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "results" / "400_0"
    write_json(
        folder / "settings.json",
        {
            "settings": SETTINGS,
            "set": ["loss=x"],
            "command": ["t/A_template.py", "a b", "--set", "loss=x"],
            "template": "templates/A_template.py",
            "seed": 43,
        },
    )
    write_json(folder / "environment.json", ENVIRONMENT)
    write_json(folder / "scores.json", SCORES)
    write_csv(folder / "history.csv", [{"epoch": n, "loss": 0.5, "seconds": 30 * n} for n in (1, 2, 3)])
    write_json(folder / "checkpoints" / "state.json", {"best_epoch": 2})
    (folder / "log.txt").write_text(LOG)
    for name in ("images/per_image/none/overlay.png", "images/per_crop/none/overlay.png", "images/a/b/overlay.png"):
        picture(folder / name)
    for name in ("charts/history.png", "charts/confusion.png", "checks/crops.png"):
        picture(folder / name)
    return folder


def cells(page):
    """Return the texts of all rows of all tables."""
    rows = re.findall(r"<tr.*?>(.*?)</tr>", page)
    return [[unescape(cell) for cell in re.findall(r"<t[dh].*?>(.*?)</t[dh]>", row)] for row in rows]


def test_every_score_stands_in_a_table(folder):
    rows = cells(write_report(folder).read_text(encoding="utf-8"))
    assert ["protocol", "post-processing", "loss", "foreground_iou", "det", "n"] in rows
    assert ["per_crop", "none", "0.1235", "0.7123", "–", "40"] in rows
    assert ["per_image", "none", "–", "0.8123", "–", "40"] in rows
    assert ["per_image", "<i>", "–", "–", "–", "40"] in rows
    assert ["per_crop", "none", "–", "0.6123 (39)", "–"] in rows
    assert ["per_image", "none", "–", "– (0)", "–"] in rows


def test_every_setting_time_and_version_stands_in_a_table(folder):
    page = write_report(folder).read_text(encoding="utf-8")
    rows = cells(page)
    for row in (
        ["CROP_SHAPE", "(256, 256, 1)"],
        ["LOSS", "'bce <b>&</b> dice'"],
        ["SCHEDULE", "None"],
        ["LEARNING_RATE", "0.002"],
        ["BATCH_NORM", "True"],
        ["versions: keras", "3.15.1"],
        ["device", "CPU (some <one>)"],
        ["peak_memory_gib", "1.25"],
        ["minutes, since the last start", "60.0"],
        ["epochs", "3"],
        ["seconds an epoch", "60.0"],
        ["minutes of training, all starts", "3.0"],
        ["best epoch", "2"],
        ["Training began after", "1.5 minutes"],
        ["Evaluation began after", "30.0 minutes"],
    ):
        assert row in rows
    assert sum(row[0] == "Training began after" for row in rows) == 1  # of the last start
    assert re.findall(r'<tr class="changed"><td>(\w+)', page) == ["LOSS"]
    assert "<pre>t/A_template.py &#x27;a b&#x27; --set loss=x</pre>" in page
    assert "A_template.py · CPU (some &lt;one&gt;) · 2026-01-01 10:00:00 · Finished" in page
    assert "Seed of this repetition: 43." in page


def test_pictures_are_within_the_page_curves_first_and_then_in_the_order_of_the_scores(folder):
    picture(folder / "checks" / "wide.png", width=3 * MAX_WIDTH, colour=(1, 2, 3))
    page = write_report(folder).read_text(encoding="utf-8")
    found = re.findall(r'<img alt="(.*?)" src="data:image/webp;base64,(.*?)">', page)
    assert [name for name, _ in found] == [
        "charts/history.png",
        "images/per_crop/none/overlay.png",
        "images/per_image/none/overlay.png",
        "images/a/b/overlay.png",
        "charts/confusion.png",
        "checks/crops.png",
        "checks/wide.png",
    ]
    pixels = [cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_COLOR) for _, text in found]
    assert all(np.abs(image - np.full((10, 20, 3), (10.0, 200, 30))).max() <= 3 for image in pixels[:-1])
    assert pixels[-1].shape == (3, MAX_WIDTH, 3) and np.abs(pixels[-1].astype(int) - (1, 2, 3)).max() <= 3


def test_curves_and_the_first_overlay_are_open_the_others_folded_under_their_names(folder):
    page = write_report(folder).read_text(encoding="utf-8")
    assert re.findall("<h2>(.*?)</h2>", page)[:3] == ["Curves", "Scores", "True, false and missed pixels"]
    assert re.findall(r"<details( open)?><summary>([^;]*?)</summary>\n<figure>", page) == [
        (" open", "history"),
        (" open", "per_crop, no post-processing"),
        ("", "per_image, no post-processing"),
        ("", "a, post-processing b"),
        ("", "confusion"),
        ("", "crops"),
    ]


def test_pictures_link_to_their_files(folder):
    picture(folder / "images" / "per image" / "a#b&c" / "overlay.png")
    page = write_report(folder).read_text(encoding="utf-8")
    links = [unquote(unescape(link)) for link in re.findall(r'<a href="(.*?)"><img', page)]
    assert len(links) == 7 and all((folder / link).is_file() for link in links)
    assert "images/per%20image/a%23b%26c/overlay.png" in page


def test_charts_keep_every_pixel(folder):
    chart = np.random.default_rng(0).integers(0, 2, (60, 80, 3), np.uint8) * 255
    cv2.imwrite(str(folder / "charts" / "history.png"), chart)
    page = write_report(folder).read_text(encoding="utf-8")
    text = re.search(r'charts/history.png" src="data:image/webp;base64,(.*?)"', page).group(1)
    assert np.array_equal(cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_COLOR), chart)


@pytest.fixture
def noisy_folder(folder):
    """Return a run of 12 protocols and post-processings with overlays of four images of 768x1024."""
    rng = np.random.default_rng(0)
    images = [cv2.GaussianBlur(rng.integers(0, 256, (768, 1024), np.uint8), (0, 0), 0.7)[..., None] for _ in range(4)]
    masks = [(cv2.GaussianBlur(image, (0, 0), 9) > 127)[..., None].astype(np.uint8) for image in images]
    overlay = folder / "images" / "per_crop" / "none" / "overlay.png"
    draw_overlays(overlay, images, masks, masks[::-1], titles="abcd")
    for number in range(9):
        (folder / "images" / "per_image" / f"post_{number}").mkdir()
        shutil.copy(overlay, folder / "images" / "per_image" / f"post_{number}" / "overlay.png")
    return folder


def test_a_page_of_noisy_images_stays_small(noisy_folder):
    page = write_report(noisy_folder).read_text(encoding="utf-8")
    assert page.count("<img") == 12 + 3
    assert BUDGET / 2 < len(page) < 2_000_000


def test_what_finds_no_room_is_a_link(noisy_folder, monkeypatch):
    monkeypatch.setattr(report, "embedded", partial(embedded, budget=300_000))
    page = write_report(noisy_folder).read_text(encoding="utf-8")
    assert 150_000 < len(page) < 320_000
    links = re.findall(r'<a href="([^"]*)">[^<]*</a> \(a file beside this page, which is full\)', page)
    assert links and all((noisy_folder / link).is_file() for link in links)
    assert page.count("<img") + len(links) == 12 + 3
    shown = re.findall('<img alt="(.*?)"', page)
    assert "charts/history.png" in shown and "images/per_crop/none/overlay.png" in shown


def test_the_page_needs_nothing_else_and_escapes_what_it_shows(folder):
    page = write_report(folder).read_text(encoding="utf-8")
    assert not re.findall(r"https?:|//[a-z]|<link|<script|@import|url\(", re.sub(r"base64,[^\"]*", "", page))
    assert re.findall(r'src="(.{5})', page) == ["data:"] * 6
    assert "<b>" not in page and "<i>" not in page and "<one>" not in page
    open_tags = []

    class Nesting(HTMLParser):
        def handle_starttag(self, tag, attributes):
            if tag not in ("meta", "img"):
                open_tags.append(tag)

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Nesting().feed(page)
    assert open_tags == []


def test_made_again_it_is_the_same_page(folder):
    first = write_report(folder).read_bytes()
    assert write_report(str(folder)).read_bytes() == first
    assert (
        folder.rename(folder.parents[1] / "400_0") and write_report(folder.parents[1] / "400_0").read_bytes() == first
    )


def test_other_files_give_another_page(folder):
    first = write_report(folder).read_bytes()
    write_csv(folder / "history.csv", [{"epoch": 1, "seconds": 12}])
    assert write_report(folder).read_bytes() != first


def test_an_unfinished_run_has_a_page_of_what_is_there(tmp_path):
    write_json(tmp_path / "settings.json", {"settings": {"EPOCHS": 3}, "set": [], "command": []})
    write_json(tmp_path / "environment.json", {"start": "now"})
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "Not finished" in page and ["EPOCHS", "3"] in cells(page)
    assert re.findall("<h2>(.*?)</h2>", page) == ["Times", "Environment", "Settings"]


def test_a_broken_picture_is_said_and_stops_nothing(folder):
    (folder / "charts" / "history.png").write_bytes(b"no picture")
    (folder / "checks" / "crops.png").write_bytes(b"")
    page = write_report(folder).read_text(encoding="utf-8")
    assert "charts/history.png cannot be read." in page and "checks/crops.png cannot be read." in page


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not the folder of a run: it has no settings.json. Give job_dir/results/<id>"):
        write_report(tmp_path)


def test_a_history_without_seconds_gives_no_times_of_epochs(folder):
    with (folder / "history.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["epoch", "loss"], [1, 0.5]])
    assert "seconds an epoch" not in write_report(folder).read_text(encoding="utf-8")


def test_settings_are_those_of_the_file(folder):
    names = [row[0] for row in cells(write_report(folder).read_text(encoding="utf-8")) if row[0] in SETTINGS]
    assert names == list(json.loads((folder / "settings.json").read_text())["settings"])


def test_every_run_ends_with_its_page(tmp_path, capsys):
    from utils.data.image_set import ImageSet
    from utils.images.image_files import ImageName
    from utils.runs.run import Run

    masks = [np.zeros((8, 12, 1), np.uint8) for _ in range(2)]
    masks[0][:, :6] = 1
    images = ImageSet([mask * 200 for mask in masks], masks, [ImageName("a.png"), ImageName("b.png")], (0, 255))
    args = {
        "id": "400",
        "rid": 0,
        "job_dir": tmp_path,
        "code_dir": tmp_path,
        "data_dir": ".",
        "set": ["EPOCHS=3"],
        "resume": False,
        "precision": "auto",
        "deterministic": False,
    }
    run = Run(SimpleNamespace(**args, dry_run=False), {"EPOCHS": 3, "NAME": "<x>"})
    run.section("Evaluation")
    run.evaluate("per_image", images, (mask.astype(np.float32) for mask in masks))
    run.finish()
    page = (run.folder / "report.html").read_bytes()
    assert f"Report: {run.folder / 'report.html'}" in capsys.readouterr().out
    text = page.decode("utf-8")
    assert "Finished" in text and ["EPOCHS", "3"] in cells(text) and "images/per_image/none/overlay.png" in text
    assert ["per_image", "none", *["1.0000"] * 5, "2"] in cells(text)
    assert ["Evaluation began after", "0.0 minutes"] in cells(text)
    assert write_report(run.folder).read_bytes() == page
