"""How good and how fast the learned regulariser is, and where its weights come from.

python train.py experiment=ridge_shipped                    trains it, half an hour of one idle thread
tavtorch-export tavtorch/image/restoration/ridge.safetensors runs/ridge_shipped/checkpoints/best.ckpt
                                                            makes its weights those of the package
uv run benchmarks/ridge.py speed                            time and certificates at 512²
uv run benchmarks/ridge.py scores IMAGES [EVERY [LEVEL ...]]
                                                            on every, or every EVERYth, PNG of IMAGES/{set12,bsd68}
uv run benchmarks/ridge.py distances IMAGES [EVERY]         certified and true distances to the minimiser, on BSD68
uv run benchmarks/ridge.py deblur IMAGES [EVERY]            by total variation and learned, on middles of BSD68, as
                                                            `task=deblur` does; settings are chosen on other pictures
"""

import sys
from functools import partial
from pathlib import Path

import torch
from measure import seconds, tabled
from skimage import data
from skimage.io import imread

from tavtorch import Blur, RidgeModel, Stop, gaussian_kernel, restore, ridge, rof

RATIOS = 0.5, 0.6, 0.7, 0.8, 0.88, 1.0, 1.15  # weights of rof over σ


def noisy(clean, sigma, seed=0):
    return clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))


def psnr(u, clean):
    return -10 * (u.clamp(0, 1) - clean).square().mean().log10().item()


def speed():
    clean = torch.from_numpy(data.camera()).float()[None, None] / 255
    with tabled("ridge: camera at 512², to a certified distance") as row:
        for level in (15, 25, 50):
            f = noisy(clean, level / 255)
            for tol in (2e-3, 1e-3):
                solve = partial(ridge, f, level / 255, stop=Stop(tol, 500, 1))
                row(f"σ {level}, {tol:.0e}", {"steps": solve().iterations.item(), "processor time (s)": seconds(solve)})


def pictures(folder, every):
    files = sorted(Path(folder).glob("*.png"))[::every]
    return [torch.from_numpy(imread(file)).float()[None, None] / 255 for file in files]


def scores(folder, every=1, *levels):
    with tabled("ridge: mean PSNR beside rof at the best of seven weights for each picture") as row:
        for name in ("set12", "bsd68"):
            images = pictures(Path(folder) / name, every)
            for level in levels or (15, 25, 50):
                sigma, found, away = level / 255, [], []
                for i, clean in enumerate(images):
                    f = noisy(clean, sigma, i)
                    known = ridge(f, sigma)
                    values = {"ridge (dB)": psnr(known.value, clean), "σ unknown (dB)": psnr(ridge(f).value, clean)}
                    values |= {"rof (dB)": oracle(f, sigma, clean), "steps": known.iterations.item()}
                    found.append(values)
                    away.append(255 * known.gap.item())
                means = {column: sum(one[column] for one in found) / len(found) for column in found[0]}
                farthest = {"certified within (levels of 255)": max(away)}
                row(f"{len(images)} of {name}, σ {level}", means | farthest)


def distances(folder, every=17):
    with tabled("ridge: certified and true distances to the minimiser, in grey levels of 255, the farthest") as row:
        images = pictures(Path(folder) / "bsd68", every)
        for level in (15, 25, 50):
            certified, true = {2e-3: [], 1e-3: []}, {2e-3: [], 1e-3: []}
            for i, clean in enumerate(images):
                f = noisy(clean, level / 255, i)
                best = ridge(f.double(), level / 255, stop=Stop(1e-8, 2000, 10)).value
                for tol in certified:
                    found = ridge(f, level / 255, stop=Stop(tol, 500, 1))
                    certified[tol].append(255 * found.gap.item())
                    true[tol].append(255 * (found.value.double() - best).square().mean().sqrt().item())
            for tol in certified:
                values = {"certified": max(certified[tol]), "true": max(true[tol])}
                row(f"{len(images)} of bsd68, σ {level}, {tol:.0e}", values)


def deblur(folder, every=4):
    camera, model = Blur(gaussian_kernel(1.6)), RidgeModel.pretrained()
    clean = torch.cat([middle(picture, 128) for picture in pictures(Path(folder) / "bsd68", every)])
    f = noisy(camera(clean), 0.01)
    found = {
        "blurred": f,
        "total variation": restore(f, camera, 6e-4).value,
        "learned": restore(f, camera, 0.02, regulariser=model, sigma=0.06).value,
    }
    with tabled("ridge: a Gaussian blur of 1.6 pixels at noise 0.01, mean PSNR") as row:
        scores = {f"{name} (dB)": sum(map(psnr, u, clean)) / len(f) for name, u in found.items()}
        row(f"{len(f)} of bsd68, 128²", scores)


def middle(image, side):
    top, left = ((n - side) // 2 for n in image.shape[-2:])
    return image[..., top : top + side, left : left + side]


def oracle(f, sigma, clean):
    return max(psnr(rof(f, ratio * sigma).value, clean) for ratio in RATIOS)


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    folder, numbers = arguments[:1], map(int, arguments[1:])
    {"scores": scores, "distances": distances, "speed": speed, "deblur": deblur}[command](*folder, *numbers)
