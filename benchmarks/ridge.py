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
import time
from pathlib import Path

import torch
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
    for level in (15, 25, 50):
        f = noisy(clean, level / 255)
        ridge(f, level / 255)
        for tol in (2e-3, 1e-3):
            spent = []
            for _ in range(3):
                start = time.process_time()
                found = ridge(f, level / 255, stop=Stop(tol, 500, 1))
                spent.append(time.process_time() - start)
            print(f"512² σ {level} to {tol:.0e}: {found.iterations.item()} steps, {min(spent):.2f} s", flush=True)


def pictures(folder, every):
    files = sorted(Path(folder).glob("*.png"))[::every]
    return [torch.from_numpy(imread(file)).float()[None, None] / 255 for file in files]


def scores(folder, every=1, *levels):
    for name in ("set12", "bsd68"):
        images = pictures(Path(folder) / name, every)
        for level in levels or (15, 25, 50):
            sigma, rows, steps, away = level / 255, [], [], []
            for i, clean in enumerate(images):
                f = noisy(clean, sigma, i)
                found = ridge(f, sigma)
                rows.append([psnr(found.value, clean), psnr(ridge(f).value, clean), oracle(f, sigma, clean)])
                steps.append(found.iterations.item())
                away.append(255 * found.gap.item())
            known, unknown, total_variation = torch.tensor(rows).mean(0).tolist()
            print(
                f"{len(images)} of {name} σ {level}: {known:.2f} dB, σ unknown {unknown:.2f}, rof at its oracle "
                f"{total_variation:.2f}; {sum(steps) / len(steps):.0f} steps, within {max(away):.2f} levels of 255",
                flush=True,
            )


def distances(folder, every=17):
    for level in (15, 25, 50):
        for i, clean in enumerate(pictures(Path(folder) / "bsd68", every)):
            f = noisy(clean, level / 255, i)
            best = ridge(f.double(), level / 255, stop=Stop(1e-8, 2000, 10)).value
            for tol in (2e-3, 1e-3):
                found = ridge(f, level / 255, stop=Stop(tol, 500, 1))
                away = (found.value.double() - best).square().mean().sqrt()
                print(f"σ {level}: certified {255 * found.gap.item():.3f}, true {255 * away.item():.3f} grey levels")


def deblur(folder, every=4):
    camera, model = Blur(gaussian_kernel(1.6)), RidgeModel.pretrained()
    clean = torch.cat([middle(picture, 128) for picture in pictures(Path(folder) / "bsd68", every)])
    f = noisy(camera(clean), 0.01)
    found = {
        "blurred": f,
        "total variation": restore(f, camera, 6e-4).value,
        "learned": restore(f, camera, 0.02, regulariser=model, sigma=0.06).value,
    }
    for name, u in found.items():
        print(f"{len(f)} of bsd68, 128² {name}: {sum(map(psnr, u, clean)) / len(f):.2f} dB", flush=True)


def middle(image, side):
    top, left = ((n - side) // 2 for n in image.shape[-2:])
    return image[..., top : top + side, left : left + side]


def oracle(f, sigma, clean):
    return max(psnr(rof(f, ratio * sigma).value, clean) for ratio in RATIOS)


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    folder, numbers = arguments[:1], map(int, arguments[1:])
    {"scores": scores, "distances": distances, "speed": speed, "deblur": deblur}[command](*folder, *numbers)
