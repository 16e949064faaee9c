"""The studio in a browser, as a person meets it."""

import base64
import io
import os
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

import tavtorch
from tavtorch.lab.data.files import Picture, read_audio, read_mask, read_picture, write_picture
from tavtorch.lab.kinds.near import near_hole

pytestmark = pytest.mark.slow
TOP = Path(__file__).resolve().parents[3]
WAIT = 120000  # milliseconds: the machine may be busy


@pytest.fixture
def page(browser, studio):
    """A visitor of their own; what the page asks of other hosts, or says in vain, fails the test."""
    context = browser.new_context(viewport={"width": 1240, "height": 860}, accept_downloads=True)
    context.set_default_timeout(WAIT)
    page = context.new_page()
    asked, faults = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(studio.address)
    page.get_by_role("tab").first.wait_for()
    yield page
    context.close()
    assert not faults
    assert all(url.startswith((studio.address, "data:", "blob:")) for url in asked)


@pytest.fixture
def disk(tmp_path):
    """A dark disk of radius 20 about (60, 45) on a bright slope, with 16 bits."""
    y, x = torch.meshgrid(torch.arange(90.0), torch.arange(120.0), indexing="ij")
    inside = ((x - 60) ** 2 + (y - 45) ** 2) < 20**2
    image = torch.where(inside, 0.1, 0.6 + 0.002 * x)[None]
    write_picture(tmp_path / "a disk.png", Picture(image, None, 65535))
    return tmp_path / "a disk.png", inside


def opened(page, kind, file):
    page.locator(f"#tab-{kind}").click()
    return opened_in_tab(page, kind, file)


def opened_in_tab(page, kind, file):
    panel = page.locator(f"#panel-{kind}")
    panel.locator(".bench > div:first-child .drop input").last.set_input_files(str(file))
    panel.locator(".facts").first.wait_for()
    return panel


