"""Charts and pictures of a run: history, crops, augmented pairs, overlays of right and wrong pixels."""

import numpy as np

from utils.images.crops import crop_grid
from utils.images.intensity import from_network_input, to_unit_range
from utils.images.padding import per_axis
from utils.images.writing import write_pairs
from utils.pictures.figures import new_figure, save_figure

# Pixels along the longer side of an image in a picture; of larger images every second, third ... pixel is drawn.
LONGEST_SIDE = 2048
MOST_PAIRS = 12
TRUE_COLOUR, FALSE_COLOUR, MISSED_COLOUR = (0.1, 0.8, 0.2), (0.9, 0.1, 0.1), (0.2, 0.4, 1.0)


def middle_slice(image):
    """Return the middle slice ``(y, x, c)`` of a volume, a view, or an image as it is.

    Parameters
    ----------
    image : numpy.ndarray
        ``(y, x, c)`` or ``(z, y, x, c)``.

    Returns
    -------
    numpy.ndarray
    """
    return image[len(image) // 2] if image.ndim == 4 else image


def draw_history(path, history, *, best_epoch=None):
    """Draw losses, foreground IoU and learning rate over the epochs.

    Parameters
    ----------
    path : str or Path
        The png file.
    history : list of dict
        One row an epoch with ``epoch``, ``loss``, ``val_loss``, ``foreground_iou``, ``val_foreground_iou``,
        ``learning_rate``.
    best_epoch : int, optional
        Marked by a vertical line.
    """
    figure, axes = new_figure(1, 3, width=5)
    epochs = [row["epoch"] for row in history]
    panels = (("loss", "Loss"), ("foreground_iou", "Foreground IoU"), ("learning_rate", "Learning rate"))
    for panel, (name, title) in zip(axes[0], panels, strict=True):
        for column, label in ((name, "training"), (f"val_{name}", "validation (inference mode)")):
            if column in history[0]:
                panel.plot(
                    epochs, [row[column] for row in history], marker="." if len(history) < 40 else None, label=label
                )
        if best_epoch is not None:
            panel.axvline(best_epoch, color="grey", linewidth=1, linestyle=":", label="best epoch")
        panel.set(title=title, xlabel="Epoch")
        panel.legend()
    axes[0][1].set_ylim(0, 1)
    if all(row["loss"] > 0 for row in history):
        axes[0][0].set_yscale("log")
    save_figure(figure, path)


def draw_pairs(path, images, masks, *, titles=None, intensity_range=None):
    """Draw images, and below each the same image with the outline of its mask.

    Parameters
    ----------
    path : str or Path
        The png file.
    images : sequence of numpy.ndarray
        ``(y, x, c)``, or volumes ``(z, y, x, c)``, whose middle slice is drawn; at most the first 12.
    masks : sequence of numpy.ndarray or None
        ``(y, x, 1)`` or ``(z, y, x, 1)``, classes.
    titles : sequence of str, optional
        One per pair.
    intensity_range : tuple of float, optional
        As ``to_unit_range``.
    """
    count = min(len(images), MOST_PAIRS)
    columns = min(count, 4)
    figure, axes = new_figure(2 * -(-count // columns), columns, width=3, height=3.1, axes=False)
    for number in range(count):
        row, column = 2 * (number // columns), number % columns
        image = to_unit_range(middle_slice(images[number]), intensity_range)
        axes[row][column].imshow(_displayed(image), cmap="gray", vmin=0, vmax=1)
        axes[row + 1][column].imshow(_displayed(image), cmap="gray", vmin=0, vmax=1)
        if masks is not None:
            _outline(axes[row + 1][column], middle_slice(masks[number])[..., 0])
        if titles is not None:
            axes[row][column].set_title(titles[number], fontsize=7)
    save_figure(figure, path)


def _step(image):
    return -(-max(image.shape[:2]) // LONGEST_SIDE)


def _displayed(image):
    return image[..., 0] if image.shape[-1] == 1 else image


def _outline(panel, mask):
    for number, value in enumerate(np.unique(mask[mask > 0])):
        panel.contour(mask == value, levels=[0.5], colors=[f"C{1 + number}"], linewidths=1)


def draw_crop_grid(path, image, crop_shape, *, overlap=0.0, intensity_range=None):
    """Draw the crops of an image; tint and colour bar show how many of them cover a pixel.

    Parameters
    ----------
    path : str or Path
        The png file.
    image : numpy.ndarray
        ``(y, x, c)``, or a volume ``(z, y, x, c)``, which is shown from above.
    crop_shape : tuple of int
        Size of a crop, with or without channels.
    overlap : float or tuple of float
        Minimum overlap, per axis.
    intensity_range : tuple of float, optional
        As ``to_unit_range``.
    """
    from matplotlib.patches import Rectangle

    n_axes = image.ndim - 1
    overlap, image, crop_shape = per_axis(overlap, n_axes)[-2:], middle_slice(image), crop_shape[n_axes - 2 : n_axes]
    figure, axes = new_figure(1, 1, width=9, height=9 * image.shape[0] / image.shape[1] + 0.5, axes=False)
    panel, corners = axes[0][0], crop_grid(image.shape, crop_shape, overlap)
    coverage = np.zeros(image.shape[:2], np.uint16)
    for y, x in corners:
        coverage[y : y + crop_shape[0], x : x + crop_shape[1]] += 1
        panel.add_patch(
            Rectangle((x - 0.5, y - 0.5), crop_shape[1], crop_shape[0], fill=False, edgecolor="white", linewidth=1)
        )
    step = _step(image)
    place = {"extent": (-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5)}
    thinned = to_unit_range(image[::step, ::step], intensity_range)
    panel.imshow(_displayed(thinned), cmap="gray", vmin=0, vmax=1, **place)
    if coverage.max() > 1:
        tinted = np.ma.masked_equal(coverage[::step, ::step], 1)
        tint = panel.imshow(tinted, cmap="autumn_r", alpha=0.4, vmin=1, vmax=coverage.max(), **place)
        ticks = np.unique(np.linspace(1, coverage.max(), min(coverage.max(), 9)).round())
        figure.colorbar(tint, ax=panel, ticks=ticks, label="crops that cover a pixel (1: no tint)")
    panel.set_title(f"{len(corners)} crops, pixels covered {coverage.min()} to {coverage.max()} times")
    save_figure(figure, path)


def draw_checks(folder, data, batches, *, overlap=0.0):
    """Draw the training data: the grid of crops, training crops and augmented samples with their masks.

    Writes ``crops.png``, ``training_crops.png`` and ``augmented_pairs.png``, and augmented volumes as tifs into
    ``augmented_pairs/{x,y}``.

    Parameters
    ----------
    folder : Path
        Where they go.
    data : ExperimentData
        Images and crops.
    batches : PairBatches
        Augmented training data.
    overlap : float or tuple of float
        Minimum overlap of the crops, per axis.
    """
    grey = {"intensity_range": batches.intensity_range}
    draw_crop_grid(folder / "crops.png", data.train.x[0], batches.crop_shape, overlap=overlap, **grey)
    draw_pairs(folder / "training_crops.png", data.train_crops.x, data.train_crops.y, **grey)
    images, masks = batches.sample(12)
    images = from_network_input(images, batches.intensity_range)
    draw_pairs(folder / "augmented_pairs.png", images, masks)
    if images.ndim == 5:
        write_pairs(folder / "augmented_pairs", images, masks)


def draw_overlays(path, images, masks, predictions, *, titles, intensity_range=None):
    """Draw predictions over images: right in green, false in red, missed in blue; without truth all in green.

    Parameters
    ----------
    path : str or Path
        The png file.
    images : sequence of numpy.ndarray
        ``(y, x, c)``.
    masks : sequence of numpy.ndarray or None
        Truth ``(y, x, 1)``.
    predictions : sequence of numpy.ndarray
        Masks ``(y, x, 1)``.
    titles : sequence of str
        One per image.
    intensity_range : tuple of float, optional
        As ``to_unit_range``.
    """
    figure, axes = new_figure(
        1, len(images), width=7, height=7 * images[0].shape[0] / images[0].shape[1] + 0.5, axes=False
    )
    for number, panel in enumerate(axes[0]):
        thin = (slice(None, None, _step(images[number])),) * 2
        predicted = predictions[number][thin][..., 0]
        true = predicted if masks is None else masks[number][thin][..., 0]
        picture = np.repeat(to_unit_range(images[number][thin], intensity_range)[..., :1], 3, axis=-1)
        areas = (
            ((predicted > 0) & (true == predicted), TRUE_COLOUR),
            ((predicted > 0) & (true != predicted), FALSE_COLOUR),
            ((predicted == 0) & (true > 0), MISSED_COLOUR),
        )
        for area, colour in areas:
            picture[area] = 0.55 * picture[area] + 0.45 * np.asarray(colour, np.float32)
        panel.imshow(np.clip(picture, 0, 1))
        panel.set_title(titles[number], fontsize=9)
    legend = "prediction in green" if masks is None else "right in green, false in red, missed in blue"
    figure.suptitle(legend, fontsize=9)
    save_figure(figure, path)


def draw_confusion_matrix(path, matrix, class_names):
    """Draw a confusion matrix, tinted by the share of the true class.

    Parameters
    ----------
    path : str or Path
        The png file.
    matrix : numpy.ndarray
        ``(classes, classes)``, counts, rows are the truth.
    class_names : sequence of str
        One name a class.
    """
    figure, axes = new_figure(1, 1, width=2 + 1.2 * len(matrix), height=1.5 + 1.2 * len(matrix))
    panel, shares = axes[0][0], matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        colour = "white" if shares[row, column] > 0.5 else "black"
        panel.text(
            column, row, f"{count}\n{shares[row, column]:.1%}", color=colour, ha="center", va="center", fontsize=9
        )
    panel.set(xlabel="predicted", ylabel="true", xticks=range(len(matrix)), yticks=range(len(matrix)))
    panel.set_xticklabels(class_names, fontsize=8)
    panel.set_yticklabels(class_names, fontsize=8, rotation=90, va="center")
    save_figure(figure, path)
