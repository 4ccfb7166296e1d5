"""The API server's clock, by which all that is written into objects is timed.

Creation times are the API server's. A program that compares them with the clock of its own machine goes wrong when that
one is off, or is set while it runs; and two programs on two machines would not agree when a reservation ends. So time
is read off the Date header that comes with every answer, and goes on by the monotonic clock in between.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime


class ServerTime:
    """Call it for seconds since 1970 by the API server; this machine's own until the first answer."""

    def __init__(
        self, monotonic: Callable[[], float] = time.monotonic, own: Callable[[], float] = time.time
    ) -> None:
        self._monotonic, self._own = monotonic, own
        self._ahead: float | None = None  # of the monotonic clock
        self._lock = threading.Lock()

    def __call__(self) -> float:
        """Right within a second, and mostly within the time that a request takes."""
        ahead = self._ahead
        return self._own() if ahead is None else self._monotonic() + ahead

    def see(self, date: str | None, asked_s: float) -> None:
        """Learn from an answer's Date, whole seconds; asked_s: when it was asked for, on the monotonic clock."""
        try:
            second = parsedate_to_datetime(date or "").timestamp()
        except ValueError:
            return
        least, most = second - self._monotonic(), second + 1.0 - asked_s
        with self._lock:
            self._ahead = min(max(least if self._ahead is None else self._ahead, least), most)
