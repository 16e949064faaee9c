"""How long a person waits for the studio, at a megapixel: `uv run benchmarks/studio.py`, in two minutes.

Wall time in Chromium from the click to the picture that is shown, the least of some runs, and the processor time of the
studio's processes. Say it of a machine that does nothing else.
"""

import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from measure import tabled
from playwright.sync_api import sync_playwright
from skimage import data

from tavtorch.lab.data.files import Picture, write_audio, write_picture
from tavtorch.lab.data.generated import generated_songs

RUNS = 5
SHOWN = """async ([button, wanted]) => {
  const before = document.querySelectorAll(wanted).length, begun = performance.now();
  const found = () => document.querySelectorAll(wanted);
  button?.click();
  while (found().length === before) await new Promise(requestAnimationFrame);
  await Promise.all([...document.querySelectorAll(`${wanted} img`)].map(image => image.decode()));
  return performance.now() - begun;
}"""


def megapixel(path):
    """Four photographs, 1024 x 1024."""
    photos = [data.astronaut(), data.coffee()[:, :512], data.astronaut()[::-1], data.coffee()[:, 88:]]
    photos = [torch.from_numpy(photo.copy()).movedim(-1, 0) / 255 for photo in photos]
    photos = [torch.nn.functional.interpolate(photo[None], (512, 512), mode="bilinear")[0] for photo in photos]
    rows = [torch.cat(photos[:2], 2), torch.cat(photos[2:], 2)]
    write_picture(path, Picture(torch.cat(rows, 1)))


def processor_seconds(top):
    """Of a process and all below it, those that ended included."""
    ticks = os.sysconf("SC_CLK_TCK")
    found, total = [top], 0.0
    while found:
        one = found.pop()
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            found += [int(child) for child in Path(f"/proc/{one}/task/{one}/children").read_text().split()]
            for thread in Path(f"/proc/{one}/task").iterdir():
                if thread.name != str(one):
                    found += [int(child) for child in (thread / "children").read_text().split()]
        except OSError:
            continue
        total += sum(map(int, fields[11:15])) / ticks
    return total


class Bench:
    def __init__(self, page, studio, row):
        self.page, self.studio, self.row = page, studio, row

    def measured(self, name, once):
        times = []
        for _ in range(RUNS):
            before = processor_seconds(self.studio.pid)
            wall = once()
            times.append((wall, 1000 * (processor_seconds(self.studio.pid) - before)))
        least = [min(values) for values in zip(*times, strict=True)]
        self.row(name, dict(zip(("by the clock (ms)", "processor time (ms)"), least, strict=True)))

    def opened(self, tab, file):
        self.page.locator(f"#tab-{tab}").click()
        panel = self.page.locator(f"#panel-{tab}")
        panel.locator(".bench > div:first-child .drop input").last.set_input_files(str(file))
        panel.locator(".facts").first.wait_for()
        return panel

    def dragged(self, panel, *places):
        canvas = panel.locator(".stage canvas").first
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in places]
        self.page.mouse.move(*at[0])
        self.page.mouse.down()
        for place in at[1:]:
            self.page.mouse.move(*place, steps=8)
        return lambda: self.page.mouse.up()

    def fill(self, file):
        panel = self.opened("remove", file)
        panel.get_by_label("brush size").fill("40")
        self.dragged(panel, (0.2, 0.3), (0.3, 0.35), (0.4, 0.3))()
        for system in ("inpaint_patches", "inpaint_tv", "inpaint_harmonic"):
            panel.get_by_label("System").select_option(system)
            button = panel.get_by_role("button", name="run", exact=True).element_handle()
            wanted = "#panel-remove .result .pair"
            self.measured(f"a stroke filled by {system}", lambda b=button, w=wanted: self.page.evaluate(SHOWN, [b, w]))

    def contour(self, file):
        panel = self.opened("contour", file)
        places = itertools.cycle([(0.22, 0.2), (0.7, 0.7), (0.3, 0.75), (0.72, 0.2)])

        def once():
            panel.get_by_role("button", name="clear").click()
            x, y = next(places)
            self.dragged(panel, (x, y), (x + 0.06, y))
            wanted = "#panel-contour .result figure.wide"
            count = self.page.locator(wanted).count()
            self.page.evaluate(f"void (window.shown = ({SHOWN})([null, {wanted!r}]))")
            self.page.mouse.up()
            wall = self.page.evaluate("window.shown")
            assert self.page.locator(wanted).count() == count + 1
            return wall

        self.measured("a contour after a click", once)

    def answer(self, songs):
        self.page.locator("#tab-recognise").click()
        panel = self.page.locator("#panel-recognise")
        panel.locator(".drop.small input[multiple]:not([webkitdirectory])").set_input_files([str(one) for one in songs])
        panel.get_by_text(f"{len(songs)} songs in your library").wait_for(timeout=120000)

        def once():
            panel.get_by_role("button", name="record", exact=True).click()
            panel.get_by_text(re.compile("● 1[0-9]")).wait_for()
            button = panel.get_by_role("button", name="stop recording").element_handle()
            wall = self.page.evaluate(SHOWN, [button, "#panel-recognise .result .answer"])
            print("   heard:", panel.locator(".answer").first.inner_text())
            return wall

        self.measured("an answer after ten recorded seconds", once)


def media(folder):
    """Writes `photo.png` and `clip.wav`, of the last of the songs, which are returned."""
    megapixel(folder / "photo.png")
    songs = []
    for i, song in enumerate(generated_songs(8, 30.0, sample_rate=16000, seed=3)):
        songs.append(folder / f"song {i}.wav")
        write_audio(songs[-1], song.read("mixture", 0.0, 30.0, 16000, 1), 16000, subtype="PCM_16")
    write_audio(folder / "clip.wav", song.read("mixture", 4.0, 25.0, 16000, 1), 16000, subtype="PCM_16")
    return songs


def main():
    folder = Path(tempfile.mkdtemp())
    songs = media(folder)
    command = [sys.executable, "-m", "tavtorch.lab.studio", "--port", "0"]
    studio = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    flags = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    flags += [f"--use-file-for-fake-audio-capture={folder / 'clip.wav'}", "--no-sandbox"]
    try:
        with sync_playwright() as player, tabled("studio: from the click to what is shown, least of five") as row:
            browser = player.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
            page = browser.new_page(viewport={"width": 1240, "height": 900})
            page.goto(studio.stdout.readline().split()[2])
            bench = Bench(page, studio, row)
            page.get_by_role("tab").first.wait_for(timeout=120000)
            bench.fill(folder / "photo.png")
            bench.contour(folder / "photo.png")
            bench.answer(songs)
            browser.close()
    finally:
        studio.terminate()
        studio.wait()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
