"""Progress of the work on blocks: lines with its speed and the time that is left."""

import time

SECONDS_BETWEEN_LINES = 20


class Progress:
    """A line every 20 seconds, and one at the end.

    Parameters
    ----------
    title : str
        What is being done.
    amounts : list of float
        Voxels of all tasks.
    done : int
        Tasks that an earlier command finished.
    """

    def __init__(self, title, amounts, done):
        self._title, self._amount = title, sum(amounts)
        # Small tasks that follow the large ones are not counted.
        self._count = sum(amount > 0 for amount in amounts) if self._amount else len(amounts)
        self._start = self._last_line = time.monotonic()
        self._done, self._worked = 0, 0.0
        if done:
            print(f"{title}: {done} done before, {self._count} to do.", flush=True)

    def add(self, amount):
        """Count a task of this amount as done."""
        if self._amount and not amount:
            return
        self._done, self._worked = self._done + 1, self._worked + amount
        now = time.monotonic()
        last = self._done == self._count
        if not last and now - self._last_line < SECONDS_BETWEEN_LINES:
            return
        self._last_line, seconds = now, max(now - self._start, 1e-9)
        share = self._worked / self._amount if self._amount else self._done / self._count
        left = "" if last else f", {_clock(seconds * (1 / max(share, 1e-9) - 1))} left"
        rate = f", {self._worked / seconds:,.0f} voxels/s" if self._amount else ""
        print(f"{self._title}: {self._done} of {self._count}, {_clock(seconds)}{rate}{left}", flush=True)


def _clock(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
