"""The page of a run: settings, scores, overlays, curves, times and environment in one html file."""

import base64
import re
import shlex
from html import escape
from pathlib import Path

import cv2
import numpy as np

from utils.files import write_text
from utils.runs.record import LOG_NAME, RunRecord

REPORT_NAME = "report.html"
# Wider pictures are shrunk, so that you can send the page by mail; the originals stay in the folder.
MAX_WIDTH = 1400
# Lines and letters stay sharp, and the page is a few megabytes smaller than with png.
JPEG_QUALITY = 85
NO_VALUE = "–"
STYLE = """
:root { color-scheme: light dark; --text: #222; --back: #fff; --soft: #f2f3f5; --line: #d5d8dc; --faint: #667; }
@media (prefers-color-scheme: dark) {
  :root { --text: #ddd; --back: #17191c; --soft: #23272c; --line: #3a4048; --faint: #9aa3ad; }
}
body { color: var(--text); background: var(--back); font: 15px/1.5 system-ui, sans-serif; margin: 0 auto;
  max-width: 1200px; padding: 1rem 1.5rem 4rem; }
h1 { margin-bottom: 0; } h2 { border-bottom: 1px solid var(--line); margin-top: 2.5rem; }
.faint, figcaption { color: var(--faint); font-size: 0.9em; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: 0.2rem 0.8rem 0.2rem 0.3rem; text-align: left;
  vertical-align: top; }
th { background: var(--soft); } td.number { text-align: right; } tr.changed td { font-weight: 600; }
pre { background: var(--soft); overflow-x: auto; padding: 0.7rem; white-space: pre-wrap; }
figure { margin: 1rem 0; } img { background: #fff; height: auto; max-width: 100%; }
summary { cursor: pointer; }
"""


def write_report(folder):
    """Write ``report.html`` into the folder of a run, from the files of that folder alone.

    A part whose files are missing is left out, so unfinished runs have a page too. The same files give the same page,
    byte for byte.

    Parameters
    ----------
    folder : str or Path
        ``job_dir/results/<id>_<rid>``.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    ValueError
        If the folder is not that of a run.
    """
    record = RunRecord(Path(folder).resolve())
    record.check()
    folder = record.folder
    overlays = sorted(folder.glob("images/*/*/overlay.png"), key=_order_of_scores(record.scores))
    charts = sorted(folder.glob("charts/*.png"), key=lambda path: (path.name != "history.png", path.name))
    parts = [
        _heading(record),
        _section("Scores", _scores(record.scores)),
        _section("True, false and missed pixels", _pictures(overlays, folder)),
        _section("Curves", _pictures(charts, folder)),
        _section("What was trained on", _pictures(sorted(folder.glob("checks/*.png")), folder)),
        _section("Times", _times(record)),
        _section("Environment", _table(("", "value"), _flat(record.environment))),
        _section("Settings", _settings(record)),
    ]
    title = escape(f"Run {record.name}")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    body = "\n".join(part for part in parts if part)
    page = f'<!DOCTYPE html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head><body>\n{body}\n</body></html>\n'
    write_text(folder / REPORT_NAME, page)
    return folder / REPORT_NAME


def _order_of_scores(scores):
    """Return a sorting key for pictures: first the order in which the protocols were scored, then names."""
    order = {key: number for number, key in enumerate(dict.fromkeys((row["protocol"], row["post"]) for row in scores))}
    return lambda path: (order.get(path.parts[-3:-1], len(order)), path.parts[-3:-1])


def _heading(record):
    state = "Finished" if record.state == "finished" else "Not finished"
    facts = [Path(record.template).name, record.environment.get("device"), record.environment.get("start"), state]
    text = " · ".join(fact for fact in facts if fact)
    return f'<h1>Run {escape(record.name)}</h1>\n<p class="faint">{escape(text)}</p>'


def _section(title, content):
    return f"<h2>{escape(title)}</h2>\n{content}" if content else ""


def _scores(scores):
    """Return a table of the pooled scores and, folded, one of the means over the images."""
    if not scores:
        return ""
    metrics = list(dict.fromkeys(row["metric"] for row in scores))
    rows = {}
    for row in scores:
        rows.setdefault((row["protocol"], row["post"]), {})[row["metric"]] = row
    pooled, means = [], []
    for key, found in rows.items():
        images = max(row["n"] for row in found.values())
        pooled.append([*key, *(_number(found.get(metric, {}).get("value")) for metric in metrics), images])
        means.append([*key, *(_mean(found.get(metric, {})) for metric in metrics)])
    header = ["protocol", "post-processing", *metrics]
    details = _table(header, means, numbers_from=2)
    return (
        '<p class="faint">Pooled over all test pixels; n: images, volumes or crops.</p>\n'
        + _table([*header, "n"], pooled, numbers_from=2)
        + "\n<details><summary>Means over the images; in brackets: how many could be scored</summary>\n"
        + f"{details}</details>"
    )


