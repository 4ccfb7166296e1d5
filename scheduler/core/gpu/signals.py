"""One thing that a monitor says about a node or one of its GPUs, whichever monitor it was.

Every reader of `scheduler.core.gpu.telemetry` ends here, and health scores start here. A signal says that something was
seen, not who is to blame: what a program can cause by itself (an illegal address, an aborted kernel) comes as `info` or
`warning`, so that nobody is accused for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

Severity = Literal["info", "warning", "degraded", "fatal"]
SEVERITIES: Final[tuple[Severity, ...]] = ("info", "warning", "degraded", "fatal")
"""From harmless to worst. info: nothing is wrong with the hardware. warning: worth a second look, a program may have
caused it. degraded: works at less than its rating, or is about to break. fatal: no work should start there."""


@dataclass(frozen=True, slots=True)
class Signal:
    """What one monitor says about one component.

    time_s: seconds since 1970 UTC by the clock of whoever wrote it; 0 where the source tells no time. node: its name in
    the cluster, or the host's name where only that is known; never empty. gpu: index on the node; None for the whole
    node or an unknown GPU. component: `gpu`, `memory`, `nvlink`, `nvswitch`, `pcie`, `power`, `thermal`, `driver`,
    `network`, `disk`, `kernel`, `kubelet` or another word of the source. code: what was seen, the same for the same
    kind of fault (`xid-79`, `KernelDeadlock`). source: the monitor (`kernel-log`, `dcgm-exporter`, ...). message: for
    the person who asks why. is_open: the fault lasts; False when the source says that it is over, or that it is well.
    Raises ValueError for a time that is no number, an empty node or code, a negative GPU, or an unknown severity.
    """

    time_s: float
    node: str
    gpu: int | None
    component: str
    severity: Severity
    code: str
    source: str
    message: str
    is_open: bool

    def __post_init__(self) -> None:
        if not math.isfinite(self.time_s):
            raise ValueError(f"time_s of a signal is a number of seconds, not {self.time_s}")
        if not self.node or not self.code:
            raise ValueError(f"a signal names its node and its code, not {self.node!r} and {self.code!r}")
        if self.gpu is not None and self.gpu < 0:
            raise ValueError(f"gpu of a signal is an index from 0, not {self.gpu}")
        if self.severity not in SEVERITIES:
            raise ValueError(f"severity of a signal is one of {', '.join(SEVERITIES)}, not {self.severity!r}")


def severity_rank(severity: Severity) -> int:
    """0 for info to 3 for fatal, so that signals can be compared."""
    return SEVERITIES.index(severity)
