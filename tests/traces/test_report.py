"""What goes on is said, also where nobody has a terminal."""

from __future__ import annotations

import pytest

from traces import report


def test_a_long_step_says_each_tenth_and_a_short_one_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(report.time, "monotonic", lambda: now[0])
    with report.show_progress() as tell:
        for done in range(101):
            tell("short", done, 100)
        for done in range(101):
            now[0] += 0.1
            tell("long", done, 100)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"long: {tenth} %" for tenth in range(20, 101, 10)]
