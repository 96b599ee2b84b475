"""Messages about mistakes in the user's input: one sentence with everything that is wrong, and the remedy."""

import difflib
import errno
import linecache
import logging
import re
import sys
import tempfile
import traceback
from pathlib import Path

OUT_OF_MEMORY = ("ResourceExhaustedError", "OutOfMemoryError", "XlaRuntimeError")
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
# What `tell_about_run` told.
_run = {"log": None, "advice": lambda: ""}
REPOSITORY = Path(__file__).resolve().parents[1]
SHOWN_PROBLEMS = 20
LONGEST_LINE = 200
FILE_NAME = re.compile(
    r"[^\s/:;,()]+\.(?:tiff?|png|jpe?g|bmp|npy|h5|hdf5?|zarr|mrc|rec|st|map|ali|nii|gz|dm[34])\b", re.IGNORECASE
)


def raise_problems(where, problems):
    """Raise one ``ValueError`` that lists every problem found, if there are any.

    Problems of files that are alike but for names and numbers are said once, with their count and the first names. What
    does not fit on a line becomes a list.

    Parameters
    ----------
    where : str
        Where the problems were found, e.g. ``"train/"``.
    problems : list of str
        One clause each, without full stop. At most 20 lines are written.

    Examples
    --------
    >>> raise_problems("train/", [f"no mask for {name}.tif" for name in "abcde"])
    Traceback (most recent call last):
    ValueError: train/: no mask for a.tif (5 such files: a.tif, b.tif, c.tif ...).
    """
    if not problems:
        return
    alike = {}
    for problem in problems:
        alike.setdefault(_kind(problem), []).append(problem)
    lines = [line for group in alike.values() for line in _lines(group)]
    if len(lines) == 1:
        message = f"{where}: {lines[0]}"
        raise ValueError(message if message.endswith("?") else f"{message}.")
    more = [f"and {len(lines) - SHOWN_PROBLEMS} more"] * (len(lines) > SHOWN_PROBLEMS)
    shown = [line.replace(":\n  - ", ": ").replace("\n  - ", "; ") for line in lines[:SHOWN_PROBLEMS]] + more
    message = f"{len(lines)} problems in {where}: {'; '.join(shown)}."
    if len(message) > LONGEST_LINE:
        message = "\n  - ".join([f"{len(lines)} problems in {where}:", *shown])
    raise ValueError(message)


def _kind(problem):
    """Return a problem without the name of its file and without numbers; one without a file is of its own kind."""
    without_name = FILE_NAME.sub("<file>", problem)
    return problem if without_name == problem else re.sub(r"(\d[\d.]*)( \d[\d.]*)*( \.\.\.)?", "#", without_name)


def _lines(group):
    """Return what is said of problems of one kind: the first, with the count and the first names.

    Up to three files whose numbers differ have a line each.
    """
    names = list(dict.fromkeys(FILE_NAME.search(problem).group() for problem in group)) if len(group) > 1 else []
    differ = len({FILE_NAME.sub("", problem) for problem in group}) > 1
    if len(names) <= (3 if differ else 1):
        return group
    return [f"{group[0]} ({len(names)} such files: {', '.join(names[:3])}{' ...' * (len(names) > 3)})"]


def shortened(names, most=3):
    """Return the first names of a list, and how many there are if that is not all.

    Parameters
    ----------
    names : list of str
        At least one.
    most : int
        So many are named.

    Returns
    -------
    str

    Examples
    --------
    >>> shortened(["a", "b"]), shortened(["a", "b", "c", "d"])
    ('a, b', '4 files, a, b, c ...')
    """
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{len(names)} files, {shown} ..."


def check_choice(name, value, choices):
    """Raise a ``ValueError`` that lists ``choices`` and suggests the closest, unless ``value`` is one of them.

    Parameters
    ----------
    name : str
        What is chosen, as the user wrote it.
    value : object
        The user's choice.
    choices : tuple
        All that are allowed.
    """
    if value not in choices:
        suggestion = did_you_mean(value, choices) or "."
        raise ValueError(f"{name} {value!r} is not known{suggestion} Use one of {list(choices)}.")


def did_you_mean(word, known):
    """Return ``"; did you mean 'X'?"`` for the closest known word, or an empty text.

    Parameters
    ----------
    word : object
        The word that was written.
    known : iterable of str
        Words that could be meant.

    Returns
    -------
    str
    """
    close = difflib.get_close_matches(str(word), [str(k) for k in known], n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def speak_in_sentences():
    """Let whatever ends this script be a sentence, names that are no UTF-8 be printed, and tifffile log nothing."""
    sys.excepthook = say_error
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)


def tell_about_run(*, log, advice):
    """Tell `say_error` about the run of this process.

    Parameters
    ----------
    log : Path or None
        Its log file, which gets the traceback of an unforeseen error.
    advice : callable
        Returns what to do after the run was stopped, as a sentence.
    """
    _run.update(log=log, advice=advice)


def say_error(kind, error, trace):
    """Print one sentence for whatever ends a script.

    That is the message of an error that this repository raised on purpose, that is if its innermost line is a ``raise``
    in a file of the repository. Of a file or folder that cannot be used, or of memory that is short, it is the reason.
    Any other error is a fault of this repository: its last lines are printed, and its traceback goes to the log.

    Parameters
    ----------
    kind, error, trace
        As ``sys.excepthook`` gets them.
    """
    frames = traceback.extract_tb(trace) if trace else []
    ours = bool(frames) and REPOSITORY in Path(frames[-1].filename).resolve().parents
    on_purpose = ours and linecache.getline(frames[-1].filename, frames[-1].lineno).strip().startswith("raise ")
    if issubclass(kind, KeyboardInterrupt):
        text = f"Stopped{f' by {error}' * bool(str(error))}. {_run['advice']()}".rstrip()
    elif on_purpose:
        text = f"{kind.__name__}: {error.args[-1] if isinstance(error, OSError) and error.args else error}"
    elif isinstance(error, MemoryError) or kind.__name__ in OUT_OF_MEMORY:
        text = "MemoryError: there is not enough memory. A smaller BATCH_SIZE or CROP_SHAPE needs less."
    elif isinstance(error, OSError) and error.filename is not None and error.strerror:
        text = (
            f"{kind.__name__}: {error.filename} cannot be used: {error.strerror}. Check the path and its permissions."
        )
    elif isinstance(error, OSError) and error.errno in DISK_FULL:
        text = f"{kind.__name__}: the disk is full. Free some space and start again; nothing written before is lost."
    else:
        text = _unforeseen(kind, error, trace, frames)
    print(text, file=sys.stderr, flush=True)


def _unforeseen(kind, error, trace, frames):
    """Return the end of a traceback, and write all of it to the log, or to a file if there is none."""
    whole = "".join(traceback.format_exception(kind, error, trace))
    path = _run["log"]
    try:
        if path is None:
            file = tempfile.NamedTemporaryFile("w", prefix="error_", suffix=".txt", delete=False, encoding="utf-8")
            path = file.name
        else:
            file = Path(path).open("a", encoding="utf-8")
        with file:
            file.write(f"\n{whole}")
        where = f"The whole traceback is in {path}."
    except OSError:
        where = whole
    last = [f"  {frame.filename}, line {frame.lineno}, in {frame.name}: {frame.line}" for frame in frames[-2:]]
    reason = (str(error).splitlines() or [""])[0]
    told = f"{kind.__name__}: {reason}\nThis error was not foreseen: please report it with its traceback."
    return "\n".join([told, *last, where])
