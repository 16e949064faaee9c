"""How well and how fast holes are filled: `uv run --group bench python benchmarks/patches.py [PICTURES]`.

`--fresh SEED ...` after it measures two methods alone, on holes that nothing was chosen on.

One table for each kind of hole. PSNR alone rewards blur, hence two further measures of what is in the hole: the
energy of its gradient over that of the truth, which should be 1, and the distance of its patches from the true ones,
which should be small. With a folder, the pictures of the first table are written there, one column a method.
"""

import contextlib
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import patchmatch
import skimage.data
import torch
from measure import front, tabled
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter
from skimage.metrics import structural_similarity
from skimage.restoration import inpaint_biharmonic

from tavtorch import inpaint_patches

SOURCES = ("brick", "grass", "gravel", "coffee", "astronaut", "stereo_motorcycle")
XPHOTO = """
import sys, time, cv2, numpy as np
cv2.setNumThreads(0)
image, hole, method = np.load(sys.argv[1]), np.load(sys.argv[2]), getattr(cv2.xphoto, sys.argv[3])
lab = sys.argv[3] == "INPAINT_SHIFTMAP"
start, out = time.process_time(), np.zeros_like(image)
image = cv2.cvtColor(image, cv2.COLOR_RGB2Lab) if lab else image
cv2.xphoto.inpaint(image, (~hole).astype(np.uint8) * 255, out, method)
print(time.process_time() - start)
np.save(sys.argv[4], cv2.cvtColor(out, cv2.COLOR_Lab2RGB) if lab else out)
"""


# measures


def psnr(value, truth, hole):
    return -10 * np.log10(np.square(value - truth)[hole].mean() + 1e-12)


def ssim(value, truth, hole):
    return structural_similarity(value, truth, channel_axis=2, data_range=1, full=True)[1][hole].mean()


def gradient_ratio(value, truth, hole):
    def energy(u):
        return sum(np.square(np.diff(u, axis=k, append=np.take(u, [-1], k)))[hole].sum() for k in (0, 1))

    return energy(value) / energy(truth)


def patch_distance(value, truth, hole, size=7, directions=128):
    """Sliced Wasserstein distance of the patches centred in the hole: mean difference of their sorted projections."""
    r = size // 2
    centres = hole[r:-r, r:-r]
    axes = np.random.default_rng(0).standard_normal((size * size * 3, directions))
    axes /= np.linalg.norm(axes, axis=0)

    def projected(u):
        windows = np.lib.stride_tricks.sliding_window_view(u, (size, size), (0, 1))[centres]
        return np.sort(windows.reshape(len(windows), -1) @ axes, 0)

    return np.abs(projected(value) - projected(truth)).mean()


MEASURES = {"PSNR (dB)": psnr, "SSIM": ssim, "gradient": gradient_ratio, "patches": patch_distance}


# methods


def ours(image, hole, **options):
    picture = torch.tensor(image).movedim(-1, 0)[None].contiguous()
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        found = inpaint_patches(picture, torch.from_numpy(hole)[None, None], generator=generator, **options)
    return found.value[0].movedim(0, -1).numpy()


def opencv(image, hole, method):
    return cv2.inpaint(bytes_of(image), hole.astype(np.uint8), 3, method) / np.float32(255)


def py_patch_match(image, hole, radius=5):
    return patchmatch.inpaint(bytes_of(image), bytes_of(hole), patch_size=radius) / np.float32(255)


def biharmonic(image, hole, tries=20):
    """Tried repeatedly: scikit-image 0.26 sometimes reads uninitialised memory and raises an error of its matrix."""
    for k in range(tries):
        with contextlib.suppress(ValueError):
            known = (image * ~hole[..., None]).astype(np.float64)
            value = inpaint_biharmonic(known, hole, channel_axis=2, split_into_regions=k % 2 == 1)
            return value.astype(np.float32)
    return None, np.nan


