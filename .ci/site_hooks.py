"""MkDocs hooks: the package as griffe can read it, executed notebooks as pages, links out of docs/ mended."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mkdocs.structure.files import File
from nbconvert import MarkdownExporter

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
#: Where mkdocs.yml tells mkdocstrings to look.
TREE = ROOT / "build" / "api"
#: Files outside docs/ that are pages of the site, by their path there.
OUTSIDE = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
_LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(?=[)#])")


def on_startup(command: Literal["build", "gh-deploy", "serve"], dirty: bool) -> None:
    """Lays the package out as it installs, since some of its folders lie elsewhere in the checkout."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        folders = tomllib.load(file)["tool"]["setuptools"]["package-dir"]
    shutil.rmtree(TREE, ignore_errors=True)
    top = TREE / "moldiff"
    top.mkdir(parents=True)
    for child in (ROOT / folders["moldiff"]).iterdir():
        if child.name != "__pycache__":
            (top / child.name).symlink_to(child)
    for package, folder in folders.items():
        if package != "moldiff":
            (TREE / package.replace(".", "/")).symlink_to(ROOT / folder)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages whose source lies outside docs/."""
    for source, page in OUTSIDE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=_mended(text, Path(source), Path(page))))
    for notebook in sorted((ROOT / "examples").glob("*.ipynb")):
        body, resources = MarkdownExporter().from_filename(str(notebook))
        folder = f"examples/{notebook.stem}"
        # The exporter names each picture as if it lay beside the page.
        for name, data in resources["outputs"].items():
            files.append(File.generated(config, f"{folder}/{name}", content=data))
            body = body.replace(f"]({name})", f"]({notebook.stem}/{name})")
        page = Path(f"{folder}.md")
        text = _mended(body, notebook.relative_to(ROOT), page)
        files.append(File.generated(config, str(page), content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The text with links that leave docs/ led to their pages."""
    source = page.file.src_uri
    if page.file.generated_by is not None:
        return markdown
    return _mended(markdown, Path("docs", source), Path(source))


def _mended(text: str, source: Path, page: Path) -> str:
    """The text of ``source`` (in the checkout) with its relative links made those of ``page`` (in docs/)."""

    def lead(match: re.Match[str]) -> str:
        target = (ROOT / source.parent / match[1]).resolve()
        if not target.exists() or not target.is_relative_to(ROOT):
            return match[1]  # strict mode says that it leads nowhere
        inside = str(target.relative_to(ROOT))
        if inside.startswith("docs/"):
            to = inside.removeprefix("docs/")
        elif inside in OUTSIDE:
            to = OUTSIDE[inside]
        elif target.suffix == ".ipynb":
            to = str(target.relative_to(ROOT).with_suffix(".md"))
        else:
            return match[1]
        return _relative(Path(to), page.parent)

    return _LINK.sub(lead, text)


def _relative(path: Path, start: Path) -> str:
    up = len([part for part in start.parts if part != "."])
    return "../" * up + path.as_posix()
