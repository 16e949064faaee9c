"""The page in a browser, as a person meets it; the rest of it as text."""

import dataclasses
import math
import re

import pytest
import torch

from tavtorch.lab.page import Section, duration, indices, label, number, render, write_overview
from tavtorch.lab.panels import Panel, picture, sound_panel

ROWS = [{"name": "<one>", "result/psnr": 30.0}, {"name": "two", "result/psnr": math.nan}]


def section(name="tv", **changes):
    wave = 0.5 * torch.sin(torch.arange(8000) * 2 * torch.pi * 440 / 8000)[None]
    panels = [
        Panel("input", picture(torch.rand(1, 200, 300))),
        Panel("result", picture(torch.rand(3, 200, 300)), before="input"),
    ]
    base = Section(
        name,
        "Least <total> variation",
        chapter="2.1 Denoising",
        figures=[2, 3],
        about="What it is.",
        energy="min_u ½‖u − f‖² + λ TV(u)",
        course="Too smooth.",
        here="Better.",
        command=f"python evaluate.py experiment={name} " + "data.a_long_setting=1 " * 8,
        seconds=12.0,
        average="mean",
        table={"psnr": {"result": 30.0}},
        rows=ROWS,
        exhibits=[("camera", panels), ("a tone", [sound_panel("tone", wave, 8000, 40.0)])],
    )
    return dataclasses.replace(base, **changes)


# as text


def test_a_section_says_what_it_is():
    page = render("title", [section()])
    for words in ("Figures 2, 3", "What it is.", "min<sub>u</sub>", "Too smooth.", "Better.", "experiment=tv", "12 s"):
        assert words in page
    assert "The mean over 2 items" in page


def test_a_section_comes_back_from_its_file(tmp_path):
    written = section(rows=ROWS[:1])  # NaN is not equal to itself
    written.write(tmp_path)
    assert Section.read(tmp_path / "section.json") == written
    assert (tmp_path / "report.html").read_text() == render(written.title, [written])


def test_many_runs_stand_in_the_order_of_the_report(tmp_path):
    runs = [("z", "2.1 A", [1]), ("a", "2.1 A", [4]), ("m", "3 B", []), ("b", "", []), ("n", "2.1 A", [])]
    for name, chapter, figures in runs:
        section(name, chapter=chapter, figures=figures, exhibits=[]).write(tmp_path / name)
    section("old").write(tmp_path / "old")  # of an earlier sweep
    done = [tmp_path / name for name, _, _ in runs]
    write_overview(tmp_path, tmp_path / "report/index.html", [*done, tmp_path / "killed"])
    page = (tmp_path / "report/index.html").read_text()
    assert re.findall(r'<section id="(\w)"', page) == ["z", "a", "n", "m", "b"]
    assert re.findall(r'href="#(\w)"', page) == ["z", "a", "n", "m", "b"]
    assert page.index("Other runs") > page.index("3 B")


def test_a_run_that_failed_says_why():
    page = render("title", [Section("tv", "Title", errors={"tv": "data.root: <no> such folder"})])
    assert "Not run" in page and "data.root: &lt;no&gt; such folder" in page
    assert "Passed over" in render("title", [section(errors={"x.png": "x.png: not a picture"})])


def test_what_could_not_be_shown_is_told():
    assert "camera: cannot be shown (no &lt;paint&gt;)" in render(
        "t", [section(notes=["camera: cannot be shown (no <paint>)"])]
    )


def test_passwords_are_not_written(tmp_path):
    section(command="python evaluate.py library.url=postgresql://me:pass@host/songs").write(tmp_path)
    write_overview(tmp_path, tmp_path / "index.html", [tmp_path])
    for name in ("section.json", "report.html", "index.html"):
        text = (tmp_path / name).read_text()
        assert "postgresql://me:***@host/songs" in text and "pass@" not in text


def test_names_are_shown_and_not_executed():
    page = render("<b>title</b>", [section(about="<script>alert(1)</script>")])
    assert "&lt;one&gt;" in page and "&lt;script&gt;alert" in page
    assert page.count("<script>") == 1 and "<b>title" not in page and "<total>" not in page


def test_the_page_needs_nothing_but_itself():
    page = render("title", [section()])
    (studio,) = re.findall(r"<a href=\"([^\"#]*)\"", page)  # a link, which nobody needs to follow
    assert studio == "http://127.0.0.1:7860/?experiment=tv"
    urls = re.findall(r"(?:src|href)=\"([^\"]*)", page)
    assert all(url.startswith("data:") for url in urls if url != studio)


def test_only_experiments_open_in_the_studio():
    assert section(command="python train.py experiment=unet_large").studio is None
    assert section(command="python evaluate.py task=rof").studio is None and Section("x").studio is None
    assert section(command="python evaluate.py experiment=film", in_studio=False).studio is None


