"""Figures as a table for people: columns to the right, "-" for what is unknown."""

from __future__ import annotations

from collections.abc import Sequence


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines of equal columns; the first column to the left."""
    widths = [max(len(row[column]) for row in (titles, *rows)) for column in range(len(titles))]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join([first, *others]).rstrip()

    return "\n".join(line(row) for row in (titles, *rows))


def seconds(value: float | None) -> str:
    """0.123, 12.3."""
    return "-" if value is None else f"{value:.3f}" if value < 10 else f"{value:.1f}"


def number(value: float | None) -> str:
    """1,234 or 12.3."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def share(value: float | None) -> str:
    """93%."""
    return "-" if value is None else f"{value:.0%}"
