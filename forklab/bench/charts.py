"""The bench as pictures: SVG that needs no script, no font of its own and no network.

altair says what is drawn, vl-convert draws it. Both take a second to import, so they are imported where a picture is
drawn and nowhere else. Each picture is 400 px wide: three stand beside each other on a wide screen, one fills a phone.
Colours are Okabe and Ito's, which differ for every kind of colour vision and in grey; shapes and labels say it, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forklab.bench import catalogue, goals, summary
from forklab.bench.goals import Finding
from forklab.bench.terminal import amount

if TYPE_CHECKING:
    import altair as alt

_WIDTH = 400
_ROW = 19
_BLUE, _ORANGE, _GREY, _RED, _INK = "#0072B2", "#E69F00", "#999999", "#D55E00", "#222222"
_FAMILIES = {catalogue.OURS: _BLUE, catalogue.C: _ORANGE, catalogue.OTHERS: _GREY}
_PERCENTILES = {"p50_us": "p50", "p90_us": "p90", "p99_us": "p99", "max_us": "max"}


def of_goals(findings: list[Finding]) -> str:
    """How far each measured goal is on the good side of its line; empty where none was measured."""
    import altair as alt

    rows = [
        {
            "goal": f"{finding.what}, {finding.section}",
            "reach": finding.reach.median,
            "low": finding.reach.low,
            "high": finding.reach.high,
            "verdict": finding.verdict,
        }
        for finding in findings
        if finding.reach
    ]
    if not rows:
        return ""
    ends = [value for row in rows for value in (row["low"], row["high"]) if isinstance(value, float) and value > 0]
    scale = alt.Scale(type="log", domain=[min(0.5, *ends) / 1.1, max(2.0, *ends) * 1.1])
    ticks = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100]
    axis = alt.Axis(title="times the goal (logarithmic)", values=ticks, format="~r")
    verdicts = [goals.MET, goals.MISSED]
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        y=_names("goal", rows),
        color=alt.Color("verdict:N", scale=alt.Scale(domain=verdicts, range=[_BLUE, _RED]), legend=_legend()),
    )
    spread = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", scale=scale, axis=axis), x2="high:Q")
    point = base.mark_point(filled=True, size=70, opacity=1).encode(
        x=alt.X("reach:Q", scale=scale, axis=axis),
        shape=alt.Shape("verdict:N", scale=alt.Scale(domain=verdicts, range=["circle", "diamond"])),
    )
    line = alt.Chart(alt.InlineData(values=[{"one": 1}])).mark_rule(color=_INK).encode(x=alt.X("one:Q", scale=scale))
    return _svg(line + spread + point, "Goals: right of the line is met", len(rows))


def of_section(table: summary.Table) -> str:
    """A bar for each entrant, the best on top, with the spread of its rounds; empty where nothing was measured."""
    import altair as alt

    rows = [
        {
            "entrant": row.entrant,
            "family": catalogue.family(row.entrant),
            "median": row.value.median,
            "low": row.value.low,
            "high": row.value.high,
            "label": amount(row.value.median) + (" !" if row.errors or row.limited else ""),
        }
        for row in table.rows
        if row.value
    ]
    if not rows:
        return ""
    # Room for the labels, which stand right of the longest bar's spread.
    top = max(row.value.high for row in table.rows if row.value) * 1.2 or 1.0
    scale = alt.Scale(domain=[0, top], nice=False)
    axis = alt.Axis(title=f"{catalogue.figure(table.section)} ({table.unit})", format="~s", tickCount=5)
    families = [family for family in _FAMILIES if any(row["family"] == family for row in rows)]
    colours = alt.Scale(domain=families, range=[_FAMILIES[family] for family in families])
    base = alt.Chart(alt.InlineData(values=rows)).encode(y=_names("entrant", rows))
    bar = base.mark_bar(height=12).encode(
        x=alt.X("median:Q", scale=scale, axis=axis),
        color=alt.Color("family:N", scale=colours, legend=_legend() if len(families) > 1 else None),
    )
    spread = base.mark_rule(color=_INK, strokeWidth=1.5).encode(x=alt.X("low:Q", scale=scale), x2="high:Q")
    label = base.mark_text(align="left", dx=5, color=_INK).encode(x=alt.X("high:Q", scale=scale), text="label:N")
    return _svg(bar + spread + label, f"{table.section} ({table.better} is better)", len(rows))


def of_latencies(table: summary.Table) -> str:
    """The percentiles of each entrant, the quickest on top; empty where the section tells none."""
    import altair as alt

    told = [row for row in table.rows if "p50_us" in row.details]
    told.sort(key=lambda row: row.details["p50_us"])
    rows = [
        {"entrant": row.entrant, "percentile": word, "ms": row.details[name] / 1000}
        for row in told
        for name, word in _PERCENTILES.items()
        if row.details.get(name)
    ]
    if not rows:
        return ""
    shapes = alt.Scale(domain=list(_PERCENTILES.values()), range=["circle", "square", "triangle-up", "cross"])
    colours = alt.Scale(domain=list(_PERCENTILES.values()), range=[_BLUE, _GREY, _ORANGE, _RED])
    base = alt.Chart(alt.InlineData(values=rows)).encode(y=_names("entrant", rows))
    decades = [10**power for power in range(-3, 6)]
    axis = alt.Axis(title="ms (logarithmic)", format="~g", values=decades)
    x = alt.X("ms:Q", scale=alt.Scale(type="log"), axis=axis)
    reach = base.mark_line(color=_GREY, strokeWidth=1).encode(x=x, detail="entrant:N")
    point = base.mark_point(filled=True, size=45, opacity=1).encode(
        x=x,
        shape=alt.Shape("percentile:N", scale=shapes, legend=_legend()),
        color=alt.Color("percentile:N", scale=colours, legend=_legend()),
    )
    return _svg(reach + point, f"{table.section}: from connect to close", len(told))


def _names(field: str, rows: list[dict[str, Any]]) -> alt.Y:
    """An axis of names, in the order of the rows. Room for a wide font: who looks at the picture may lack ours."""
    import altair as alt

    room = 7 * max(len(row[field]) for row in rows)
    return alt.Y(f"{field}:N", sort=None, title=None, axis=alt.Axis(minExtent=room))


def _legend() -> alt.Legend:
    import altair as alt

    return alt.Legend(title=None, orient="bottom")


def _svg(chart: alt.LayerChart, title: str, rows: int) -> str:
    import altair as alt
    import vl_convert

    height = rows * _ROW + 90
    content: Any = (
        chart.properties(
            width=_WIDTH,
            height=height,
            title=alt.TitleParams(title, anchor="start", fontSize=13),
            autosize=alt.AutoSizeParams(type="fit", contains="padding"),
        )
        .configure(background="white", font="Arial, Helvetica, sans-serif")
        .configure_axis(labelFontSize=11, titleFontSize=11, titleFontWeight="normal", labelLimit=260)
        .configure_legend(labelFontSize=11)
        .configure_text(fontSize=11)
        .configure_view(stroke=None)
        .to_dict()
    )
    return str(vl_convert.vegalite_to_svg(content))
