"""Figures of matplotlib without a display, and saving them."""

from utils.files import atomic_path


def new_figure(rows, columns, *, width=4.0, height=4.0):
    """Return a figure with panels.

    Parameters
    ----------
    rows, columns : int
        Number of panels.
    width, height : float
        Of each panel, inches.

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
    return figure, figure.subplots(rows, columns, squeeze=False)


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
