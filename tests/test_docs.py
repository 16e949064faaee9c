"""The documentation: it builds without a warning, asks no other host, and has no broken link."""

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

import tavtorch

TOP = Path(__file__).resolve().parents[1]
STORIES = sorted(path for path in (TOP / "examples").rglob("*.py"))


class Page(HTMLParser):
    """The links, the resources and the anchors of a page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.resources, self.anchors = [], [], set()
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.anchors |= {given.get("id"), given.get("name")}
        if tag == "a":
            self.links.append(given.get("href") or "")
        elif tag == "link" and given.get("rel") not in ("index", "search", "next", "prev", "genindex"):
            self.resources.append(given.get("href"))
        elif tag in ("img", "script", "audio", "source", "iframe") and given.get("src"):
            self.resources.append(given["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site as its one command builds it, but for the stories, which `test_examples` runs."""
    pytest.importorskip(
        "sphinx", reason="the docs group is not installed: uv run --group docs pytest -m slow tests/test_docs.py"
    )
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(TOP / "docs", folder / "docs", ignore=shutil.ignore_patterns("_build", "gallery"))
    for part in ("examples", "configs", "tavtorch"):
        (folder / part).symlink_to(TOP / part)
    build = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-t", "unplotted", "docs", "built"]
    ran = subprocess.run(build, cwd=folder, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return folder / "built"


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path) for path in site.rglob("*.html")}


@pytest.mark.slow
def test_no_link_is_broken(pages):
    for path, page in pages.items():
        for link in page.links:
            if not re.match(r"[a-z]+:", link):
                target, anchor = urldefrag(unquote(link))
                there = (path.parent / target).resolve() if target else path
                assert there.exists(), f"{path.name}: {link}"
                assert not anchor or there.suffix != ".html" or anchor in pages[there].anchors, f"{path.name}: {link}"


@pytest.mark.slow
def test_nothing_is_asked_of_another_host(pages):
    for path, page in pages.items():
        for resource in page.resources:
            assert resource.startswith("data:") or not re.match(r"[a-z]+:|//", resource), f"{path.name}: {resource}"


@pytest.mark.slow
def test_every_public_name_is_in_the_reference(site, pages):
    found = set().union(*(pages[path].anchors for path in (site / "reference").glob("*.html")))
    names = {name for name, it in vars(tavtorch).items() if callable(it) and name[0] != "_"}
    assert {f"tavtorch.{name}" for name in names} <= found
    sources = [link for link in pages[site / "reference/restoration.html"].links if link.startswith("../_modules/")]
    assert any(link.endswith("rof.html#rof") for link in sources)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_from_disk_on_a_phone(site, open_browser, scheme):
    browser, asked, faults = open_browser(), [], []
    page = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme=scheme)
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    for name in ("index", "start", "how/denoising", "reference/restoration", "gallery/index"):
        page.goto((site / f"{name}.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
    page.goto((site / "search.html").as_uri() + "?q=duality")
    page.wait_for_selector("ul.search li a")
    assert all(url.startswith(("file:", "data:")) for url in asked) and not faults
    browser.close()


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_a_story_is_short(path):
    limit = 80 if path.parent.name != "examples" else 120  # those that train are longer
    assert len(path.read_text().splitlines()) <= limit


@pytest.mark.parametrize("path", sorted((TOP / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_a_story_that_is_not_run_has_a_thumbnail_of_its_own(path):
    (place,) = re.findall(r'^# sphinx_gallery_thumbnail_path = "(.+)"$', path.read_text(), re.MULTILINE)
    assert place == f"_static/{path.stem}.webp" and (TOP / "docs" / place).is_file()
