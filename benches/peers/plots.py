"""Bar charts as small SVG files, without a library."""

from html import escape
from math import log10

WIDTH, LEFT, RIGHT, ROW, TOP = 720, 190, 90, 24, 44
OWN, OTHER, RANGE = "#0b7285", "#adb5bd", "#495057"


def bars(title, unit, rows, logarithmic):
    """(title, SVG text) of one bar for each of `rows`: a label, (median, least, most), and whether it is the node."""
    height = TOP + ROW * len(rows) + 14
    most = max(high for _, (_, _, high), _ in rows)
    least = min(low for _, (_, low, _), _ in rows)
    if logarithmic:
        start = 10 ** (log10(least) - 0.15)
        at = lambda value: (log10(max(value, start)) - log10(start)) / (log10(most) - log10(start))
    else:
        at = lambda value: value / most
    x = lambda value: LEFT + at(value) * (WIDTH - LEFT - RIGHT)
    unit_words = f"{unit}, logarithmic" if logarithmic else unit
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="10" y="22" font-size="15" font-weight="bold">{escape(title)} '
        f'<tspan font-weight="normal" fill="{RANGE}">({escape(unit_words)})</tspan></text>',
    ]
    for i, (label, (middle, low, high), own) in enumerate(rows):
        y = TOP + i * ROW
        weight = ' font-weight="bold"' if own else ""
        parts.append(f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end"{weight}>{escape(label)}</text>')
        parts.append(
            f'<rect x="{LEFT}" y="{y}" width="{x(middle) - LEFT:.1f}" height="17" fill="{OWN if own else OTHER}"/>'
        )
        parts.append(f'<path d="M{x(low):.1f} {y + 8.5}H{x(high):.1f}" stroke="{RANGE}" stroke-width="1.5"/>')
        parts.append(f'<text x="{x(high) + 6:.1f}" y="{y + 13}"{weight}>{number(middle)}</text>')
    return title, "\n".join([*parts, "</svg>\n"])


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
