"""A hook of mkdocs that makes the pages of the API reference: one for every package of `pompc`, with all its modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent


def packages() -> dict[str, list[str]]:
    """Modules by page: ``pompc`` with its own modules, then its packages; a package without modules has no page."""
    pages: dict[str, list[str]] = {}
    for file in sorted((ROOT / "pompc").rglob("*.py")):
        if not file.stem.startswith("_"):
            parts = file.relative_to(ROOT).with_suffix("").parts
            pages.setdefault(".".join(parts[:-1][:2]), []).append(".".join(parts))
    return pages


def on_config(config: Any) -> Any:
    """Add the pages to the navigation."""
    config.nav.append({"API": [{name: f"api/{name}.md"} for name in packages()]})
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages, which exist on the site alone."""
    for name, modules in packages().items():
        content = "\n\n".join([f"# {name}", *(f"::: {module}" for module in modules)])
        files.append(File.generated(config, f"api/{name}.md", content=content))
    return files
