"""Write a comparison as one HTML page that needs no network.

The page is a Jinja template with autoescape: tables and words stand in it as HTML and can be read, searched and printed
without JavaScript. The charts are drawn by a small script of this package (``*.js``) from data that the page holds once, as
JSON. Why no plotting library: one that works offline and is installed by pip puts its whole engine into every page (in
November 2026: plotly 4.8 MB, bokeh 1.3 MB; altair needs 84 MB of vl-convert to inline Vega, mpld3 is pictures of
matplotlib on a d3 of 2017). Of it the page would use lines, bands and dots; what it needs beside them, one choice of axis,
metric and methods for all charts, a theme that follows the reader's, arrow keys and print, is written by hand over each of
them. The script is 20 kB. Matplotlib's SVG would hover and switch nothing.

A Content-Security-Policy allows this script by its hash and nothing else, so that even a name that slipped through unescaped
could neither run nor load anything.
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pompc.report.html.view import view
from pompc.report.html.words import capitalised
from pompc.system.files import require_writable

if TYPE_CHECKING:
    from pompc.report.comparison import Comparison

SCRIPTS = ("errors.js", "format.js", "chart.js", "lines.js", "dots.js", "page.js")
"""The script, in the order in which its parts need each other."""


def write(comparison: Comparison, path: Path) -> None:
    """Write the page of a comparison.

    Args:
        comparison: what it shows.
        path: the .html; videos that are too large to lie in it are linked from its folder.

    Raises:
        UserError: the file cannot be written.
    """
    require_writable(path)
    page, charts = view(comparison, path.parent)
    script = _asset_script()
    environment = Environment(
        loader=PackageLoader("pompc.report.html", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["capitalised"] = capitalised
    text = environment.get_template("page.html").render(
        page=page,
        data=embedded(charts),
        script=Markup(script),
        style=Markup(_asset("page.css")),
        policy=_policy(script),
    )
    path.write_text(text, encoding="utf-8")


def embedded(value: Any) -> Markup:
    """Write a value as JSON that cannot end its ``<script>`` element: ``<``, ``>`` and ``&`` are escaped."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026"))


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _asset_script() -> str:
    """Join the parts of the script in one scope, so that it leaves no names in the page."""
    parts = "\n".join(map(_asset, SCRIPTS))
    return f'(() => {{\n"use strict";\n{parts}}})();\n'


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rules = (
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{digest}'",
        "media-src 'self' file: data:",
        "base-uri 'none'",
        "form-action 'none'",
    )
    return "; ".join(rules)