def test_an_experiment_with_other_settings_does_not_open_as_it_is():
    assert section(command="python evaluate.py experiment=tv seed=1").studio.endswith("?experiment=tv")
    for word in ("task.op.weight=1", "'+task.op.every=2'", "media.grow=1"):
        assert section(command=f"python evaluate.py experiment=tv {word}").studio is None


def test_numbers_and_names_for_people():
    assert [number(x) for x in (28.053, 0.00123, 40.0, -0.5, math.nan)] == ["28.05", "0.00123", "40", "-0.5", "nan"]
    assert [number(x, "notes/sdr") for x in (28.053, 3.0, -1e-5, math.nan)] == ["28.05", "3.00", "0.00", "nan"]
    assert [label(m) for m in ("si_sdr_gain", "psnr", "ssim", "iterations")] == [
        "SI-SDR gain, dB", "PSNR, dB", "SSIM", "iterations"
    ]  # fmt: skip
    assert [duration(s) for s in (3.2, 99.0, 600.0)] == ["3 s", "99 s", "10 min"]
    assert indices("<min_u, Σ_{jk}>") == "&lt;min<sub>u</sub>, Σ<sub>jk</sub>&gt;"


def test_a_section_without_a_title_has_its_name():
    assert "<h1>tv</h1>" in render("tv", [Section("tv")]) and Section("tv").title == "tv"


# in a browser


@pytest.fixture(scope="module")
def browser(open_browser):
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name in ("tv", "rof"):
        section(name).write(folder / name)
    write_overview(folder, folder / "report/index.html", [folder / "tv", folder / "rof"])
    return folder / "report/index.html"


@pytest.fixture(params=[(360, "dark"), (1600, "light")], ids=["360 px, dark", "1600 px, light"])
def page(browser, index, request):
    """The page of two runs; a test fails where the console has something to say."""
    width, scheme = request.param
    opened, said = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme), []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.goto(index.as_uri())
    yield opened
    opened.close()
    assert not said


def test_nothing_overflows(page):
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    wide = """[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, .energy, dialog')
              && e.getBoundingClientRect().right > window.innerWidth + 1).length"""
    assert page.evaluate(wide) == 0


def test_every_picture_decodes(page):
    decoded = page.evaluate("""Promise.all([...document.querySelectorAll('main img, nav img')]
        .map(image => image.decode().then(() => image.naturalWidth)))""")
    assert len(decoded) == 2 * (1 + 2 + 2 + 1)  # a small one, two pictures, the two again under a slider, a sonogram
    assert all(width > 0 for width in decoded)


def test_every_sound_plays(page):
    lengths = page.evaluate("""Promise.all([...document.querySelectorAll('audio')].map(
        audio => new Promise((resolve, reject) => {
            audio.onloadedmetadata = () => resolve(audio.duration);
            audio.onerror = () => reject(audio.error.message);
            audio.load();
        })))""")
    assert lengths == pytest.approx([1.0, 1.0], abs=0.1)


def test_a_click_on_a_sonogram_goes_there(page):
    page.evaluate("document.querySelectorAll('audio').forEach(audio => audio.muted = true)")
    sonogram = page.locator(".sonogram").first
    size = sonogram.bounding_box()
    start, stop = (sonogram.evaluate(f"e => +e.style.getPropertyValue('{name}')") for name in ("--from", "--to"))
    assert 0 < start < stop <= 1
    sonogram.click(position={"x": (start + stop) / 2 * size["width"], "y": 10})
    page.wait_for_function("document.querySelector('audio').currentTime > 0.4")


def test_the_slider_parts_before_and_after(page):
    slider = page.get_by_role("slider", name="input | result").first
    slider.focus()
    slider.press("End")
    assert slider.evaluate("e => e.parentElement.style.getPropertyValue('--at')") == "100%"
    slider.press("ArrowLeft")
    assert slider.evaluate("e => e.parentElement.style.getPropertyValue('--at')") == "99.5%"


def test_a_picture_is_enlarged_and_the_next_one_follows(page):
    page.get_by_role("button", name="Enlarge: camera, input").first.press("Enter")
    dialog = page.get_by_role("dialog")
    assert dialog.inner_text().strip() == "camera, input"
    page.keyboard.press("ArrowRight")
    assert dialog.inner_text().strip() == "camera, result"
    page.keyboard.press("Escape")
    assert not dialog.is_visible()


def test_the_contents_lead_to_the_sections(page):
    page.get_by_role("navigation", name="Contents").get_by_role("link").last.click()
    page.wait_for_function("Math.abs(document.querySelectorAll('section')[1].getBoundingClientRect().top) < 60")


def test_every_control_has_a_name(page):
    assert page.evaluate("""[...document.querySelectorAll('button, input, audio, [tabindex]')]
        .every(e => e.ariaLabel || e.getAttribute('aria-label'))""")
    assert page.evaluate("[...document.querySelectorAll('main img')].every(e => e.alt)")
