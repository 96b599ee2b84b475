"""Figures of matplotlib without a display, and saving them."""

from utils.files import atomic_path


def new_figure(rows, columns, *, width=4.0, height=4.0, axes=True):
    """Return a figure with panels.

    Parameters
    ----------
    rows, columns : int
        Number of panels.
    width, height : float
        Of each panel, inches.
    axes : bool
        False: panels for images, without axes. Matplotlib then draws them in half the time.

    Returns
    -------
    figure : matplotlib.figure.Figure
    panels : numpy.ndarray
        ``(rows, columns)``, matplotlib.axes.Axes.

    Examples
    --------
    >>> new_figure(1, 2)[1].shape
    (1, 2)
    """
    # The object interface needs no display and keeps no global state, unlike pyplot.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False)
    if not axes:
        for panel in panels.flat:
            panel.set(xticks=[], yticks=[])  # the layout measures the ticks even of axes that are off
            panel.axis("off")
    return figure, panels


def save_figure(figure, path):
    """Write a figure atomically.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        From `new_figure`.
    path : str or Path
        The png file.
    """
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100)
