"""When to solve: pods wait, no more are arriving, and something has changed since the last attempt."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Trigger:
    """quiet_s: solve when no pod began to wait for so long. patience_s: but no later than this after the first did.
    first_pause_s, longest_pause_s: between attempts on pods that no plan could help, doubling. All times are of a clock
    that never jumps."""

    quiet_s: float = 0.5
    patience_s: float = 3.0
    first_pause_s: float = 2.0
    longest_pause_s: float = 60.0
    _since: dict[str, float] = field(default_factory=dict)
    _last_arrival: float = 0.0
    _tried: tuple[frozenset[str], int] | None = None
    _next: float = 0.0
    _pause: float = 0.0
    _hold_until: float = 0.0
    _setbacks: int = 0

    def is_due(self, waiting: set[str], version: int, now: float) -> bool:
        """Whether to solve now. waiting: uids. version: changes whenever the cluster did."""
        self._since = {uid: self._since.get(uid, now) for uid in waiting}
        if not waiting:
            self._tried, self._pause, self._next, self._setbacks = None, 0.0, 0.0, 0
            return False
        self._last_arrival = max(self._since.values())
        first = min(self._since.values())
        if now < self._hold_until:
            return False
        if now - self._last_arrival < self.quiet_s and now - first < self.patience_s:
            return False
        if self._tried is None or not waiting <= self._tried[0]:  # somebody new waits
            return True
        return version != self._tried[1] and now >= self._next

    def solved(self, waiting: set[str], version: int, now: float, *, helped: bool) -> None:
        """Note an attempt; one that helped nobody makes the next wait longer."""
        self._tried = (frozenset(waiting), version)
        longer = min(max(2 * self._pause, self.first_pause_s), self.longest_pause_s)
        self._pause = self.first_pause_s if helped else longer
        self._next = now + self._pause

    def failed(self, now: float) -> None:
        """The attempt came to nothing that could be judged: the same question is asked again, later each time."""
        self._tried = None
        self._hold_until = max(self._hold_until, now + (self._pause or self.first_pause_s))

    def plan_ended(self, now: float, *, succeeded: bool) -> None:
        """Plans that fail again and again move pods for nothing: after each, wait twice as long."""
        self._setbacks = 0 if succeeded else self._setbacks + 1
        pause = self.first_pause_s * 2 ** (self._setbacks - 1) if self._setbacks else 0.0
        self._hold_until = now + min(pause, self.longest_pause_s)
