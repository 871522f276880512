"""The median, without what importing it costs: each command of the lab knows the scenarios, and few of them count."""

from collections.abc import Iterable


def median(values: Iterable[float]) -> float:
    """As ``statistics.median``, which is imported when it is needed."""
    import statistics

    return statistics.median(values)
