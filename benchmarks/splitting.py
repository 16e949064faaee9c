"""Structure + texture: iterations, speed and scores: `uv run --group bench benchmarks/splitting.py [SET12]`.

SET12 is the folder of that set; without it the rows that need it are left out. Run on an idle machine.
"""

import sys
from functools import partial
from pathlib import Path

import torch
from measure import seconds, tabled
from skimage.restoration import denoise_tv_chambolle

import tavtorch
from tavtorch import Stop, enhance, rof, split_fourier, split_hilbert, split_l1, split_meyer, split_rof, total_variation
from tavtorch.image.splitting import gabor, shrink
from tavtorch.image.splitting.enhance import median
from tavtorch.lab.data.files import read_picture
from tavtorch.lab.data.synthetic.textures import checks, grain, grating, textured

FREQUENCY = (0.12, 0.09)
TEXTURES = {"grating": partial(grating, frequency=FREQUENCY), "checks": partial(checks, side=4), "grain": grain}
SPLITS = {  # and the settings that are tried: each is scored at its best
    "Fourier": (split_fourier, torch.linspace(0.02, 0.2, 10)),
    "ROF": (split_rof, torch.logspace(-1.75, -0.25, 7)),
    "TV-L1": (split_l1, torch.linspace(0.4, 2.4, 6)),
    "TV-G": (split_meyer, torch.logspace(-1.75, -0.5, 6)),
    "TV-Hilbert, Sobolev": (split_hilbert, torch.logspace(-0.25, 1.25, 7)),
    "TV-Hilbert, Gabor": (
        partial(split_hilbert, kernel=partial(gabor, center=FREQUENCY, width=0.04, floor=0.005)),
        torch.logspace(-2.5, -0.5, 5),
    ),
}


def psnr(image, truth):
    return -10 * (image - truth).square().flatten(1).mean(1).log10()


def iterations(image):
    with tabled("splitting: TV-Hilbert, 256² of Barbara, steps to a gap") as row:
        for weight in (5.0, 1.0):
            found = {
                f"{tol:.0e}": split_hilbert(image[..., 200:456, 200:456], weight, stop=Stop(tol, 1000, 1))
                for tol in (1e-3, 1e-4)
            }
            row(f"λ = {weight:.0f}", {tol: parts.solution.iterations.item() for tol, parts in found.items()})


def speed(image):
    """scikit-image has as many iterations as its energy needs to come within 1e-3 of the least."""
    least = energy(rof(image, 0.1, stop=Stop(1e-6, 5000)).value, image)
    array, steps, close = image[0, 0].numpy(), 0, False
    while not close:
        steps += 20
        found = torch.from_numpy(denoise_tv_chambolle(array, weight=0.1, eps=0, max_num_iter=steps))
        close = energy(found[None, None], image) <= 1.001 * least
    small = image[..., :256, :256]
    runs = {
        "TV-Hilbert, 512²": lambda: split_hilbert(image, 1.0),
        f"scikit-image on plain ROF, 512², {steps} steps": lambda: denoise_tv_chambolle(
            array, weight=0.1, eps=0, max_num_iter=steps
        ),
        "TV-Hilbert, 256²": lambda: split_hilbert(small, 1.0),
        "TV-Hilbert, sixteen of 256²": lambda: split_hilbert(small.repeat(16, 1, 1, 1), 1.0),
    }
    with tabled("splitting: processor time to a gap of 1e-3") as row:
        for name, run in runs.items():
            row(name, {"time (ms)": 1e3 * seconds(run)})


def energy(u, f):
    return ((u - f).square().sum() / 2 + 0.1 * total_variation(u).sum()).item()


def known_textures():
    drawings = {
        name: [textured(torch.Generator().manual_seed(i), texture=texture, size=192) for i in range(3)]
        for name, texture in TEXTURES.items()
    }
    with tabled(
        "splitting: PSNR of the texture, mean of three drawings of 192², each split at its best setting"
    ) as row:
        for name, (split, settings) in SPLITS.items():
            values = {}
            for texture, items in drawings.items():
                image = torch.cat([item["inputs"]["image"] for item in items])
                truth = torch.cat([item["truth"]["texture"] for item in items])
                reached = {
                    s: psnr(centred(split(image, s).texture), centred(truth)).mean().item() for s in settings.tolist()
                }
                best = max(reached, key=reached.get)
                values |= {f"{texture} (dB)": reached[best], f"at, {texture}": best}
            row(name, values)


def centred(image):
    return image - image.mean((-2, -1), keepdim=True)


def enhancement(images):
    """The best settings common to the set, for ROF and for each recipe."""
    found: dict[str, dict[str, float]] = {}
    for sigma in (0.05, 0.1):
        generator = torch.Generator().manual_seed(0)
        pairs = [(image, image + sigma * torch.randn(image.shape, generator=generator)) for image in images]
        rows = {
            "ROF": [partial(denoised, weight=c * sigma) for c in (0.5, 0.6, 0.7, 0.8)],
            "the course's, TV-Hilbert + median": [recipe(c * sigma, median) for c in (2, 4, 8)],
            "TV-Hilbert + shrink": [
                recipe(c * sigma, partial(shrink, threshold=t * sigma)) for c in (16, 32) for t in (2.6, 2.8)
            ],
        }
        for name, recipes in rows.items():
            score = max(mean_psnr(recipe, pairs) for recipe in recipes)
            found.setdefault(name, {})[f"σ = {sigma} (dB)"] = score
    with tabled("splitting: enhancement of noisy pictures, Set12, mean PSNR at the best common settings") as row:
        for name, values in found.items():
            row(name, values)


def mean_psnr(recipe, pairs):
    return torch.cat([psnr(recipe(noisy).clamp(0, 1), clean) for clean, noisy in pairs]).mean().item()


def denoised(image, weight):
    return rof(image, weight).value


def recipe(weight, texture_filter):
    return partial(enhance, split=lambda image: split_hilbert(image, weight), texture_filter=texture_filter)


if __name__ == "__main__":
    tavtorch.solve.COMPILE_AFTER = 0
    known_textures()
    if len(sys.argv) > 1:
        set12 = [read_picture(path).image[None] for path in sorted(Path(sys.argv[1]).glob("*.png"))]
        barbara = set12[8]
        iterations(barbara)
        speed(barbara)
        tavtorch.solve.COMPILE_AFTER = 2**40  # pictures of several sizes
        enhancement(set12)
