"""What an Xid, an error number of NVIDIA's driver, says about the hardware.

The classes are ours. Their sources: the resolutions of NVIDIA's Xid catalogue (docs.nvidia.com/deploy/xid-errors, as of
October 2025: RESTART_APP, RESET_GPU, ...), the event types of leptonai/gpud at 4a8de33 (Apache-2.0), and the causes of
facebookresearch/gcm at 1b7bde9 (MIT). Fatal, which takes a node out of service, is what NVIDIA resets the GPU or the
machine for, and what its catalogue does not resolve yet and GPUd reboots for, where the name tells of something that
halted or was lost. Two are milder: 109, which programs cause as well, and 156, whose reset can wait.

Not a hardware fault by themselves are the numbers that a program can cause with an illegal address or an abort, and the
clean-up that follows another number (45).
"""

from __future__ import annotations

import re
from typing import Final

from scheduler.core.gpu.signals import Severity

APPLICATION: Final = frozenset((
    8, 11, 13, 25, 31, 32, 37, 39, 40, 41, 43, 45, 60, 66, 67, 68, 69, 70, 71, 72, 75, 76, 77, 80, 82, 83, 84, 85, 86,
    88, 89, *range(96, 106), *range(126, 136), 137, 139, 141,
))  # fmt: skip
"""An engine refused what a program gave it; the program is started again, the GPU works on."""
HARMLESS: Final = frozenset((14, 106, 107, 108, 152, 153, 162, 164))
DEGRADED: Final = frozenset((
    38, 44, 54, 57, 58, 61, 63, 81, 92, 93, 94, 109, 121, *range(144, 152), 156, 157, 159, 160, 161, 163, 165, 166, 168,
    170, 171,
))  # fmt: skip
"""Works on, but has lost something or is about to: a remapped row, a contained memory error, a link with errors."""
FATAL: Final = frozenset((46, 48, 62, 64, 74, 79, 95, 110, 119, 120, 136, 140, 143, 155, 158, 167, 169, 172, 173))
"""No work runs there before the GPU is reset, the node rebooted or the part exchanged."""
RECOVERY_ACTION: Final = 154
NVLINK5: Final = range(144, 151)

COMPONENTS: Final[dict[str, frozenset[int]]] = {
    "memory": frozenset((48, 57, 58, 63, 64, 92, 94, 95, 140, 156, 157, 160, 161, 168, 171, 172)),
    "nvlink": frozenset((74, 108, 121, 136, 137, *range(144, 151), 155, 166, 170, 173)),
    "pcie": frozenset((79, 167)),
    "power": frozenset((54, *range(162, 166))),
    "driver": frozenset((38, 61, 62, 109, 119, 120, 143, 158, 169)),
}
IS_FATAL: Final = re.compile(r"\bfatal\b", re.IGNORECASE)
NOT_FATAL: Final = re.compile(r"non[- ]?fatal", re.IGNORECASE)
ACTION_TO: Final = re.compile(r"to 0x[0-9a-f]{1,8} \(([^)]{1,40})\)", re.IGNORECASE)


def xid_severity(xid: int, message: str = "") -> Severity:
    """How bad it is. message: the rest of the line; some numbers (144 to 150, 154) say there how bad they are.

    An unknown number is a warning.
    """
    if xid == RECOVERY_ACTION:
        action = ACTION_TO.search(message)
        return "degraded" if action is None else "info" if action[1].lower() == "none" else "fatal"
    if xid in NVLINK5 and IS_FATAL.search(NOT_FATAL.sub("", message)):
        return "fatal"
    if xid in FATAL:
        return "fatal"
    if xid in DEGRADED:
        return "degraded"
    return "info" if xid in HARMLESS else "warning"


def xid_component(xid: int) -> str:
    """The part of the GPU that it is about; `gpu` where that is not known."""
    return next((name for name, numbers in COMPONENTS.items() if xid in numbers), "gpu")
