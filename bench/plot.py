"""Charts as SVG text: bars in groups, and points under a roof. Pure; knows no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10

COLOURS = ("#2a6f97", "#e07a2f", "#5f8f3c", "#a4447a", "#7a6a53", "#c2a11c", "#4a4e69", "#bb3e3e")
LINE, LEFT, WIDTH, RIGHT = 18, 250, 460, 90  # px: of a bar, of its label, of the longest bar, of its figure
LABEL = 240  # px: of a point's label
FONT = 'font-family="sans-serif" font-size="12" fill="#222"'


@dataclass(frozen=True, slots=True)
class Bar:
    group: str
    label: str
    value: float


@dataclass(frozen=True, slots=True)
class Point:
    """What was reached. intensity: operations a byte; rate: operations a second."""

    label: str
    intensity: float
    rate: float


def bars(title: str, given: Sequence[Bar]) -> str:
    """Horizontal bars from zero, under a heading for each group; one colour a label."""
    labels = list(dict.fromkeys(b.label for b in given))
    longest = max((b.value for b in given), default=1.0) or 1.0
    parts, y, group = [_text(8, 18, title, 'font-weight="bold"')], 30, None
    for bar in given:
        if bar.group != group:
            group, y = bar.group, y + LINE + 4
            parts.append(_text(8, y - 4, bar.group, 'font-style="italic"'))
        width = WIDTH * bar.value / longest
        colour = COLOURS[labels.index(bar.label) % len(COLOURS)]
        parts.append(_text(LEFT - 8, y + 13, bar.label, 'text-anchor="end"'))
        parts.append(f'<rect x="{LEFT}" y="{y + 2}" width="{width:.1f}" height="{LINE - 4}" fill="{colour}"/>')
        parts.append(_text(LEFT + width + 6, y + 13, f"{bar.value:.3g}"))
        y += LINE
    return _svg(LEFT + WIDTH + RIGHT, y + 12, parts)


def roofline(title: str, flops: float, bytes_s: float, points: Sequence[Point]) -> str:
    """Points under the machine's roof, both axes logarithmic. flops: operations/s, bytes_s: bytes/s of the machine."""
    width, height, left, top = 640, 400, 80, 50
    xs = [p.intensity for p in points] + [flops / bytes_s]
    ys = [p.rate for p in points] + [flops]
    x0, x1 = floor(log10(min(xs))) - 0.2, log10(max(xs)) + 0.5
    y0, y1 = floor(log10(min(ys))) - 0.2, log10(max(ys)) + 0.4

    def at(intensity: float, rate: float) -> tuple[float, float]:
        x = left + (log10(intensity) - x0) / (x1 - x0) * width
        return x, top + height - (log10(rate) - y0) / (y1 - y0) * height

    low = max(10**x0, 10**y0 / bytes_s)
    corners = [at(low, low * bytes_s), at(flops / bytes_s, flops), at(10**x1, flops)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    parts = [_text(8, 18, title, 'font-weight="bold"'), _text(left, top + height + 36, "operations a byte moved")]
    parts.append(_text(8, 38, "operations/s"))
    parts.append(f'<polyline points="{path}" fill="none" stroke="#222" stroke-width="2"/>')
    for power in range(int(y0) + 1, int(y1) + 1):
        y = at(10**x0, 10.0**power)[1]
        parts.append(f'<line x1="{left}" x2="{left + width}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(_text(left - 8, y + 4, f"1e{power}", 'text-anchor="end"'))
    for power in range(int(x0) + (x0 > 0), int(x1) + 1):
        x = at(10.0**power, 10**y0)[0]
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{top + height}" stroke="#ddd"/>')
        parts.append(_text(x, top + height + 18, f"{10.0**power:g}", 'text-anchor="middle"'))
    taken: list[tuple[float, float]] = []
    for i, p in enumerate(points):
        x, y = at(p.intensity, p.rate)
        colour = COLOURS[i % len(COLOURS)]
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>')
        while any(abs(x - u) < LABEL and abs(y - v) < LINE - 4 for u, v in taken):
            y += LINE - 4  # a label of its own line
        taken.append((x, y))
        parts.append(_text(x + 8, y + 4, p.label))
    return _svg(left + width + 170, top + height + 50, parts)


def _text(x: float, y: float, text: str, style: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {FONT} {style}>{escape(text)}</text>'


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    """On white, so that it can be read on dark pages too."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}">'
    ground = f'<rect width="{width:.0f}" height="{height:.0f}" fill="#fff"/>'
    return "\n".join([head, ground, *parts, "</svg>"]) + "\n"
