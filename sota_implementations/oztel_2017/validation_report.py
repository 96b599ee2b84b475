"""Scores of a patch classifier on the validation patches: a report per class and a chart of the confusion matrix."""

import numpy as np

from utils.files import write_csv
from utils.metrics.pixels import confusion_matrix, probability_to_mask
from utils.pictures.charts import draw_confusion_matrix

CLASS_NAMES = ("non-mitochondria", "mitochondria")


def report_validation(run, model, batches, class_names=CLASS_NAMES):
    """Classify the validation patches, print precision, recall and F1 per class, and draw the confusion matrix.

    Writes ``validation_report.csv`` and ``charts/confusion_matrix.png``.

    Parameters
    ----------
    run : Run
        Its folder gets the files.
    model : keras.Model
        The classifier: ``(n, y, x, c)`` to ``(n, 1, 1, classes)``.
    batches : PatchBatches
        Patches and labels.
    class_names : sequence of str
        Names of the classes, in order.

    Returns
    -------
    list of dict
        From `classification_report`.
    """
    matrix = np.zeros((len(class_names),) * 2, np.int64)
    for images, labels in (batches[index] for index in range(len(batches))):
        predicted = probability_to_mask(np.asarray(model.predict_on_batch(images)))
        matrix += confusion_matrix(labels, predicted, len(class_names))
    rows = classification_report(matrix, class_names)
    print(f"{'validation patches':<20}{'precision':>11}{'recall':>11}{'F1':>11}{'patches':>11}")
    for row in rows:
        print(
            f"{row['class']:<20}{row['precision']:>11.4f}{row['recall']:>11.4f}{row['f1']:>11.4f}{row['patches']:>11}"
        )
    print(f"accuracy {np.trace(matrix) / matrix.sum():.4f}; confusion matrix (rows: truth) {matrix.tolist()}")
    write_csv(run.folder / "validation_report.csv", rows)
    draw_confusion_matrix(run.charts / "confusion_matrix.png", matrix, class_names)
    return rows


def classification_report(matrix, class_names):
    """Compute precision, recall and F1 of each class; NaN where there is nothing to score.

    Parameters
    ----------
    matrix : numpy.ndarray
        ``(classes, classes)``, rows are the truth.
    class_names : sequence of str
        Names of the classes.

    Returns
    -------
    list of dict
        A row for each class: ``class``, ``precision``, ``recall``, ``f1``, ``patches`` (true ones).

    Examples
    --------
    >>> row = classification_report(np.array([[3, 1], [0, 4]]), ["background", "foreground"])[1]
    >>> row["precision"], row["recall"], round(row["f1"], 3), row["patches"]
    (0.8, 1.0, 0.889, 4)
    """
    hit, predicted, true = np.diag(matrix), matrix.sum(axis=0), matrix.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        columns = {"precision": hit / predicted, "recall": hit / true, "f1": 2 * hit / (predicted + true)}
    return [
        {
            "class": name,
            **{column: float(values[number]) for column, values in columns.items()},
            "patches": int(true[number]),
        }
        for number, name in enumerate(class_names)
    ]
