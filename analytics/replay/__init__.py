"""The replay engine: a trace's load as it was recorded, or decided again by a policy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analytics.options import ReplayOptions


def run_replay(options: ReplayOptions, force: bool = False, tick: Callable[[float], None] = lambda share: None) -> Path:
    """Replay as asked and write the run folder `options.out`; `tick` hears the share of the work that is done.

    Loads numba and the rest only when called, so that a study's planner can import this cheaply.
    """
    from analytics.replay.run import run

    return run(options, force, tick)
