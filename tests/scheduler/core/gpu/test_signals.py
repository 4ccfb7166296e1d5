"""Signals check themselves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler.core.gpu.signals import SEVERITIES, Signal, severity_rank


def a_signal() -> Signal:
    return Signal(0.0, "node-a", 3, "gpu", "fatal", "xid-79", "kernel-log", "GPU has fallen off the bus", True)


def test_severities_rise_from_info_to_fatal() -> None:
    assert [severity_rank(one) for one in SEVERITIES] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("field", "value"),
    [("time_s", float("nan")), ("node", ""), ("code", ""), ("gpu", -1), ("severity", "critical")],
)
def test_a_broken_signal_is_not_built(field: str, value: object) -> None:
    assert replace(a_signal(), gpu=None).gpu is None
    with pytest.raises(ValueError, match=field):
        replace(a_signal(), **{field: value})  # type: ignore[arg-type]