def _mean(row):
    if "mean_per_image" not in row:
        return NO_VALUE
    return f"{_number(row['mean_per_image'])} ({row['n_scored_images']})"


def _number(value):
    return NO_VALUE if value is None else f"{value:.4f}"


def _times(record):
    environment, rows = record.environment, []
    rows += [(name, environment[name]) for name in ("start", "end") if name in environment]
    if "seconds" in environment:
        rows.append(("minutes, since the last start", f"{environment['seconds'] / 60:.1f}"))
    seconds = [float(row["seconds"]) for row in record.history if row.get("seconds")]
    if seconds:
        rows.append(("epochs", len(seconds)))
        rows.append(("seconds an epoch", f"{sum(seconds) / len(seconds):.1f}"))
        rows.append(("minutes of training, all starts", f"{sum(seconds) / 60:.1f}"))
    if "best_epoch" in record.training_state:
        rows.append(("best epoch", record.training_state["best_epoch"]))
    log = record.folder / LOG_NAME
    if log.is_file():
        text = log.read_text(encoding="utf-8", errors="replace")
        last_start = text[max(0, text.rfind(f"Run {record.name},")) :]
        parts = re.findall(r"^--- (.+) \((\d+) s\)$", last_start, flags=re.MULTILINE)
        rows += [(f"{title} began after", f"{int(after) / 60:.1f} minutes") for title, after in parts]
    return _table(("", "value"), rows)


def _settings(record):
    changed = {text.partition("=")[0].strip().upper() for text in record.facts.get("set", [])}
    rows = [(name, _as_set(value)) for name, value in record.settings.items()]
    table = _table(("variable", "value"), rows, emphasised=changed)
    seed = "" if record.seed is None else f" Seed of this repetition: {record.seed}."
    command = escape(shlex.join(record.command))
    return f'<pre>{command}</pre>\n<p class="faint">Bold: given with --set.{seed}</p>\n{table}'


def _as_set(value):
    """Return a value as a template writes it; JSON turns tuples into lists."""
    return repr(tuple(value) if isinstance(value, list) else value)


def _flat(content):
    """Return the rows of a dictionary and of the dictionaries in it."""
    rows = []
    for name, value in content.items():
        rows += (
            [(f"{name}: {key}", part) for key, part in value.items()] if isinstance(value, dict) else [(name, value)]
        )
    return rows


def _table(header, rows, *, numbers_from=None, emphasised=()):
    """Return a table; columns from ``numbers_from`` on align right, rows with an emphasised name are bold."""
    if not rows:
        return ""
    lines = ["<tr>" + "".join(f"<th>{escape(str(cell))}</th>" for cell in header) + "</tr>"]
    for row in rows:
        kinds = [' class="number"' if numbers_from is not None and n >= numbers_from else "" for n in range(len(row))]
        cells = "".join(f"<td{kind}>{escape(str(cell))}</td>" for kind, cell in zip(kinds, row, strict=True))
        kind = ' class="changed"' if row[0] in emphasised else ""
        lines.append(f"<tr{kind}>{cells}</tr>")
    text = "\n".join(lines)
    return f'<div class="scroll"><table>\n{text}\n</table></div>'


def _pictures(paths, folder):
    return "\n".join(_picture(path, path.relative_to(folder).as_posix()) for path in paths)


def _picture(path, name):
    """Return a picture as html that holds its pixels."""
    name, content = escape(name), np.frombuffer(path.read_bytes(), np.uint8)
    picture = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    if picture is None:
        return f'<p class="faint">{name} cannot be read.</p>'
    if picture.shape[1] > MAX_WIDTH:
        size = (MAX_WIDTH, max(1, round(picture.shape[0] * MAX_WIDTH / picture.shape[1])))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    text = base64.b64encode(encoded.tobytes()).decode("ascii")
    image = f'<img alt="{name}" src="data:image/jpeg;base64,{text}">'
    return f"<figure>{image}<figcaption>{name}</figcaption></figure>"
