"""Markdown, docstrings and formulas as HTML, and the links of pages."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from os.path import relpath
from pathlib import Path, PurePosixPath
from textwrap import dedent

import mistune
from latex2mathml.converter import convert
from markupsafe import Markup, escape
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonConsoleLexer, PythonLexer


class SiteError(RuntimeError):
    """A site that cannot be built: results are missing, or a link leads nowhere."""


def python(source: str) -> Markup:
    """Python source, or what a console shows, highlighted."""
    lexer = PythonConsoleLexer() if source.startswith(">>>") else PythonLexer()
    return Markup(f'<pre class="code">{highlight(source, lexer, HtmlFormatter(nowrap=True))}</pre>')


def formula(source: str, display: str = "inline") -> str:
    """A formula of TeX as MathML, whose letters with a style of their own, which browsers ignore, are other letters."""
    made = convert(source.strip(), display=display).replace('mathvariant="sans-serif"', 'mathvariant="normal"')
    made = re.sub(r'<mi mathvariant="double-struck">([A-Z])<', lambda m: f"<mi>{chr(0x1D538 + ord(m[1]) - 65)}<", made)
    return made if display == "inline" else f'<span class="display">{made}</span>'


class Page(mistune.HTMLRenderer):
    """What stands on one page of a site.

    names: URLs by what a text in code style says, a claim or a function, and by a file's path in the repository.
    copied: gives the URL of a file that is no page.  source: the file of the repository that the page is made from.
    """

    def __init__(self, url: str, names: Mapping[str, str], root: Path, source: Path, copied: Callable[[Path], str]):
        super().__init__(escape=False)
        self.url, self.names, self.root, self.source, self.copied = url, names, root, source, copied
        self.used: dict[str, int] = {}
        self.markdown = mistune.create_markdown(renderer=self, plugins=["table", "math"])

    def to(self, url: str) -> str:
        """A URL of the site as seen from this page."""
        path, mark, anchor = url.partition("#")
        return relpath(path, PurePosixPath(self.url).parent) + mark + anchor

    def followed(self, target: str) -> str:
        """Where a link of the source leads on the site; SiteError for one that leads nowhere."""
        if re.match(r"[a-z]+:|#", target):
            return target
        path, mark, anchor = target.partition("#")
        file = (self.source.parent / path).resolve()
        if not file.is_relative_to(self.root) or not file.exists():
            raise SiteError(f"{self.source.name} links to {target}, which does not exist")
        url = self.names.get(file.relative_to(self.root).as_posix()) or self.copied(file)
        return self.to(url) + mark + anchor

    def docstring(self, text: str) -> Markup:
        """A docstring: paragraphs, names in code style, examples, and indented lines as they stand."""
        parts = []
        for block in re.findall(
            r"(?:^ {4}.*\n?|^\n(?= {4}))+|^>>>(?:.+\n?)+|(?:^(?! {4}|>>>).+\n?)+", text, flags=re.M
        ):
            if block.startswith(">>>"):
                parts.append(python(block))
                continue
            pieces = re.split(r"`([^`]+)`", block)
            inline = "".join(self.codespan(piece) if at % 2 else escape(piece) for at, piece in enumerate(pieces))
            parts.append(f"<pre>{escape(dedent(block).strip())}</pre>" if block[0] in " \n" else f"<p>{inline}</p>")
        return Markup("\n".join(parts))

    def codespan(self, text: str) -> str:
        code, url = f"<code>{escape(text)}</code>", self.names.get(text)
        return f'<a href="{self.to(url)}">{code}</a>' if url and url != self.url else code

    def heading(self, text: str, level: int, **_) -> str:
        anchor = re.sub(r"[^\w\- ]", "", re.sub("<[^>]+>", "", text).lower()).strip().replace(" ", "-") or "section"
        self.used[anchor] = count = self.used.get(anchor, 0) + 1
        return f'<h{level} id="{anchor}{f"-{count}" if count > 1 else ""}">{text}</h{level}>\n'

    def block_code(self, code: str, info: str | None = None) -> str:
        return python(code) if re.search(r"^(from|import) ", code, re.M) else f"<pre>{escape(code)}</pre>"

    def table(self, text: str) -> str:
        return f'<div class="wide"><table>{text}</table></div>'

    def inline_math(self, text: str) -> str:
        return formula(text)

    def block_math(self, text: str) -> str:
        return formula(text, "block")

    def link(self, text: str, url: str, title: str | None = None) -> str:
        return super().link(text, self.followed(url), title)

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return super().image(text, self.followed(url), title)


class Links(HTMLParser):
    """What a page of HTML links to, the anchors that it has, and its pictures without a text in their place."""

    def __init__(self, text: str):
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()
        self.silent: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.targets += [named[key] for key in ("href", "src") if named.get(key)]
        self.anchors |= {named["id"]} if "id" in named else set()
        self.silent += [named["src"]] if tag == "img" and not named.get("alt") else []


def broken(folder: Path) -> list[str]:
    """Links and pictures of the pages in a folder that lead nowhere, and pictures without a text in their place."""
    pages = {path.resolve(): Links(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        here = path.relative_to(folder.resolve())
        found += [f"{here}: no text in the place of {picture}" for picture in page.silent]
        for target in page.targets:
            inside, _, anchor = target.partition("#")
            file = (path.parent / inside).resolve() if inside else path
            lost = not file.is_file() or (anchor and file in pages and anchor not in pages[file].anchors)
            found += [f"{here}: {target}"] if lost and not re.match(r"(https?|mailto|data):", target) else []
    return found
