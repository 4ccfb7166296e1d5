"""What the windows that a policy named cost over an idle time, and whether the call that ended it was warm."""

from __future__ import annotations

from typing import Any

from numba import njit


@njit(cache=True)
def settle_windows(windows: Any, count: int, idle_us: int, lead_us: int) -> tuple[int, bool, int]:
    """(time a pod was loaded, whether one was ready at the end, pods loaded ahead) over an idle time.

    windows: (n, 2), the first `count` hold [first, last), ascending. A window at 0 is the pod that was there. A later
    one is a pod loaded `lead_us` before; where the lead reaches back to the window before it, that pod just stays.
    """
    loaded_us, paid_to_us, is_ready, loads = 0, 0, False, 0
    for w in range(count):
        first, last = windows[w, 0], windows[w, 1]
        begin = max(first - lead_us, 0)
        if begin > idle_us:
            break
        if begin > paid_to_us:
            loads += 1
        else:
            begin = first = paid_to_us
        end = idle_us if first > idle_us else min(idle_us, last)
        if end > begin:
            loaded_us += end - begin
            paid_to_us = end
        if first <= idle_us < last:
            is_ready = True
    return loaded_us, is_ready, loads