def xphoto(image, hole, method):
    """In a separate process, since some inputs crash it. Returns the picture, or None, and CPU seconds."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / f"{name}.npy") for name in ("image", "hole", "out")]
        np.save(paths[0], bytes_of(image))
        np.save(paths[1], hole)
        command = [sys.executable, "-c", XPHOTO, *paths[:2], method, paths[2]]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        return (None, np.nan) if run.returncode else (np.load(paths[2]) / np.float32(255), float(run.stdout))


OURS, PEER = "tavtorch multiscale", "PyPatchMatch, radius 5"
METHODS = {
    OURS: ours,
    "tavtorch turned": partial(ours, method="turned"),
    "tavtorch priority": partial(ours, method="priority"),
    "tavtorch random": partial(ours, method="random"),
    PEER: py_patch_match,
    "PyPatchMatch, radius 3": partial(py_patch_match, radius=3),
    "xphoto SHIFTMAP": partial(xphoto, method="INPAINT_SHIFTMAP"),
    "xphoto FSR_FAST": partial(xphoto, method="INPAINT_FSR_FAST"),
    "OpenCV Telea": partial(opencv, method=cv2.INPAINT_TELEA),
    "OpenCV NS": partial(opencv, method=cv2.INPAINT_NS),
    "scikit-image biharmonic": biharmonic,
}


def timed(fill, image, hole):
    start = time.process_time()
    value = fill(image, hole)
    return value if isinstance(value, tuple) else (value, time.process_time() - start)


# pictures and holes


def bytes_of(array):
    return (np.asarray(array, np.float32) * 255).round().astype(np.uint8)


def picture(name, size=256):
    """The middle of one of scikit-image's pictures."""
    pixels = getattr(skimage.data, name)()
    pixels = np.atleast_3d(pixels[0] if isinstance(pixels, tuple) else pixels)[..., :3]
    top, left = ((n - size) // 2 for n in pixels.shape[:2])
    middle = pixels[top : top + size, left : left + size].astype(np.float32) / 255
    return np.ascontiguousarray(np.broadcast_to(middle, (size, size, 3)))


def blobs(seed, size=256, share=0.1, smoothness=17):
    """Where smooth noise is highest. With this smoothness PyPatchMatch has 15.0 dB, with 15 about 15.9."""
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal((size, size)), smoothness)
    return noise > np.quantile(noise, 1 - share)


def copied_block(name, margin, n=80, shift=(137, -201), height=384, width=512):
    """A picture that contains a block twice, and a hole inside the first, `margin` pixels from the block's border."""
    pixels = np.atleast_3d(getattr(skimage.data, name)())[:height, :width]
    image = np.array(np.broadcast_to(pixels.astype(np.float32) / 255, (height, width, 3)))
    y, x, m = 60, 300, n + 2 * margin
    image[y + shift[0] : y + shift[0] + m, x + shift[1] : x + shift[1] + m] = image[y : y + m, x : x + m]
    hole = np.zeros((height, width), bool)
    hole[y + margin : y + margin + n, x + margin : x + margin + n] = True
    return image, hole


