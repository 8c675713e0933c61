"""Write what the pages take from the code: the tables of options, and cli.md. Run `python docs/generate.py`."""

from pathlib import Path

from pompc.cli import make_parser
from pompc.config.documentation import command_line, with_tables

DOCS = Path(__file__).parent
CLI = """# The command line

This page is made from the parser by `python docs/generate.py`. `key=value` may stand anywhere after the command.

"""


def pages() -> dict[Path, str]:
    """What every page should say."""
    found = {page: with_tables(page.read_text(encoding="utf-8")) for page in sorted(DOCS.glob("*.md"))}
    return {**found, DOCS / "cli.md": CLI + command_line(make_parser())}


if __name__ == "__main__":
    for page, text in pages().items():
        page.write_text(text, encoding="utf-8")
