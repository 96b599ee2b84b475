"""Tables and box plots of repeated experiments, beside published scores."""

from pathlib import Path

from study.study_runs import differing_settings, long_table, mean_and_std, odd_repetitions, summarise
from utils.errors import raise_problems
from utils.files import check_free, write_csv, write_text
from utils.pictures.figures import new_figure, save_figure

METRICS = ("foreground_iou", "overall_iou")
PUBLISHED_COLOUR = "black"
PUBLISHED_REMARK = (
    "They were scored on the authors' files; other masks of the same volume give other scores. A number of runs in "
    "brackets means that mean and deviation were computed from single recorded runs, on different devices and versions."
)
BOX_WIDTH = 0.8
TITLE = "# Scores of "


def write_study(folder, runs, *, metrics=METRICS, published=(), notes=()):
    """Write the scores of repeated experiments as tables and box plots.

    ``scores_of_runs.csv`` has every score of every run; ``summary.csv`` has mean, standard deviation and range of every
    score, ``summary.md`` the same as tables to read; ``<metric>.png`` is a box plot.

    Parameters
    ----------
    folder : str or Path
        Gets the files.
    runs, published
        As `study.study_runs.summarise`.
    metrics : sequence of str
        Metrics in ``summary.md`` and of the box plots; the csv files have all.
    notes : sequence of str
        Sentences without full stop for the end of ``summary.md``.

    Returns
    -------
    str
        Content of ``summary.md``.

    Raises
    ------
    ValueError
        If no run has one of the metrics, or the folder holds something else than earlier tables.
    """
    _check_ours(Path(folder))
    folder, rows = Path(folder), summarise(runs, published)
    there = dict.fromkeys(row["metric"] for row in rows)
    wrong = [metric for metric in metrics if metric not in there]
    raise_problems("--metrics", [f"no run has {metric}, but {', '.join(there)}" for metric in wrong])
    page = _page(runs, rows, metrics, [*notes, *odd_repetitions(runs)])
    write_csv(folder / "scores_of_runs.csv", long_table(runs))
    plain = [{key: value for key, value in row.items() if key != "values"} for row in rows]
    write_csv(folder / "summary.csv", plain)
    write_text(folder / "summary.md", page)
    for metric in metrics:
        own = [row for row in rows if row["metric"] == metric and row["values"]]
        if own:
            draw_box_plot(folder / f"{metric}.png", own, title=metric)
    return page


def _check_ours(folder):
    summary = folder / "summary.md"
    if summary.is_file() and summary.read_text(encoding="utf-8", errors="replace").startswith(TITLE):
        return
    check_free(folder)


def _page(runs, rows, metrics, notes):
    """Return a page in Markdown: the experiments, a table for each metric, sources and notes."""
    parts = [
        f"# Scores of {len(runs)} runs",
        "Mean ± sample standard deviation over the runs (ddof = 1), the number of runs in brackets.",
        "## Experiments",
        _table(
            ["experiment", "template", "runs", "seeds", "settings that differ", "minutes", "GiB"], _experiments(runs)
        ),
    ]
    for metric in metrics:
        own = [row for row in rows if row["metric"] == metric]
        columns = dict.fromkeys(row["id"] for row in own)
        cells = {(row["protocol"], row["post"], row["id"]): format_spread(row) for row in own}
        keys = dict.fromkeys(key[:2] for key in cells)
        lines = [[*key, *(cells.get((*key, column), "") for column in columns)] for key in keys]
        parts += [f"## {metric}", _table(["protocol", "post-processing", *columns], lines)]
    sources = dict.fromkeys(
        (row["id"], row["source"]) for row in rows if row.get("source") and row["metric"] in metrics
    )
    if sources:
        parts.append("## Sources of the published scores")
        parts.append(PUBLISHED_REMARK)
        parts.append(
            "\n".join(f"- {_cell(method.removeprefix('published: '))}: {source}" for method, source in sources)
        )
    if notes:
        parts += ["## Notes", "\n".join(f"- {note}." for note in notes)]
    return "\n\n".join(parts) + "\n"


