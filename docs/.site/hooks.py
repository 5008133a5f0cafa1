"""What the site has besides the pages of this folder.

Pages link to programs, the changes and what is defended where they are in the repository (``../examples/broker.py``).
On the site these are pages of their own, made here from the very files, and the links are turned to them. After the
build, every name and parameter of the public API must have come out with a text (see ``reference.py`` beside this), no
page may load anything from elsewhere, and every link within the site must lead to a place in it.
"""

from __future__ import annotations

import ast
import importlib.util
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples"
# What a browser would load by itself; a link may lead anywhere.
FROM_OUTSIDE = re.compile(r"<(?:script|img|link|iframe)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>")
WITHIN = re.compile(r'href="([^":#?]*)#([^"]+)"')
PLACE = re.compile(r'id="([^"]+)"')
LINK = re.compile(r"(?<=\]\()((?:\.\./)+)([^)#\s]+)")


def _anchor(name: str) -> str:
    return name.replace(".", "-")


def _examples() -> str:
    parts = ["# Examples", "Programs to start from, run by the tests of this project as they stand here."]
    for path in sorted(EXAMPLES.iterdir()):
        if path.suffix not in {".py", ".service", ".socket"}:
            continue
        text = path.read_text(encoding="utf-8")
        parts.append(f"## {path.name} {{ #{_anchor(path.name)} }}")
        if path.suffix == ".py":
            parts.append((ast.get_docstring(ast.parse(text)) or "").split("\n\n")[0])
        language = "python" if path.suffix == ".py" else "ini"
        parts.append(f"````{language}\n{text.rstrip()}\n````")
    return "\n\n".join(parts) + "\n"


def _named(entry: Any) -> Iterator[str]:
    """The files that a part of the navigation names."""
    if isinstance(entry, str):
        yield entry
    elif isinstance(entry, dict):
        yield from _named(list(entry.values()))
    elif isinstance(entry, list):
        for one in entry:
            yield from _named(one)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Puts pages that nobody gave a place at the end of the reference."""
    there = set(_named(config.nav))
    pages = sorted(path.name for path in Path(config.docs_dir).glob("*.md"))
    reference = next(part["Reference"] for part in config.nav or [] if "Reference" in part)
    reference.extend(name for name in pages if name not in there)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are made of files elsewhere in the repository."""
    made = {
        "examples.md": _examples(),
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
        "security.md": (ROOT / "SECURITY.md").read_text(encoding="utf-8").replace("](docs/", "]("),
    }
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    return files


def _on_site(target: str) -> str | None:
    """Where the site has what the repository has at ``target``."""
    if target.startswith("examples"):
        name = posixpath.basename(target.rstrip("/"))
        return "examples.md" if name == "examples" else f"examples.md#{_anchor(name)}"
    return {"CHANGELOG.md": "changelog.md", "README.md": "index.md", "SECURITY.md": "security.md"}.get(target)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links that leave the folder of the pages to what the site has instead."""
    del config, files
    here = posixpath.dirname(page.file.src_uri)

    def turned(link: re.Match[str]) -> str:
        # Relative to the repository's root; pages live in docs/.
        target = posixpath.normpath(posixpath.join("docs", here, link[1], link[2]))
        if target.startswith("docs/"):
            return link[0]
        on_site = _on_site(target)
        if on_site is None:
            raise PluginError(f"{page.file.src_uri}: the site has nothing for {link[0]}")
        return posixpath.relpath(on_site, here or ".")

    return LINK.sub(turned, markdown)


def _leads_nowhere(site: Path) -> Iterator[str]:
    """Links to places that no page has. mkdocs looks only at those that stand in the files of its folder."""
    pages = {path.resolve(): path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    places = {path: set(PLACE.findall(text)) for path, text in pages.items()}
    for path, text in pages.items():
        for page, place in WITHIN.findall(text):
            if place not in places.get((path.parent / page).resolve() if page else path, ()):
                yield f"{path.relative_to(site.resolve())}: {page}#{place}"


def on_post_build(config: MkDocsConfig) -> None:
    """Fails where a page loads from outside, or the reference lacks a public name, or a parameter its text."""
    site = Path(config.site_dir)
    for page in site.rglob("*.html"):
        if loads := FROM_OUTSIDE.search(page.read_text(encoding="utf-8")):
            raise PluginError(f"{page.relative_to(site)} loads from outside: {loads[0]}")
    if nowhere := list(_leads_nowhere(site)):
        raise PluginError("links that lead nowhere:\n  " + "\n  ".join(nowhere))
    place = Path(__file__).with_name("reference.py")
    spec = importlib.util.spec_from_file_location("reference", place)
    if spec is None or spec.loader is None:
        raise PluginError(f"{place} cannot be loaded")
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    missing = [*reference.without_text(ROOT / "python"), *reference.not_on_site(site)]
    if missing:
        raise PluginError("the API reference lacks:\n  " + "\n  ".join(missing))
