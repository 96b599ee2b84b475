"""The page of a run: settings, scores, overlays, curves, times and environment in one html file."""

import re
import shlex
from html import escape
from pathlib import Path
from urllib.parse import quote

from utils.files import write_text
from utils.pictures.embedding import embedded
from utils.runs.record import LOG_NAME, RunRecord

REPORT_NAME = "report.html"
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
summary { cursor: pointer; padding: 0.2rem 0; }
figcaption { overflow-wrap: anywhere; }
"""


def write_report(folder, *, environment=None):
    """Write ``report.html`` into the folder of a run, from the files of that folder alone.

    A part whose files are missing is left out, so unfinished runs have a page too. The same files give the same page,
    byte for byte. Pictures are within the page, small enough that it stays below about 2 MB; each links to its png in
    the folder, and those that find no room are links only.

    Parameters
    ----------
    folder : str or Path
        ``job_dir/results/<id>_<rid>``.
    environment : dict, optional
        What ``environment.json`` will say too when the run has ended.

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
    record.environment |= environment or {}
    folder, pictures = record.folder, _Pictures(record)
    parts = [
        _heading(record),
        _section("Curves", pictures.html(pictures.history, n_open=1)),
        _section("Scores", _scores(record.scores)),
        _section("True, false and missed pixels", pictures.html(pictures.overlays, n_open=1)),
        _section("Charts", pictures.html(pictures.charts)),
        _section("What was trained on", pictures.html(pictures.checks)),
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


class _Pictures:
    """The pictures of a run as html: history and first overlay open, the others folded, all linked to their files."""

    def __init__(self, record):
        self.folder, images = record.folder, record.folder / "images"
        history = self.folder / "charts" / "history.png"
        self.history = [history] * history.is_file()
        self.overlays = sorted(images.glob("*/*/overlay.png"), key=_order_of_scores(record.scores))
        self.charts = sorted(path for path in self.folder.glob("charts/*.png") if path != history)
        self.checks = sorted(self.folder.glob("checks/*.png"))
        first = [*self.history, *self.overlays[:1]]
        by_importance = [*first, *self.charts, *self.checks, *self.overlays[1:]]
        self.texts = embedded([(path, path.parent.name == "charts", path in first) for path in by_importance])

    def html(self, paths, *, n_open=0):
        """Return pictures, all but the first ``n_open`` of them folded."""
        return "\n".join(self._figure(path, is_open=number < n_open) for number, path in enumerate(paths))

    def _figure(self, path, *, is_open):
        name = path.relative_to(self.folder).as_posix()
        if path not in self.texts:
            return f'<p class="faint">{escape(name)} cannot be read.</p>'
        title, link = escape(self._title(path)), f'<a href="{escape(quote(name))}">'
        if not self.texts[path]:
            return f'<p class="faint">{title}: {link}{escape(name)}</a> (a file beside this page, which is full)</p>'
        image = f'{link}<img alt="{escape(name)}" src="{self.texts[path]}"></a>'
        figure = f"<figure>{image}<figcaption>{title}: {escape(name)}</figcaption></figure>"
        return f"<details{' open' * is_open}><summary>{title}</summary>\n{figure}</details>"

    def _title(self, path):
        if path.name != "overlay.png":
            return path.stem.replace("_", " ")
        protocol, post = path.parts[-3:-1]
        return f"{protocol}, {'no post-processing' if post == 'none' else f'post-processing {post}'}"