def format_spread(row):
    """Return mean, standard deviation and number of runs as text.

    Parameters
    ----------
    row : dict
        ``mean``, ``std`` and ``n_runs``; each may be None.

    Returns
    -------
    str

    Examples
    --------
    >>> format_spread({"mean": 0.87, "std": 0.0061, "n_runs": 5})
    '0.8700 ± 0.0061 (5)'
    """
    if row["mean"] is None:
        return "nothing to score"
    spread = "" if row["std"] is None else f" ± {row['std']:.4f}"
    return f"{row['mean']:.4f}{spread}" + ("" if row["n_runs"] is None else f" ({row['n_runs']})")


def _experiments(runs):
    """Return the lines of the table of experiments."""
    lines, differing = [], differing_settings(runs)
    for name, settings in differing.items():
        own = [run for run in runs if run.id == name]
        minutes = [run.minutes for run in own if run.minutes is not None]
        memory = [run.environment.get("peak_memory_gib") for run in own]
        memory = [value for value in memory if value is not None]
        mean, std = mean_and_std(minutes) if minutes else (None, None)
        took = "" if mean is None else f"{mean:.1f}" + ("" if std is None else f" ± {std:.1f}")
        seeds = ", ".join(str(run.seed) for run in own if run.seed is not None)
        texts = ", ".join(f"{key}={_as_set(value)}" for key, value in settings.items())
        rids = ", ".join(str(run.rid) for run in own)
        lines.append([name, own[0].template, rids, seeds, texts, took, f"{max(memory):.2f}" if memory else ""])
    return lines


def _as_set(value):
    return tuple(value) if isinstance(value, list) else value


def _table(header, lines):
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows)


def _cell(value):
    return str(value).replace("|", "\\|").replace("\n", " ")


def draw_box_plot(path, rows, *, title):
    """Draw one metric of every experiment: box, median line and each run as a point; published scores as diamonds.

    The box spans the quartiles, the whiskers reach to the lowest and highest run.

    Parameters
    ----------
    path : str or Path
        The png file.
    rows : list of dict
        Rows of `study.study_runs.summarise` of one metric that have ``values``.
    title : str
        Above the picture.
    """
    names = list(dict.fromkeys(row["id"] for row in rows))
    groups = list(dict.fromkeys((row["protocol"], row["post"]) for row in rows))
    published = [name for name in names if any(row["id"] == name and row.get("source") for row in rows)]
    members = {group: [row["id"] for row in rows if (row["protocol"], row["post"]) == group] for group in groups}
    most = max(len(ids) for ids in members.values())
    step = BOX_WIDTH / most
    figure, axes = new_figure(1, 1, width=9, height=1.5 + 0.2 * len(names) + max(0.45, 0.25 * most) * len(groups))
    panel = axes[0][0]
    for row in rows:
        group = (row["protocol"], row["post"])
        place = groups.index(group) + (members[group].index(row["id"]) - (len(members[group]) - 1) / 2) * step
        if row["id"] in published:
            marker = "Ds^vP"[published.index(row["id"]) % 5]
            options = {"fmt": marker, "color": PUBLISHED_COLOUR, "capsize": 3, "markersize": 5, "label": row["id"]}
            panel.errorbar(row["mean"], place, xerr=row["std"], **options)
            continue
        colour = f"C{names.index(row['id']) % 10}"
        box = {"positions": [place], "widths": 0.7 * step, "orientation": "horizontal", "whis": (0, 100)}
        box |= {"patch_artist": True, "showfliers": False, "boxprops": {"facecolor": colour, "alpha": 0.3}}
        panel.boxplot(row["values"], medianprops={"color": colour, "linewidth": 2}, manage_ticks=False, **box)
        points = [place] * len(row["values"])
        panel.plot(row["values"], points, "o", color=colour, markersize=5, alpha=0.8, label=row["id"])
    for border in range(1, len(groups)):
        panel.axhline(border - 0.5, color="lightgrey", linewidth=0.8)
    panel.set_yticks(
        range(len(groups)), [f"{protocol}, {post}" if post != protocol else post for protocol, post in groups]
    )
    explained = "points: runs" + "; published: mean ± standard deviation" * bool(published)
    panel.set(title=title, xlabel=f"{title} ({explained})")
    panel.set_ylim(len(groups) - 0.5, -0.5)
    panel.grid(axis="x", alpha=0.3)
    handles = dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=1, fontsize=8)
    save_figure(figure, path)
