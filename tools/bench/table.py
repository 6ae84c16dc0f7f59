"""Figures as Markdown."""

import statistics


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def judged(value, bound, least=False):
    """A ✓ or ✗ with what is wanted: at most `bound`, or at least."""
    good = value >= bound if least else value <= bound
    return f"{'≥' if least else '≤'} {bound:g} {'✓' if good else '✗'}"


def exactly(value, wanted):
    """The same for a number that must be met."""
    return f"{wanted} {'✓' if value == wanted else '✗'}"


def spread(values, scale=1.0, digits=1):
    """Median, min and max, as cells."""
    values = [value * scale for value in values]
    if not values:
        return ["–", "–", "–"]
    return [f"{each:,.{digits}f}" for each in (statistics.median(values), min(values), max(values))]


def median(values):
    """The median, or nothing when every round was thrown away."""
    values = list(values)
    return statistics.median(values) if values else None
