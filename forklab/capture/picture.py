"""The ladder of a connection as an SVG picture for a slide; it needs no font, style or script of elsewhere."""

from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from forklab.capture import ladder
from forklab.capture.connections import CLIENT, Connection, Reading, Step

_WIDTH, _LEFT, _RIGHT = 1080, 130, 810
_TOP, _ROW, _SLANT, _LINE = 120, 34, 8, 22
_COLOURS = {
    ladder.KIND_RESET: ("#b00020", "7 4"),
    ladder.KIND_END: ("#0072b2", ""),
    ladder.KIND_BEGIN: ("#00664b", ""),
    ladder.KIND_TROUBLE: ("#a65200", "2 4"),
    ladder.KIND_PLAIN: ("#222222", ""),
}
"""Colour and dashes. The colours differ in brightness too; what each means stands beside its arrow in words."""
_GREY = "#666666"
_SPACE = "http://www.w3.org/2000/svg"


def svg(connection: Connection, reading: Reading) -> str:
    """The picture, as a document of its own."""
    rows = list(ladder.rows(connection))
    story = [*ladder.story(connection), *ladder.remarks(reading)]
    bottom = _TOP + _ROW * (len(rows) + 1)
    height = bottom + _LINE * (len(story) + 2)
    root = Element(
        "svg",
        {
            "xmlns": _SPACE,
            "viewBox": f"0 0 {_WIDTH} {height}",
            "width": str(_WIDTH),
            "height": str(height),
            "font-family": "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif",
            "font-size": "14",
        },
    )
    SubElement(root, "title").text = ladder.title(connection, reading)
    SubElement(root, "desc").text = " ".join(story)
    _add(root, "rect", width=_WIDTH, height=height, fill="#ffffff")
    _words(root, 20, 34, ladder.title(connection, reading), size=20, weight="bold")
    _words(root, _LEFT - 16, 96, "seconds", fill=_GREY, anchor="end")
    for x, side, address in ((_LEFT, "client", connection.client), (_RIGHT, "server", connection.server)):
        anchor = "start" if x == _LEFT else "end"
        _words(root, x, 76, side, weight="bold", anchor=anchor)
        _words(root, x, 96, address, anchor=anchor)
        _add(root, "line", x1=x, y1=_TOP - 14, x2=x, y2=bottom, stroke="#222222", stroke_width=2)
    for number, row in enumerate(rows):
        y = _TOP + _ROW * number + _ROW // 2
        if isinstance(row, Step):
            _arrow(root, connection, row, y)
        else:
            _words(root, (_LEFT + _RIGHT) // 2, y + 5, f"… {row.words} …", fill=_GREY, anchor="middle", style="italic")
    for number, sentence in enumerate(story):
        _words(root, 20, bottom + _LINE * (number + 2), sentence)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _arrow(root: Element, connection: Connection, step: Step, y: int) -> None:
    colour, dashes = _COLOURS[ladder.kind(step)]
    right = step.by == CLIENT
    start, tip = (_LEFT, _RIGHT) if right else (_RIGHT, _LEFT)
    back = tip - 12 if right else tip + 12
    below = y + _SLANT
    line = {"stroke": colour, "stroke_width": 2} | ({"stroke_dasharray": dashes} if dashes else {})
    _add(root, "line", x1=start, y1=y, x2=back, y2=below, **line)
    _add(root, "polygon", points=f"{tip},{below} {back},{below - 5} {back},{below + 5}", fill=colour)
    _words(root, (_LEFT + _RIGHT) // 2, y - 3, ladder.label(step), fill=colour, anchor="middle")
    _words(root, _LEFT - 16, y + 5, f"{connection.relative(step.time):.6f}", fill=_GREY, anchor="end")
    _words(root, _RIGHT + 16, y + _SLANT + 5, ", ".join(step.notes), fill=colour, weight="bold")


def _words(
    root: Element,
    x: int,
    y: int,
    text: str,
    *,
    fill: str = "#222222",
    anchor: str = "start",
    size: int = 14,
    weight: str = "normal",
    style: str = "normal",
) -> None:
    if text:
        look = {"fill": fill, "text_anchor": anchor, "font_size": size, "font_weight": weight, "font_style": style}
        _add(root, "text", x=x, y=y, **look).text = text


def _add(root: Element, tag: str, **attributes: object) -> Element:
    return SubElement(root, tag, {name.replace("_", "-"): str(value) for name, value in attributes.items()})
