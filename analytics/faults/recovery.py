"""What happens to a job between a fault and its next step, and where its hours go."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from analytics.errors import InputError

# A downtime table's rows. The last two are ours: the table of the paper has no shortage of nodes and no cost of saving.
PARTS = ("lost_work", "detection", "diagnosis", "restart", "waiting", "saving")


@dataclass(frozen=True, slots=True)
class Recovery:
    """How long each phase takes, in hours.

    detect_h: until somebody knows that the job stands. diagnose_h: until the broken nodes are named and isolated.
    restart_h: from having nodes to the next step (re-initialisation). checkpoint_h: work between two checkpoints,
    infinity for none; work since the last is lost, half of it on average. save_h: time the job stands still to save.
    """

    detect_h: float
    diagnose_h: float
    restart_h: float
    checkpoint_h: float
    save_h: float = 0.0

    def __post_init__(self) -> None:
        wrong = [field.name for field in fields(self) if not getattr(self, field.name) >= 0]
        if wrong or not self.checkpoint_h > 0:
            raise InputError(f"phases of a recovery take 0 h or more, work between checkpoints takes some: {self}")

    def loss_per_fault_h(self) -> float:
        """What one fault costs a job that finds nodes at once, on average."""
        lost_h = 0.0 if math.isinf(self.checkpoint_h) else self.checkpoint_h / 2
        return self.detect_h + self.diagnose_h + self.restart_h + lost_h

    def expected_ettr(self, mtbf_h: float) -> float:
        """Share of productive time by the plain formula: faults one by one, nodes always there, saving for free."""
        return mtbf_h / (mtbf_h + self.loss_per_fault_h())

    def work_in(self, hours: float) -> tuple[float, float, float]:
        """What that many hours of running hold: work that is saved, work since then, time spent saving."""
        if math.isinf(self.checkpoint_h):
            return 0.0, hours, 0.0
        cycle = self.checkpoint_h + self.save_h
        saves = math.floor(hours / cycle)
        rest = hours - saves * cycle
        unsaved = min(rest, self.checkpoint_h)
        return saves * self.checkpoint_h, unsaved, saves * self.save_h + rest - unsaved

    def hours_for(self, work_h: float) -> float:
        """Hours of running that do this work, saving included (not after the last of it)."""
        if math.isinf(self.checkpoint_h) or math.isinf(work_h):
            return work_h
        return work_h + max(0, math.ceil(work_h / self.checkpoint_h - 1e-9) - 1) * self.save_h


MINUTE = 1 / 60
PRESETS = {
    # A watchdog of ten minutes, people who look for the node, half an hour of work lost.
    "manual": Recovery(10 * MINUTE, 3.0, 5 * MINUTE, 60 * MINUTE),
    "automated": Recovery(0.5 * MINUTE, 1.5 * MINUTE, 5 * MINUTE, 10 * MINUTE),
}
