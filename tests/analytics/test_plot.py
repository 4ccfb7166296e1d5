from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from analytics.plot import draw_lines, draw_stacks

SVG = "{http://www.w3.org/2000/svg}"


def positions(svg: str, tag: str, *names: str) -> list[tuple[float, ...]]:
    return [tuple(float(node.attrib[name]) for name in names) for node in ElementTree.fromstring(svg).iter(SVG + tag)]


def words(svg: str) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(svg).iter(SVG + "text")]


def test_points_stand_where_their_values_say() -> None:
    svg = draw_lines({"ours": [(0, 0), (10, 100), (5, 50)]}, "nodes", "time, s")
    assert positions(svg, "circle", "cx", "cy") == [(60, 340), (320, 200), (580, 60)]
    assert {"nodes", "time, s", "ours", "0", "100"} <= set(words(svg))


def test_equal_factors_are_equal_steps_on_a_logarithmic_axis() -> None:
    svg = draw_lines({"a": [(1, 1), (10, 10), (100, 100)]}, "x", "y", log_x=True, log_y=True)
    (x1, y1), (x2, y2), (x3, y3) = positions(svg, "circle", "cx", "cy")
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2)
    assert y1 - y2 == pytest.approx(y2 - y3, abs=0.2)


def test_one_point_and_equal_values_are_drawn() -> None:
    assert len(positions(draw_lines({"a": [(3, 7)], "b": [(3, 7)]}, "x", "y"), "circle", "cx")) == 2


def test_stacks_add_up() -> None:
    svg = draw_stacks({"R1": {"code": 1.0, "wait": 3.0}, "R2": {"code": 2.0}}, "seconds")
    bars = [bar for bar in positions(svg, "rect", "height") if bar != (400.0,)]
    assert [bar[0] for bar in bars] == pytest.approx([70, 210, 140])


def test_names_are_text_not_markup() -> None:
    assert "<b>" in words(draw_lines({"<b>": [(1, 1)]}, "x", "y"))


def test_nothing_is_not_drawn() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        draw_lines({"a": []}, "x", "y")
    with pytest.raises(ValueError, match="nothing to draw"):
        draw_stacks({}, "y")
