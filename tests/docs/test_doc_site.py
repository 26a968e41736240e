"""The site: it is built without a warning, and needs no other machine."""

import html.parser
import pathlib
import re

import pytest
from testing import doc_blocks

mkdocs = pytest.importorskip("mkdocs.config", reason="emorec[docs] is absent")
pytest.importorskip("mkdocstrings", reason="emorec[docs] is absent")

ROOT = doc_blocks.ROOT
DOCS = ROOT / "docs"


class Loads(html.parser.HTMLParser):
    """Collects what a page makes a browser load, and its anchors."""

    def __init__(self, text):
        super().__init__()
        self.found, self.ids, self.links = [], set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if "id" in values:
            self.ids.add(values["id"])
        if tag == "a":
            self.links.append(values.get("href") or "")
            return
        # A canonical link and the like is named and not loaded.
        if tag == "link" and values.get("rel") in ("canonical", "next", "prev"):
            return
        self.found += [
            values[k] for k in ("src", "href", "data") if values.get(k)
        ]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, built with every warning an error."""
    from mkdocs.commands.build import build

    folder = tmp_path_factory.mktemp("site")
    config = mkdocs.load_config(
        str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True
    )
    # Raises `Abort` where there was a warning: a dead link, a page that is in
    # no menu, a name without a docstring to find.
    build(config)
    return folder


def test_every_page_is_there(site):
    made = {p.relative_to(site).with_suffix("") for p in site.rglob("*.html")}
    for page in DOCS.rglob("*.md"):
        assert page.relative_to(DOCS).with_suffix("") in made


def test_nothing_is_loaded_from_another_machine(site):
    loaded = {}
    for page in site.rglob("*.html"):
        found = Loads(page.read_text("utf-8")).found
        loaded[page.name] = [u for u in found if re.match(r"(https?:)?//", u)]
    for sheet in site.rglob("*.css"):
        text = sheet.read_text("utf-8")
        loaded[sheet.name] = re.findall(r"url\([\"']?(?:https?:)?//", text)
    assert len(loaded) > 20
    assert not {k: v for k, v in loaded.items() if v}


def test_the_commands_and_the_config_are_in_it(site):
    from emorec.cli import main

    commands = Loads((site / "reference/commands.html").read_text("utf-8"))
    assert {f"emorec-{c}" for c in main.COMMANDS} <= commands.ids
    text = (site / "reference/commands.html").read_text("utf-8")
    assert "<code>--manifest</code>" in text
    text = (site / "reference/config.html").read_text("utf-8")
    assert "<code>clip.clip_frames</code>" in text
    text = (site / "reference/client.html").read_text("utf-8")
    assert "Asks a model server" in text


def test_pictures_are_named_small_and_used(site):
    used = set()
    for page in site.rglob("*.html"):
        for url in Loads(page.read_text("utf-8")).found:
            used.add(pathlib.PurePosixPath(url).name)
    pictures = [p for p in (DOCS / "images").iterdir() if p.is_file()]
    assert {p.suffix for p in pictures} <= {".webp", ".png", ".svg"}
    for picture in pictures:
        assert picture.name in used, picture
        assert picture.stat().st_size < 200_000, picture
    for page in DOCS.rglob("*.md"):
        text = page.read_text("utf-8")
        assert not re.search(r"!\[\]\(", text), f"{page}: say what is shown"


def test_no_page_is_wider_than_a_terminal_but_for_tables():
    for page in DOCS.rglob("*.md"):
        if page.name == "scaling.md":
            continue  # Made by another command.
        for block in doc_blocks.read(page):
            if block.language in ("bash", "python"):
                long = [x for x in block.text.splitlines() if len(x) > 100]
                assert not long, block.place


def test_the_menu_names_no_page_twice():
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    names = re.findall(r"^\s+- (?:.+: )?(\S+\.md)$", text, re.MULTILINE)
    assert len(names) == len(set(names)) >= 20
