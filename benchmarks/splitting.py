"""Structure + texture: iterations, speed and scores: `uv run --group bench benchmarks/splitting.py [SET12]`.

SET12 is the folder of that set; without it the rows that need it are left out. Run on an idle machine.
"""

import sys
from functools import partial
from pathlib import Path

import torch
from measure import seconds
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
    print("\nTV-Hilbert, 256² crop of Barbara: iterations to a gap of 1e-3 and 1e-4")
    for weight in (5.0, 1.0):
        counts = [
            split_hilbert(image[..., 200:456, 200:456], weight, stop=Stop(tol, 1000, 1)).solution.iterations.item()
            for tol in (1e-3, 1e-4)
        ]
        print(f"  λ = {weight:.0f}: {counts[0]}, {counts[1]}")


def speed(image):
    """scikit-image has as many iterations as its energy needs to come within 1e-3 of the least."""
    least = energy(rof(image, 0.1, stop=Stop(1e-6, 5000)).value, image)
    array, steps, close = image[0, 0].numpy(), 0, False
    while not close:
        steps += 20
        found = torch.from_numpy(denoise_tv_chambolle(array, weight=0.1, eps=0, max_num_iter=steps))
        close = energy(found[None, None], image) <= 1.001 * least
    peer = seconds(lambda: denoise_tv_chambolle(array, weight=0.1, eps=0, max_num_iter=steps), 1)
    ours = seconds(lambda: split_hilbert(image, 1.0))
    print(
        f"\n512², to 1e-3: TV-Hilbert {1e3 * ours:.0f} ms; scikit-image on plain ROF {1e3 * peer:.0f} ms, {steps} steps"
    )
    small = image[..., :256, :256]
    one, sixteen = (
        seconds(lambda: split_hilbert(small, 1.0)),
        seconds(lambda: split_hilbert(small.repeat(16, 1, 1, 1), 1.0)),
    )
    print(f"256²: one {1e3 * one:.0f} ms, sixteen {1e3 * sixteen:.0f} ms: {sixteen / one:.1f} ×")


def energy(u, f):
    return ((u - f).square().sum() / 2 + 0.1 * total_variation(u).sum()).item()


def known_textures():
    print("\nPSNR of the texture against the truth in dB, each split at its best (setting), mean of 3 drawings of 192²")
    print(f"  {'':20}" + "".join(f"{name:>15}" for name in TEXTURES))
    drawings = {
        name: [textured(torch.Generator().manual_seed(i), texture=texture, size=192) for i in range(3)]
        for name, texture in TEXTURES.items()
    }
    for name, (split, settings) in SPLITS.items():
        scores = []
        for items in drawings.values():
            image = torch.cat([item["inputs"]["image"] for item in items])
            truth = torch.cat([item["truth"]["texture"] for item in items])
            reached = [psnr(centred(split(image, s).texture), centred(truth)).mean().item() for s in settings.tolist()]
            scores.append((max(reached), settings[torch.tensor(reached).argmax()].item()))
        print(f"  {name:20}" + "".join(f"{f'{best:.2f} ({s:.2g})':>15}" for best, s in scores), flush=True)


def centred(image):
    return image - image.mean((-2, -1), keepdim=True)


def enhancement(images):
    """The best settings common to the set, for ROF and for each recipe."""
    print("\nEnhancement of noisy pictures, Set12, mean PSNR in dB, each at its best common settings")
    for sigma in (0.05, 0.1):
        generator = torch.Generator().manual_seed(0)
        pairs = [(image, image + sigma * torch.randn(image.shape, generator=generator)) for image in images]
        rows = {
            "ROF": [partial(denoised, weight=c * sigma) for c in (0.5, 0.6, 0.7, 0.8)],
            "the course's: TV-Hilbert + median": [recipe(c * sigma, median) for c in (2, 4, 8)],
            "TV-Hilbert + shrink": [
                recipe(c * sigma, partial(shrink, threshold=t * sigma)) for c in (16, 32) for t in (2.6, 2.8)
            ],
        }
        best = {name: max(mean_psnr(recipe, pairs) for recipe in recipes) for name, recipes in rows.items()}
        for name, score in best.items():
            print(f"  σ = {sigma}: {name:34}{score:7.2f}  ({score - best['ROF']:+.2f})", flush=True)


def mean_psnr(recipe, pairs):
    return torch.cat([psnr(recipe(noisy).clamp(0, 1), clean) for clean, noisy in pairs]).mean().item()


def denoised(image, weight):
    return rof(image, weight).value


def recipe(weight, texture_filter):
    return partial(enhance, split=lambda image: split_hilbert(image, weight), texture_filter=texture_filter)


if __name__ == "__main__":
    tavtorch.solve.COMPILE_AFTER = 0
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    known_textures()
    if len(sys.argv) > 1:
        set12 = [read_picture(path).image[None] for path in sorted(Path(sys.argv[1]).glob("*.png"))]
        barbara = set12[8]
        iterations(barbara)
        speed(barbara)
        tavtorch.solve.COMPILE_AFTER = 2**40  # pictures of several sizes
        enhancement(set12)