def written(name="cat", height=16):
    """Lines of small text over a photograph, on 8 % of its pixels."""
    image = np.ascontiguousarray(getattr(skimage.data, name)()[:300, :448].astype(np.float32) / 255)
    page = Image.new("1", image.shape[1::-1])
    for k in range(image.shape[0] // 48 + 1):
        line = "the quick brown fox jumps over the lazy dog " * 3
        ImageDraw.Draw(page).text((-17 * k, 48 * k), line, fill=1, font=ImageFont.load_default(height))
    return image, np.array(page)


def boundary(angle, radius=None, hole=32, size=128):
    """A soft edge through the middle, straight or an arc; a square hole about it; the edge; the levels that part it."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    distance = x * np.cos(angle) + y * np.sin(angle)
    if radius:
        distance = np.hypot(x - radius * np.cos(angle), y - radius * np.sin(angle)) - radius
    image = 0.2 + 0.6 / (1 + np.exp(-distance / 0.7))
    return grey(image), (np.abs(x) < hole / 2) & (np.abs(y) < hole / 2), np.abs(distance) < 0.5, [0.5]


def junction(angle, lean=1.2, hole=32, size=128):
    """A T-junction: a soft edge through the middle, and another that ends at it from one side; else as `boundary`."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    bar, stem = (x * np.cos(a) + y * np.sin(a) for a in (angle, angle + lean))
    one, other = (1 / (1 + np.exp(-d / 0.7)) for d in (bar, stem))
    edges = (np.abs(bar) < 0.5) | (np.abs(stem) < 0.5) & (bar > 0)
    return grey(0.2 + one * (0.3 + 0.3 * other)), (np.abs(x) < hole / 2) & (np.abs(y) < hole / 2), edges, [0.35, 0.65]


def grey(image):
    return np.repeat(image[..., None], 3, 2).astype(np.float32)


def pasted(name):
    """A picture, the same with a horse-shaped piece of fur pasted on it, and the mask of that piece."""
    silhouette = ~skimage.data.horse()[::3, ::3]
    h, w = silhouette.shape
    fur, truth = skimage.data.chelsea()[50 : 50 + h, 120 : 120 + w] / np.float32(255), picture(name)
    where = np.zeros(truth.shape[:2], bool)
    where[70 : 70 + h, 60 : 60 + w] = silhouette
    image = truth.copy()
    image[where] = fur[silhouette]
    return truth, image, where


# tables


def textures(out=None, seeds=(0, 1), names=tuple(METHODS)):
    """Means over the pictures. Settings were chosen on seeds 0 and 1, and compared on 2 and 3."""
    rows = {name: [] for name in names}
    for source, seed in product(SOURCES, seeds):
        truth, hole = picture(source), blobs(seed)
        shown = [truth, np.where(hole[..., None], 0.5, truth)]
        for name in names:
            value, spent = timed(METHODS[name], truth, hole)
            value = truth * np.nan if value is None else value
            rows[name].append([measure(value, truth, hole) for measure in MEASURES.values()] + [spent])
            shown.append(np.nan_to_num(value))
        if out:
            together = bytes_of(np.concatenate(shown, 1).clip(0, 1))
            cv2.imwrite(str(Path(out) / f"{source}_{seed}.png"), together[..., ::-1])

    means = {}
    with tabled("patches: holes of 10 % in six pictures of 256²") as row:
        for name, values in rows.items():  # a crash counts in none of them
            means[name] = dict(zip((*MEASURES, "processor time (s)"), np.nanmean(values, 0).tolist(), strict=True))
            crashed = {"crashed": int(np.isnan(values).any(1).sum())}
            row(f"seeds {' '.join(map(str, seeds))}, {name}", means[name] | crashed)
    return means


def fresh(seeds):
    """The figures of the project's README."""
    means = textures(seeds=seeds, names=(OURS, PEER))
    ours, theirs = means[OURS], means[PEER]
    holes = f"256², 10 % missing, seeds {', '.join(map(str, seeds))}"
    front(
        "inpaint_patches",
        {
            (f"{holes}, PSNR: tavtorch", "dB"): round(ours["PSNR (dB)"], 3),
            (f"{holes}, PSNR: PyPatchMatch", "dB"): round(theirs["PSNR (dB)"], 3),
            (f"{holes}, patches nearer to the truth than PyPatchMatch's", "%"): round(
                100 - 100 * ours["patches"] / theirs["patches"], 2
            ),
        },
    )


def duplicates():
    with tabled("patches: copy-move at 384 x 512, a hole of 80 x 80, PSNR in dB by the margin (120 is exact)") as row:
        for name, fill in (("tavtorch multiscale", ours), ("PyPatchMatch", py_patch_match)):
            for source in ("astronaut", "coffee", "brick"):
                cases = {margin: copied_block(source, margin) for margin in (8, 16, 24)}
                row(f"{source}, {name}", {f"{margin} px": psnr(fill(*case), *case) for margin, case in cases.items()})


def text():
    image, hole = written()
    fills = {"tavtorch auto": partial(ours, method="auto"), **METHODS}
    with tabled("patches: small text over a photograph") as row:
        for name in (
            "tavtorch auto",
            "scikit-image biharmonic",
            "xphoto FSR_FAST",
            "OpenCV NS",
            "PyPatchMatch, radius 3",
        ):
            value, spent = timed(fills[name], image, hole)
            value = image * np.nan if value is None else value
            scores = {"PSNR (dB)": psnr(value, image, hole), "SSIM": ssim(value, image, hole)}
            row(name, scores | {"processor time (s)": spent})


def removals():
    """Where ours has `dilate`, the hole of PyPatchMatch is grown first, since it has no such option."""
    square = np.ones((3, 3), bool)
    rims = {"exact": (0, 0), "3 px larger": (3, 0), "1 px too small": (-1, 0), "2 px too small": (-2, 0)}
    rims |= {"1 px too small, dilate=2": (-1, 2), "2 px too small, dilate=3": (-2, 3)}
    with tabled("patches: a horse of fur pasted on six pictures and removed, where it was") as row:
        for kind, (rim, grow) in rims.items():
            rows = {OURS: [], PEER: []}
            for truth, image, where in map(pasted, SOURCES):
                reshape = binary_dilation if rim > 0 else binary_erosion
                hole = reshape(where, square, abs(rim)) if rim else where
                larger = binary_dilation(hole, square, grow) if grow else hole
                values = ours(image, hole, dilate=grow), py_patch_match(image, larger)
                for name, value in zip(rows, values, strict=True):
                    rows[name].append([measure(value, truth, where) for measure in MEASURES.values()])
            for name, values in rows.items():
                row(f"hole {kind}, {name}", dict(zip(MEASURES, np.mean(values, 0).tolist(), strict=True)))


def boundaries():
    kinds = {
        "straight, 5 angles, hole of 32": [boundary(a) for a in (0.1, 0.3, 0.785, 1.1, 1.5)],
        "T-junctions, 5 angles, hole of 32": [junction(a) for a in (0.1, 0.3, 0.785, 1.1, 1.5)],
        "arcs of radius 30, 45, 70, hole of 16": [boundary(a, r, 16) for a in (0, 0.785, 2) for r in (30, 45, 70)],
        "the same, hole of 24": [boundary(a, r, 24) for a in (0, 0.785, 2) for r in (30, 45, 70)],
    }

    # Pixels of the hole on the wrong side, over the length of the edge in it.
    names = OURS, "tavtorch priority", PEER, "scikit-image biharmonic"
    with tabled("patches: position error in pixels of an edge that crosses the hole") as row:
        for kind, cases in kinds.items():
            for name in names:
                errors = []
                for image, hole, edges, levels in cases:
                    found, true = (np.digitize(u[..., 0], levels) for u in (METHODS[name](image, hole), image))
                    errors.append(((found != true) & hole).sum() / (hole & edges).sum())
                row(f"{kind}, {name}", {"mean": np.mean(errors), "worst": np.max(errors)})


def speed(repeats=8):
    image, hole = picture("coffee"), blobs(0)
    times = {OURS: [], PEER: []}
    for _ in range(repeats):  # in turn
        for name, spent in times.items():
            start = time.perf_counter(), time.process_time()
            METHODS[name](image, hole)
            spent.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    with tabled("patches: a hole of 10 % in coffee at 256², least of eight") as row:
        for name, spent in times.items():
            wall, cpu = np.min(spent, 0).tolist()
            row(f"{torch.get_num_threads()} threads, {name}", {"by the clock (s)": wall, "processor time (s)": cpu})


def large():
    """Photographs of the usual size, each in a process of its own, so that its peak of memory is its own."""
    with tabled("patches: large photographs, one thread if OMP_NUM_THREADS=1") as row:
        for megapixels, share, n in ((12, 0.01, 1), (4, 0.1, 1), (12, 0.003, 40)):
            command = [sys.executable, __file__, "--large", str(megapixels), str(share), str(n)]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            columns = "missing (%)", "processor time (s)", "peak of memory (GB)", "before the call (GB)"
            row(f"{megapixels} megapixels, {n} holes", dict(zip(columns, map(float, said), strict=True)))


def one_large(megapixels, share, n):
    """A round hole, or several, of a share of the pixels, in pictures side by side with the noise of a camera."""
    row = np.concatenate([getattr(skimage.data, name)()[:400, :512] for name in ("coffee", "astronaut", "rocket")], 1)
    h = int((megapixels * 1e6 * 3 / 4) ** 0.5)
    w = h * 4 // 3
    photo = np.tile(row, (-(-h // 400), -(-w // row.shape[1]), 1))[:h, :w].astype(np.float32)
    rng = np.random.default_rng(0)
    photo += 2.5 * rng.standard_normal(photo.shape, np.float32)
    photo /= 255
    hole = np.zeros((h, w), np.uint8)
    for _ in range(n):
        center = (w * 2 // 5, h * 9 // 20) if n == 1 else (int(rng.integers(w)), int(rng.integers(h)))
        cv2.circle(hole, center, round((share * h * w / n / np.pi) ** 0.5), 1, -1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    _, spent = timed(ours, photo, hole > 0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(100 * hole.mean(), spent, peak, before)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--large"]:
        one_large(int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
        sys.exit()
    if sys.argv[1:2] == ["--fresh"]:
        fresh([int(seed) for seed in sys.argv[2:]])
        sys.exit()
    textures(*sys.argv[1:2])
    textures(seeds=(2, 3))
    duplicates()
    text()
    removals()
    boundaries()
    speed()
    large()
