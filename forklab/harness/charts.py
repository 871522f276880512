"""Pictures of figures: altair charts that scenarios draw, in one hand.

altair takes a second to import, so it is imported where a picture is drawn and nowhere else. Colours are Okabe and
Ito's, which differ for every kind of colour vision and in grey; a label, a shape or a place says it, too. Each picture
is 400 px wide: two stand beside each other on a wide screen, one fills a phone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forklab.harness.median import median

if TYPE_CHECKING:
    import altair as alt

WIDTH = 400
BLUE, ORANGE, GREEN, RED, SKY, PURPLE, GREY, INK = (
    *("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#999999", "#222222"),
)
_ROW = 22
_DECADES = [10**power for power in range(-4, 7)]


@dataclass(frozen=True)
class Span:
    """A stretch of time: in which panel, of whom (a number: the row), from when to when in seconds, what went on."""

    panel: str
    who: int
    begin: float
    end: float
    what: str


def staircase(spans: Sequence[Span], colours: Mapping[str, str], who: str, columns: int = 2) -> Any:
    """Each panel's rows as bars over one common time.

    Args:
        spans: the bars.
        colours: of each ``what``, in the order of the legend.
        who: what the rows are, for the axis.
        columns: panels beside each other.
    """
    import altair as alt

    rows = [vars(span) for span in spans]
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    bar = (
        alt.Chart(alt.InlineData(values=rows), width=WIDTH // columns - 50, height=110)
        .mark_bar()
        .encode(
            x=alt.X("begin:Q", axis=alt.Axis(title="seconds", tickCount=4)),
            x2="end:Q",
            y=alt.Y("who:O", axis=alt.Axis(title=who, labels=False, ticks=False), scale=alt.Scale(paddingInner=0.15)),
            color=alt.Color("what:N", scale=scale, sort=list(colours), legend=_legend()),
        )
    )
    panels = list(dict.fromkeys(span.panel for span in spans))
    header = alt.Header(title=None, labelFontSize=12, labelFontWeight="bold", labelAnchor="start")
    return styled(bar.facet(facet=alt.Facet("panel:N", sort=panels, header=header), columns=columns, spacing=12))


def spreads(
    samples: Mapping[str, Sequence[float]], unit: str, *, kinds: Mapping[str, str] | None = None, log: bool = False
) -> Any:
    """A bar for each name up to its median, a line from its lowest to its highest, and the median in figures.

    Args:
        samples: by name, in the order of the picture.
        unit: for the axis.
        kinds: a kind for each name, which gives it its colour (two kinds at most); without, all are alike.
        log: logarithmic, for what differs by more than one decade; then points stand in place of bars.
    """
    import altair as alt

    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "kind": kinds[name] if kinds else "",
            "median": (middle := median(values)),
            "low": min(values),
            "high": max(values),
            "label": f"{middle:,.0f}" if middle >= 100 else f"{middle:.3g}",
        }
        for name, values in samples.items()
    ]
    scale = alt.Scale(type="log" if log else "linear", nice=log)
    axis = alt.Axis(
        title=unit + (" (logarithmic)" if log else ""), tickCount=5, values=_DECADES if log else alt.Undefined
    )
    axis.format = ",~r"  # never 1e+2
    x = alt.X("median:Q", scale=scale, axis=axis)
    names = alt.Y("name:N", sort=None, title=None, axis=alt.Axis(minExtent=7 * max(map(len, samples))))
    order = list(dict.fromkeys(row["kind"] for row in rows))
    colour = alt.Color(
        "kind:N", scale=alt.Scale(domain=order, range=[BLUE, ORANGE][: len(order)]), legend=_legend() if kinds else None
    )
    base = alt.Chart(
        alt.InlineData(values=rows), width=WIDTH - 7 * max(map(len, samples)) - 60, height=len(rows) * _ROW
    )
    shapes = alt.Scale(domain=order, range=["circle", "diamond"][: len(order)])
    shape = alt.Shape("kind:N", scale=shapes, legend=_legend() if kinds else None)
    mark = (
        base.mark_point(filled=True, size=70, opacity=1).encode(x=x, y=names, color=colour, shape=shape)
        if log
        else base.mark_bar(height=12).encode(x=x, y=names, color=colour)
    )
    spread = base.mark_rule(color=INK, strokeWidth=1.5).encode(x=alt.X("low:Q", scale=scale), x2="high:Q", y=names)
    label = base.mark_text(align="left", dx=7, color=INK).encode(
        x=alt.X("high:Q", scale=scale), y=names, text="label:N"
    )
    return styled(mark + spread + label)


def curves(samples: Mapping[str, Sequence[tuple[float, float]]], x: str, y: str) -> Any:
    """A line through the points of each name, logarithmic upwards; colour, shape and legend tell them apart.

    Args:
        samples: by name, in the order of the legend, three at most; pairs of what ``x`` and ``y`` count.
        x, y: the titles of the axes, with units.
    """
    import altair as alt

    rows: list[dict[str, Any]] = [
        {"name": name, "x": right, "y": up} for name, points in samples.items() for right, up in points
    ]
    order = list(samples)
    colours = alt.Scale(domain=order, range=[BLUE, ORANGE, GREY][: len(order)])
    shapes = alt.Scale(domain=order, range=["circle", "diamond", "cross"][: len(order)])
    highest = max(row["x"] for row in rows)
    base = alt.Chart(alt.InlineData(values=rows), width=WIDTH - 70, height=200).encode(
        x=alt.X("x:Q", scale=alt.Scale(domain=[0, highest * 1.05], nice=False), axis=alt.Axis(title=x, tickCount=6)),
        y=alt.Y("y:Q", scale=alt.Scale(type="log"), axis=alt.Axis(title=f"{y} (logarithmic)", format=",~r")),
        color=alt.Color("name:N", scale=colours, legend=_legend()),
    )
    line = base.mark_line(strokeWidth=2)
    point = base.mark_point(filled=True, size=70, opacity=1).encode(
        shape=alt.Shape("name:N", scale=shapes, legend=_legend())
    )
    return styled(line + point)


def _legend() -> alt.Legend:
    import altair as alt

    return alt.Legend(title=None, orient="bottom")


def styled(chart: Any) -> Any:
    """A chart in the look of them all."""
    return (
        chart.configure(background="white", font="Arial, Helvetica, sans-serif")
        .configure_axis(labelFontSize=11, titleFontSize=11, titleFontWeight="normal", labelLimit=260)
        .configure_legend(labelFontSize=11)
        .configure_text(fontSize=11)
        .configure_view(stroke=None)
    )
