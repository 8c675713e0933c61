"""Write what the pages take from the code: options, the zoo, names of metrics, cli.md. Run `python docs/generate.py`."""

import re
from collections.abc import Iterator
from pathlib import Path

from pompc.cli import make_parser
from pompc.config.documentation import command_line, with_tables
from pompc.listing import point
from pompc.registry import ALGORITHMS, COMPONENTS, WAYS
from pompc.training.metric_names import MEDIA, METRICS

DOCS = Path(__file__).parent
CLI = """# The command line

This page is made from the parser by `python docs/generate.py`. `key=value` may stand anywhere after the command.

"""


def pages() -> dict[Path, str]:
    """What every page should say."""
    found = {page: with_tables(page.read_text(encoding="utf-8")) for page in sorted(DOCS.glob("*.md"))}
    zoo = DOCS / "zoo.md"
    names = DOCS / "dashboards.md"
    marked = {zoo: _between("zoo", found[zoo], _zoo()), names: _between("metrics", found[names], _metrics())}
    return {**found, **marked, DOCS / "cli.md": CLI + command_line(make_parser())}


def _between(mark: str, text: str, lines: Iterator[str]) -> str:
    """Replace what stands between a mark and its end."""
    inside = "\n".join(lines)
    return re.sub(rf"(?<=<!-- {mark} -->\n).*(?=<!-- end -->)", lambda _: f"{inside}\n", text, flags=re.S)


def _metrics() -> Iterator[str]:
    """Write the table of the names that runs log."""
    yield from ("| name | unit | what it is | summary |", "|---|---|---|---|")
    for name, metric in METRICS.items():
        yield f"| `{name}` | {metric.unit} | {metric.meaning} | {metric.summary.replace(',', ', ')} |"
    for name, meaning in MEDIA.items():
        yield f"| `{name}` | | {meaning} | |"


def _zoo() -> Iterator[str]:
    """Write a table for every way of combining planning and learning."""
    for way, heading in WAYS.items():
        yield from (f"## {heading[0].upper()}{heading[1:]}", "")
        yield from (
            "| `--algo` or option | published by | lambda | rho | acts | architecture | what it is |",
            "|---|---|---|---|---|---|---|",
        )
        for name, entry in ALGORITHMS.builtin.items():
            if entry.way == way:
                yield _row(name, entry.page or name, entry.paper, *point(name), entry.description)
        for setting, part in COMPONENTS.items():
            if part.way == way:
                yield _row(setting, part.page, part.paper, "", "", "", part.architecture or "-", part.description)
        yield ""


def _row(name: str, page: str, paper: str | None, *cells: str) -> str:
    return f"| {' | '.join([f'[`{name}`]({page}.md)', paper or 'this project', *cells])} |"


if __name__ == "__main__":
    for page, text in pages().items():
        page.write_text(text, encoding="utf-8")
