"""The log file of a run, which gets a copy of what the run prints."""

import os
import sys

from utils.files import lock_file


def open_log(path):
    """Open a log file for this process alone.

    Parameters
    ----------
    path : Path
        Text is appended. If this process already writes to it, as in a notebook, it stops first.

    Returns
    -------
    file object or None
        Locked until it is closed; None if another process has locked it.
    """
    if isinstance(sys.stdout, _Tee) and sys.stdout.path == str(path):
        end_logging()
    file = path.open("a", encoding="utf-8")
    if lock_file(file):
        return file
    file.close()
    return None


def start_logging(file):
    """Write standard output to a file too.

    Parameters
    ----------
    file : file object
        From `open_log`. It replaces an earlier log of this process, such as that of the previous run in a notebook.
    """
    end_logging()
    sys.stdout = _Tee(sys.stdout, file)


def end_logging():
    """Write standard output only to the terminal."""
    if isinstance(sys.stdout, _Tee):
        sys.stdout = sys.stdout.end()


class _Tee:
    """Standard output that writes to the log file too."""

    def __init__(self, terminal, file):
        self.path = file.name
        self._terminal, self._file = terminal, file

    def write(self, text):
        self._terminal.write(text)
        try:
            self._file.write(text)
            self._file.flush()
        except OSError as error:
            # A full disk stops the run when results cannot be written, not here.
            self._terminal.write(f"[{self.path} can no longer be written: {error}]\n")
            self._file = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        return len(text)

    def end(self):
        """Close the file and return the terminal."""
        self._file.close()
        return self._terminal

    def __getattr__(self, name):
        return getattr(self._terminal, name)
