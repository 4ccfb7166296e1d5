"""Line, scatter and bar charts as SVG text: enough for a result folder and a README, without a plotting library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

# Okabe and Ito's colours, which people with any colour vision tell apart.
COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#f0e442")
WIDTH, HEIGHT, MARGIN = 640, 400, 60
Point = tuple[float, float]


class _Axis:
    """One axis: from values to positions, and where its labels stand."""

    def __init__(self, values: Sequence[float], logarithmic: bool, low: float, high: float) -> None:
        self.logarithmic = logarithmic
        self.low: float
        self.high: float
        self.pixels = (low, high)
        if logarithmic:
            exponents = [math.log10(max(value, 1e-12)) for value in values]
            self.low, self.high = math.floor(min(exponents)), math.ceil(max(exponents) + 1e-9)
            self.ticks = [10.0**power for power in range(int(self.low), int(self.high) + 1)]
            return
        step = _nice_step(max(values) - min(values))
        self.low, self.high = math.floor(min(values) / step) * step, math.ceil(max(values) / step) * step
        self.high = self.high if self.high > self.low else self.low + step
        count = round((self.high - self.low) / step)
        self.ticks = [self.low + step * n for n in range(count + 1)]

    def at(self, value: float) -> float:
        position = math.log10(max(value, 1e-12)) if self.logarithmic else value
        share = (position - self.low) / max(self.high - self.low, 1e-12)
        return self.pixels[0] + share * (self.pixels[1] - self.pixels[0])


def _nice_step(span: float) -> float:
    """1, 2 or 5 times a power of ten, five to ten of them over the span."""
    if span <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(span / 5))
    return next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= 8)


def draw_lines(
    series: Mapping[str, Sequence[Point]],
    x_label: str,
    y_label: str,
    *,
    log_x: bool = False,
    log_y: bool = False,
    title: str = "",
) -> str:
    """An SVG of one line with its points per name, in the order given; labels carry the units.

    Points of a line are joined in order of x. Raises ValueError if there is no point at all.
    """
    points = [point for line in series.values() for point in line]
    if not points:
        raise ValueError("there is nothing to draw")
    x = _Axis([point[0] for point in points], log_x, MARGIN, WIDTH - MARGIN)
    y = _Axis([point[1] for point in points], log_y, HEIGHT - MARGIN, MARGIN)
    parts = _frame(x, y, x_label, y_label, title)
    for number, (name, line) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        ordered = sorted(line)
        path = " ".join(f"{x.at(a):.1f},{y.at(b):.1f}" for a, b in ordered)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x.at(a):.1f}" cy="{y.at(b):.1f}" r="3" fill="{colour}"/>' for a, b in ordered]
        parts.append(_legend(number, name, colour))
    return "\n".join([*parts, "</svg>", ""])


def draw_stacks(bars: Mapping[str, Mapping[str, float]], y_label: str, *, title: str = "") -> str:
    """An SVG of one stacked bar per name; parts of equal name have one colour. Raises ValueError without any bar."""
    if not bars:
        raise ValueError("there is nothing to draw")
    names = list(dict.fromkeys(name for parts in bars.values() for name in parts))
    y = _Axis([0.0, *(sum(parts.values()) for parts in bars.values())], False, HEIGHT - MARGIN, MARGIN)
    width = (WIDTH - 2 * MARGIN) / len(bars)
    drawn = _frame(None, y, "", y_label, title)
    for place, (bar, parts) in enumerate(bars.items()):
        left, bottom = MARGIN + place * width, 0.0
        for part, value in parts.items():
            top = y.at(bottom + value)
            drawn.append(
                f'<rect x="{left + width * 0.15:.1f}" y="{top:.1f}" width="{width * 0.7:.1f}" '
                f'height="{y.at(bottom) - top:.1f}" fill="{COLOURS[names.index(part) % len(COLOURS)]}"/>'
            )
            bottom += value
        drawn.append(_text(left + width / 2, HEIGHT - MARGIN + 16, bar, "middle"))
    drawn += [_legend(number, name, COLOURS[number % len(COLOURS)]) for number, name in enumerate(names)]
    return "\n".join([*drawn, "</svg>", ""])


def _frame(x: _Axis | None, y: _Axis, x_label: str, y_label: str, title: str) -> list[str]:
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(WIDTH / 2, HEIGHT - 12, x_label, "middle"),
        _text(14, 24, y_label),
        _text(WIDTH - 14, 24, title, "end"),
    ]
    for tick in y.ticks:
        parts.append(
            f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{y.at(tick):.1f}" y2="{y.at(tick):.1f}" stroke="#ddd"/>'
        )
        parts.append(_text(MARGIN - 6, y.at(tick) + 4, f"{tick:.6g}", "end"))
    for tick in x.ticks if x else ():
        parts.append(_text(x.at(tick), HEIGHT - MARGIN + 16, f"{tick:.6g}", "middle"))  # type: ignore[union-attr]
    return parts


def _legend(number: int, name: str, colour: str) -> str:
    return f'<text x="{MARGIN + 12}" y="{MARGIN + 16 * number}" fill="{colour}">{escape(name)}</text>'


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
