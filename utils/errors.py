"""Messages about mistakes in the user's input: one sentence with everything that is wrong, and the remedy."""

import difflib
import linecache
import sys
import traceback
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SHOWN_PROBLEMS = 20


def raise_problems(where, problems):
    """Raise one ``ValueError`` that lists every problem found, if there are any.

    Parameters
    ----------
    where : str
        Where the problems were found, e.g. ``"train/"``.
    problems : list of str
        One clause each, without full stop. At most 20 are spelled out.
    """
    if not problems:
        return
    shown = "; ".join(problems[:SHOWN_PROBLEMS])
    more = f"; and {len(problems) - SHOWN_PROBLEMS} more" if len(problems) > SHOWN_PROBLEMS else ""
    count = f"{len(problems)} problems in {where}" if len(problems) > 1 else where
    message = f"{count}: {shown}{more}"
    raise ValueError(message if message.endswith("?") else f"{message}.")


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


def say_error(kind, error, trace):
    """Print one sentence for an error that this repository raised on purpose, and the traceback for any other.

    An error was raised on purpose if its innermost line is a ``raise`` in a file of the repository.

    Parameters
    ----------
    kind, error, trace
        As ``sys.excepthook`` gets them.
    """
    innermost = traceback.extract_tb(trace)[-1] if trace else None
    ours = innermost is not None and REPOSITORY in Path(innermost.filename).resolve().parents
    on_purpose = ours and linecache.getline(innermost.filename, innermost.lineno).strip().startswith("raise ")
    if on_purpose or issubclass(kind, KeyboardInterrupt):
        text = error.args[-1] if isinstance(error, OSError) and error.args else error
        print(f"{kind.__name__}: {text}", file=sys.stderr, flush=True)
    else:
        traceback.print_exception(kind, error, trace)