def drag(page, panel, *places, size=(120, 90)):
    canvas = panel.locator(".stage canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    at = [
        (box["x"] + (x + 0.5) / size[0] * box["width"], box["y"] + (y + 0.5) / size[1] * box["height"])
        for x, y in places
    ]
    page.mouse.move(*at[0])
    page.mouse.down()
    for place in at[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()


def downloaded(page, panel, name, folder):
    with page.expect_download() as download:
        panel.get_by_role("link", name=name, exact=True).first.click()
    download.value.save_as(folder / name)
    return folder / name


def test_what_is_painted_over_is_gone(page, disk, tmp_path):
    file, inside = disk
    panel = opened(page, "remove", file)
    panel.get_by_label("System").select_option("inpaint_harmonic")
    panel.get_by_label("brush size").fill("22")
    for y in (28, 40, 50, 62):
        drag(page, panel, (36, y), (84, y))
    panel.get_by_role("button", name="run", exact=True).click()
    panel.locator(".result .pair").wait_for()
    result = read_picture(downloaded(page, panel, "a disk.png", tmp_path))
    hole = read_mask(downloaded(page, panel, "hole.png", tmp_path))[None]
    assert result.levels == 65535 and bool(hole[0, 0][inside].all())
    assert float(result.image[0][inside].min()) > 0.5
    expected = near_hole(read_picture(file).image[None], hole, model=partial(tavtorch.inpaint_harmonic, order=2))
    assert torch.allclose(result.image, expected.value[0].clamp(0, 1), atol=2e-4)


def filled(page, panel, folder):
    """The hole that the page asked for, once it is filled."""
    panel.get_by_label("System").select_option("inpaint_harmonic")
    panel.get_by_role("button", name="run", exact=True).click()
    panel.locator(".result .pair").wait_for()
    return read_mask(downloaded(page, panel, "hole.png", folder))


def test_the_hole_is_what_has_a_colour(page, disk, tmp_path):
    panel = opened(page, "remove", disk[0])
    panel.get_by_role("button", name="pick a colour").click()
    drag(page, panel, (60, 45))
    assert torch.equal(filled(page, panel, tmp_path)[0], disk[1])
    drag(page, panel, (2, 45))  # a slope: how much of it, the tolerance says
    panel.get_by_label("tolerance of the colour").fill("0.04")
    panel.get_by_role("button", name="Remove the result").first.click()
    image = torch.from_numpy(page_pixels(page, panel))[None, None].float() / 255
    expected = tavtorch.hole_from_color(image, [float(image[0, 0, 45, 2])], 0.04)[0, 0] | disk[1]
    assert torch.equal(filled(page, panel, tmp_path)[0], expected)
    assert 10 * 90 < expected.sum() - disk[1].sum() < 30 * 90


def page_pixels(page, panel):
    """The grey levels of the picture that is worked on."""
    png = page.request.get(panel.locator(".stage img").first.evaluate("image => image.src")).body()
    return np.array(Image.open(io.BytesIO(png)).convert("L"))


def test_the_hole_is_a_mask_that_is_dropped_on_the_picture(page, disk, tmp_path):
    mask = torch.zeros(90, 120, dtype=torch.uint8)
    mask[30:60, 40:80] = 255
    Image.fromarray(mask.numpy()).save(tmp_path / "mask.png")
    panel = opened(page, "remove", disk[0])
    panel.get_by_label("choose one", exact=False).last.set_input_files(str(tmp_path / "mask.png"))
    assert torch.equal(filled(page, panel, tmp_path)[0], mask > 0)
    panel.get_by_role("button", name="clear").click()
    data = base64.b64encode((tmp_path / "mask.png").read_bytes()).decode()
    drop = """data => {
      const given = new DataTransfer();
      given.items.add(new File([Uint8Array.from(atob(data), c => c.charCodeAt(0))], "mask.png", { type: "image/png" }));
      return given;
    }"""
    given = page.evaluate_handle(drop, data)
    panel.get_by_role("button", name="Remove the result").first.click()
    panel.locator(".stage").first.dispatch_event("drop", {"dataTransfer": given})
    assert torch.equal(filled(page, panel, tmp_path)[0], mask > 0)


def test_a_mask_of_another_size_is_refused(page, disk, tmp_path):
    Image.new("L", (10, 10), 255).save(tmp_path / "small.png")
    panel = opened(page, "remove", disk[0])
    panel.get_by_label("choose one", exact=False).last.set_input_files(str(tmp_path / "small.png"))
    page.get_by_role("alert").filter(has_text="small.png: the mask has 10 × 10 pixels, and the picture 120").wait_for()


def test_a_hole_is_painted_by_keyboard(page, disk):
    panel = opened(page, "remove", disk[0])
    panel.get_by_label("System").select_option("inpaint_harmonic")
    panel.locator(".stage canvas").focus()
    for key in ("ArrowLeft", "ArrowUp", "Space", "ArrowRight", "Space", "u"):
        page.keyboard.press(key)
    panel.get_by_role("button", name="run", exact=True).press("Enter")
    panel.locator(".result .pair").wait_for()
    assert panel.get_by_text("python evaluate.py task=inpaint_harmonic").count() == 1


def test_a_lasso_of_straight_lines_and_copies(page, disk):
    panel = opened(page, "remove", disk[0])
    panel.get_by_role("button", name="lasso").click()
    for corner in ((5, 5), (20, 5), (20, 20), (5, 20), (5, 5)):
        drag(page, panel, corner)
    panel.get_by_role("button", name="run", exact=True).click()
    panel.get_by_text("where each pixel was copied from").wait_for()
    facts = panel.locator(".result .facts").inner_text()
    assert "changed by the last one" in facts and "not converged" not in facts


def test_a_contour_finds_the_object(page, disk, tmp_path):
    panel = opened(page, "contour", disk[0])
    drag(page, panel, (60, 45), (88, 45))
    panel.get_by_role("link", name="mask.png").wait_for()
    mask = read_mask(downloaded(page, panel, "mask.png", tmp_path))[0]
    assert float((mask & disk[1]).sum() / (mask | disk[1]).sum()) > 0.9
    assert "<polygon" in downloaded(page, panel, "contour.svg", tmp_path).read_text()
    panel.get_by_role("button", name="play").click()
    slider = panel.get_by_label("Step of the way")
    assert int(slider.input_value()) < int(slider.get_attribute("max"))


def test_a_contour_is_placed_by_keyboard(page, disk, tmp_path):
    panel = opened(page, "contour", disk[0])
    panel.locator(".stage canvas").focus()
    page.keyboard.press("Enter")
    panel.get_by_role("link", name="mask.png").wait_for()
    start = np.loadtxt(downloaded(page, panel, "start.csv", tmp_path), delimiter=",", skiprows=1)
    assert np.abs(start.mean(0) - (60, 45)).max() < 0.1
    page.locator("#tab-contour").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#tab-split").get_attribute("aria-selected") == "true"


def test_a_polygon_is_clicked_about_the_object(page, disk, tmp_path):
    panel = opened(page, "contour", disk[0])
    panel.get_by_role("button", name="polygon: click corners").click()
    for corner in ((30, 15), (90, 15), (92, 76), (28, 74), (30, 15)):
        drag(page, panel, corner)
    panel.get_by_role("link", name="mask.png").wait_for()
    mask = read_mask(downloaded(page, panel, "mask.png", tmp_path))[0]
    assert float((mask & disk[1]).sum() / (mask | disk[1]).sum()) > 0.9
    start = np.loadtxt(downloaded(page, panel, "start.csv", tmp_path), delimiter=",", skiprows=1)
    assert start.shape == (200, 2) and np.abs(start.min(0) - (28, 15)).max() < 1
    assert np.abs(start.max(0) - (92, 76)).max() < 1


def test_a_clip_from_the_microphone_is_recognised(page, melodies):
    page.locator("#tab-recognise").click()
    panel = page.locator("#panel-recognise")
    songs = [str(melodies / f"{name}.wav") for name in ("first", "second")]
    panel.locator(".drop.small input[multiple]:not([webkitdirectory])").set_input_files(songs)
    panel.get_by_text("2 songs in your library").wait_for()
    panel.get_by_role("button", name="record", exact=True).click()
    page.wait_for_timeout(7000)
    panel.get_by_role("button", name="stop recording").click()
    panel.locator(".result p.answer").wait_for()
    assert panel.locator(".result p.answer").inner_text() == "second"


def test_what_is_heard_all_day_is_listed_and_stops_in_order(page, melodies, tmp_path):
    page.locator("#tab-recognise").click()
    panel = page.locator("#panel-recognise")
    panel.locator(".drop.small input[multiple]:not([webkitdirectory])").set_input_files(str(melodies / "second.wav"))
    panel.get_by_text("1 song in your library").wait_for()
    panel.get_by_role("button", name="listen all day").click()
    heard = panel.get_by_role("region", name="Heard")
    heard.get_by_role("cell", name="second", exact=True).wait_for()
    assert heard.get_by_role("cell", name="playing").count() == 1
    panel.get_by_role("button", name="stop listening").click()
    heard.get_by_role("link", name="tracks.cue").wait_for()
    assert heard.get_by_role("cell", name="playing").count() == 0
    assert 'TITLE "second"' in downloaded(page, panel, "tracks.cue", tmp_path).read_text()
    assert heard.get_by_text("python evaluate.py task=listen data.root=microphone").count() == 1
    panel.get_by_role("button", name="listen all day").wait_for()


def test_a_song_is_separated_and_heard(page, melodies, tmp_path):
    panel = opened(page, "separate", melodies / "clip.wav")
    panel.get_by_role("button", name="run", exact=True).click()
    mixer = panel.locator(".result .mixer")
    mixer.wait_for()
    mixer.get_by_role("button", name="solo drums").click()
    assert mixer.locator(".track.silent .name").all_inner_texts() == ["the recording", "rest"]
    mixer.get_by_role("button", name="play").click()
    mixer.get_by_text(re.compile(r"^[1-9]\.\d of 12.0 s")).wait_for()
    mixer.get_by_role("button", name="pause").click()
    stems = [read_audio(downloaded(page, panel, f"{name}.wav", tmp_path))[0] for name in ("drums", "rest")]
    assert torch.allclose(sum(stems), read_audio(melodies / "clip.wav")[0], atol=1e-4)


def test_a_broken_file_is_told(page, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    page.locator("#panel-restore .drop input").set_input_files(str(tmp_path / "broken.png"))
    page.get_by_role("alert").filter(has_text="broken.png: not a picture that can be read").wait_for()
    assert "/tmp" not in page.get_by_role("alert").inner_text()


def test_long_work_tells_how_far_it_is_and_stops(page, tmp_path):
    noise = torch.rand(1, 300, 300, generator=torch.Generator().manual_seed(0))
    write_picture(tmp_path / "noise.png", Picture(noise))
    panel = opened(page, "restore", tmp_path / "noise.png")
    panel.get_by_label("tol", exact=True).fill("0")
    panel.get_by_label("max iter", exact=True).fill("10000000")
    panel.get_by_role("button", name="run", exact=True).click()
    panel.locator(".result").get_by_text(re.compile(r"step \d+ of at most 10000000")).wait_for()
    stop = panel.locator(".result").get_by_role("button", name="stop")
    place = stop.bounding_box()
    panel.locator(".result .note").evaluate(
        "words => words.textContent = 'step 1000000 of at most 10000000, 1000 s'.repeat(9)"
    )
    assert stop.bounding_box() == place  # else who presses it, as a number grows, presses beside it
    stop.click()
    panel.locator(".result").get_by_text("stopped").wait_for()
    panel.get_by_label("max iter", exact=True).fill("10")
    panel.get_by_role("button", name="run", exact=True).click()
    panel.locator(".result .pair").wait_for()
    panel.locator(".result").get_by_text("10: not converged").wait_for()


def test_what_is_stopped_before_the_studio_answers_stops(page, disk):
    panel = opened(page, "restore", disk[0])
    panel.get_by_label("tol", exact=True).fill("0")
    panel.get_by_label("max iter", exact=True).fill("10000000")
    held = []
    page.route("**/api/jobs", lambda route: held.append(route))  # a bound method would be no handler
    panel.get_by_role("button", name="run", exact=True).click()
    panel.locator(".result").get_by_role("button", name="stop").click()
    while not held:
        page.wait_for_timeout(20)
    held[0].continue_()
    panel.locator(".result").get_by_text("stopped").wait_for()


def test_an_experiment_of_the_report_opens_with_its_settings(page, studio, disk):
    page.goto(f"{studio.address}?experiment=snake_cup")
    page.locator("html[data-experiment=snake_cup]").wait_for()
    panel = opened_in_tab(page, "contour", disk[0])
    assert panel.get_by_label("rigidity", exact=True).input_value() == "1000"
    panel.get_by_label("rigidity", exact=True).fill("500")
    drag(page, panel, (60, 45), (88, 45))
    panel.get_by_role("link", name="mask.png").wait_for()
    panel.get_by_text("the line that does this").click()
    line = panel.locator(".line pre").first.inner_text()
    assert "task.op.rigidity=500" in line and "task.op.stop.tol=0.02" in line and "edge_map" in line
    page.goto(f"{studio.address}?experiment=film")
    page.get_by_role("alert").filter(has_text="python evaluate.py experiment=film does").wait_for()


@pytest.mark.parametrize(("width", "scheme"), [(1240, "light"), (390, "dark")])
def test_it_fits_into_the_window(browser, studio, disk, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 860}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(WAIT)
    page.goto(studio.address)
    panel = opened(page, "contour", disk[0])
    drag(page, panel, (60, 45), (88, 45))
    panel.get_by_role("link", name="mask.png").wait_for()
    for tab in page.get_by_role("tab").all():
        tab.click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


def test_the_picture_of_the_readme(page, tmp_path):
    """`STUDIO_PICTURE=1 pytest ...` makes docs/studio.webp anew."""
    cat = torch.from_numpy(data.chelsea()).float().movedim(-1, 0) / 255
    write_picture(tmp_path / "cat.jpg", Picture(cat))
    panel = opened(page, "remove", tmp_path / "cat.jpg")
    panel.get_by_label("brush size").fill("20")
    size = tuple(reversed(cat.shape[-2:]))
    drag(page, panel, (188, 158), (218, 190), (232, 196), size=size)
    panel.get_by_role("button", name="run", exact=True).click()
    panel.locator(".result .pair").wait_for()
    page.evaluate("scrollTo(0, 0)")
    picture = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    assert picture.width == 1240
    place = TOP / "docs/studio.webp"
    if "STUDIO_PICTURE" in os.environ:
        picture.crop((0, 0, 1240, 1180)).resize((930, 885)).save(place, quality=70, method=6)
    assert place.stat().st_size < 100_000


def test_two_visitors_do_not_see_each_other(browser, page, studio, disk):
    panel = opened(page, "restore", disk[0])
    source = panel.locator(".stage img").evaluate("image => image.src")
    assert page.request.get(source).status == 200
    other = browser.new_context()
    other.request.get(studio.address)
    assert other.request.get(source).status == 400
    other.close()
    assert not studio.tried.exists()
