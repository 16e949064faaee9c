"""How fast and how good the restorations are, beside their peers.

    uv run --group bench benchmarks/restoration.py             speed and certificates, minutes on an idle machine
    uv run --group bench benchmarks/restoration.py first       the first picture of a process, and the hundredth
    uv run --group bench benchmarks/restoration.py ramps       slopes: ROF, Huber's function, second order
    uv run --group bench benchmarks/restoration.py IMAGES      scores on the PNG files of IMAGES/set12 and IMAGES/bsd68

Peers run until they reach the energy that `rof` reached; times are CPU seconds of the process, the least of some runs.
"""

import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from measure import front, seconds, tabled
from skimage import data
from skimage.color import rgb2gray
from skimage.io import imread
from skimage.restoration import denoise_tv_bregman, denoise_tv_chambolle
from skimage.util import img_as_float

from tavtorch import (
    Blur,
    Stop,
    gaussian_kernel,
    inpaint_tv,
    restore,
    rof,
    solve,
    sure_weight,
    tikhonov,
    total_variation,
)
from tavtorch.image.grid import cosine_transform, inverse_cosine_transform
from tavtorch.image.restoration.primal_dual import _step
from tavtorch.image.restoration.rof import pose

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CASES = [  # image, noise, weight
    *(("camera", 0.1, 0.1), ("camera", 0.1, 0.3), ("astronaut", 0.0, 0.03), ("astronaut", 0.05, 0.1)),
    *(("coins", 0.1, 0.1), ("coins", 0.1, 1.0), ("moon", 0.05, 0.05), ("moon", 0.1, 0.3)),
    *(("page", 0.2, 0.2), ("page", 0.1, 0.5), ("brick", 0.1, 0.1), ("brick", 0.2, 1.0)),
]


def picture(name):
    image = getattr(data, name)()
    return torch.from_numpy(rgb2gray(image) if image.ndim == 3 else img_as_float(image)).float()[None, None]


def ball(side=128):
    """A ball with a diamond in it, `(1, 1, d, h, w)`."""
    z, y, x = torch.meshgrid(*[torch.linspace(-1, 1, side)] * 3, indexing="ij")
    inside, diamond = x**2 + y**2 + z**2 < 0.5, (x - 0.2).abs() + (y + 0.1).abs() + z.abs() < 0.4
    return (0.5 * inside + 0.4 * diamond)[None, None]


def noisy(clean, sigma, seed=0):
    return clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))


def energy(u, f, weight):
    u, f = u.double(), f.double()
    return (weight * total_variation(u, coupling="separate") + (u - f).square().flatten(1).sum(1) / 2).max().item()


def peers(f, weight):
    """Functions of a number of iterations that give each peer's image."""
    import deepinv
    import pyproximal

    flat = [image[0].numpy() for image in f]
    device = torch.device("cpu")

    def pylops(n):
        solver = pyproximal.TV(dims=f.shape[-2:], sigma=1.0, niter=n, rtol=0.0)
        return torch.stack([torch.from_numpy(solver.prox(x.ravel(), weight).reshape(1, *x.shape)) for x in flat])

    def chambolle(n):
        found = [denoise_tv_chambolle(x, weight, eps=0, max_num_iter=n) for x in flat]
        return torch.from_numpy(np.stack(found))[:, None]

    def inversion(n):
        with torch.no_grad():
            return deepinv.models.TVDenoiser(n_it_max=n, crit=0.0).to(device)(f, weight)

    return {"scikit-image": chambolle, "deepinv": inversion, "pyproximal": pylops}


def to_energy(run, f, weight, goal, first=10, most=4000):
    """Least of a ladder of iteration numbers, each a tenth more, with which a peer reaches an energy, and its time."""
    n = first
    while energy(run(n), f, weight) > goal:
        if n >= most:
            return n, math.inf
        n = math.ceil(1.1 * n)
    return n, seconds(lambda: run(n), repeats=1)


def against_peers(table, f, weight, tols, names=("scikit-image", "deepinv", "pyproximal"), first=10, kind=""):
    """How many times our processor time each peer takes to the energy at the last gap."""
    times, shape = {}, " x ".join(map(str, f.shape))
    for tol in tols:
        stop = Stop(tol)
        found = rof(f, weight, stop=stop)
        ours = seconds(lambda stop=stop: rof(f, weight, stop=stop))
        case = f"{kind}{shape}, gap {tol:.0e}"
        table(f"{case}, rof", {"steps": found.iterations.max().item(), "processor time (ms)": 1e3 * ours, "of ours": 1})
        for name in names:
            n, spent = to_energy(peers(f, weight)[name], f, weight, energy(found.value, f, weight), first)
            times[name] = spent / ours
            values = {"steps": n, "processor time (ms)": 1e3 * spent, "of ours": times[name]}
            table(f"{case}, {name}", values)
    return times


def first_picture(f, weight):
    """Before the steps are compiled, which takes about 70 pictures, and after."""
    figures = {}
    with tabled("restoration: the first picture of a process, and the hundredth") as row:
        for name, after, others in (("first", math.inf, ()), ("hundredth", 0, ("deepinv",))):
            solve.COMPILE_AFTER = after
            peers = "scikit-image", *others
            times = against_peers(row, f, weight, (1e-3, 1e-4), peers, first=200, kind=f"{name}, ")
            for peer, ratio in times.items():
                figures[f"camera 512² to a gap of 1e-4, the {name} picture: {peer}", "times"] = round(ratio, 2)
    front("rof", figures)


def bregman(f, weight):
    """scikit-image's isotropic split Bregman, with its weight that means ours, over the minimum, in percent."""
    best = energy(rof(f, weight, stop=Stop(1e-6, 5000)).value, f, weight)
    u = denoise_tv_bregman(f[0, 0].numpy(), weight=1 / weight, max_num_iter=800, eps=0)
    return 100 * energy(torch.from_numpy(u)[None, None], f, weight) / best - 100


def opencv(f):
    """Another energy (TV-L1 on bytes), 30 steps: its picture and its time."""
    import cv2

    x = (f[0, 0].clamp(0, 1) * 255).byte().numpy()
    out = np.zeros_like(x)
    spent = seconds(lambda: cv2.denoise_TVL1([x], out, 1.0, 30), repeats=2)
    return torch.from_numpy(out)[None, None] / 255, spent


def iterations():
    rows = {1e-2: [], 1e-3: [], 1e-4: []}
    with tabled("restoration: steps of rof to a gap, with looks every step") as table:
        for i, (name, sigma, weight) in enumerate(CASES):
            f = noisy(picture(name), sigma, i)
            for tol, row in rows.items():
                row.append(rof(f, weight, stop=Stop(tol, 2000, 1)).iterations.item())
            table(f"{name}, σ {sigma:g}, λ {weight:g}", {f"{tol:.0e}": row[-1] for tol, row in rows.items()})
        means = {tol: math.exp(sum(math.log(max(n, 1)) for n in row) / len(row)) for tol, row in rows.items()}
        table("geometric mean", {f"{tol:.0e}": mean for tol, mean in means.items()})


def bandwidth(count):
    """Bytes a second of `b = a + b` over arrays of `count` numbers: two read, one written."""
    a, b = torch.rand(count), torch.rand(count)
    repeats = max(1, 2**26 // count)
    return 12 * count * repeats / seconds(lambda: [torch.add(a, b, out=b) for _ in range(repeats)])


def step_cost(table, size, channels=1):
    f = torch.rand(1, channels, size, size)
    problem, p = pose(f, torch.full((1, 1, 1, 1), 0.1), "joint")
    with torch.no_grad():
        spent = seconds(lambda: [_step(problem, f, p, problem.first) for _ in range(20)]) / 20
    least, values = 28 * f.numel(), {"time (ms)": 1e3 * spent}
    for name, rate in (("memory", bandwidth(2**26)), ("cache", bandwidth(2**19))):
        values |= {f"rate of {name} (GB/s)": rate / 1e9, f"over its bytes in {name}": spent / (least / rate)}
    table(f"{size}², {channels} channels", values)


def gradients(f):
    weight = torch.full_like(f, 0.1).requires_grad_()
    with tabled("restoration: rof at 512², forward and backward, processor time") as row:
        for tol in (1e-3, 1e-4):
            u = rof(f.requires_grad_(), weight, stop=Stop(tol)).value
            g = torch.randn_like(u)
            forward = seconds(lambda tol=tol: rof(f, weight, stop=Stop(tol)))
            backward = seconds(lambda u=u, g=g: torch.autograd.grad(u, (f, weight), g, retain_graph=True))
            row(f"gap {tol:.0e}", {"forward (ms)": 1e3 * forward, "backward (ms)": 1e3 * backward})
    f.requires_grad_(False)


def inpainting():
    clean = F.avg_pool2d(picture("camera"), 2)
    holes = {"half missing": torch.rand(clean.shape, generator=torch.Generator().manual_seed(0)) < 0.5}
    holes["a square of 40²"] = torch.zeros_like(clean, dtype=torch.bool)
    holes["a square of 40²"][..., 108:148, 108:148] = True
    with tabled("restoration: TV inpainting of camera at 256², steps to a gap") as row:
        for name, hole in holes.items():
            found = {tol: inpaint_tv(clean, hole, stop=Stop(tol, 3000, 5)) for tol in (1e-2, 1e-3, 1e-4)}
            steps = {f"{tol:.0e}": one.iterations.item() for tol, one in found.items()}
            row(name, steps | {"PSNR (dB)": psnr(found[1e-4].value, clean)})


def deblurring(clean, weight=1e-3):
    """The same energy by deepinv's accelerated proximal gradient, with our operator by the cosine transform."""
    import deepinv

    camera = Blur(gaussian_kernel(1.6))
    f = noisy(camera(clean), 0.01)
    response = camera.power(f).sqrt()

    def apply(u):
        return inverse_cosine_transform(response * cosine_transform(u))

    physics = deepinv.physics.LinearPhysics(A=apply, A_adjoint=apply)
    prior, fidelity = deepinv.optim.TVPrior(n_it_max=20), deepinv.optim.L2()

    def proximal(n):
        options = {"prior": prior, "data_fidelity": fidelity, "lambda_reg": weight, "stepsize": 1.0, "max_iter": n}
        return deepinv.optim.FISTA(**options)(f, physics)

    def cost(u):
        u = u.double()
        return ((apply(u) - f).square().sum() / 2 + weight * total_variation(u).sum()).item()

    found = restore(f, camera, weight)
    ours, goal = seconds(lambda: restore(f, camera, weight), repeats=3), cost(found.value)
    n, spent, excess = 10, 0.0, 1.0
    with torch.no_grad():
        while excess > 0 and spent < 20 * ours:
            n *= 2
            start = time.process_time()
            excess, spent = cost(proximal(n)) / goal - 1, time.process_time() - start
    with tabled("restoration: a Gaussian blur of 1.6 pixels at noise 0.01, to the energy at a gap of 1e-3") as row:
        case, steps = f"{clean.shape[-1]}²", found.iterations.max().item()
        row(
            f"{case}, restore", {"steps": steps, "processor time (ms)": 1e3 * ours, "of ours": 1, "energy over ours": 0}
        )
        values = {"steps": n, "processor time (ms)": 1e3 * spent, "of ours": spent / ours, "energy over ours": excess}
        row(f"{case}, deepinv", values)


def psnr(u, clean):
    return -10 * (u.clamp(0, 1) - clean).square().mean().log10().item()


def scores(folder):
    """Best weight common to the set, the oracle's and Stein's for each image; noise by seed, results clipped."""
    images = [torch.from_numpy(imread(file)).float()[None, None] / 255 for file in sorted(folder.glob("*.png"))]
    ratios = [0.5, 0.6, 0.7, 0.8, 0.88, 1.0, 1.15]
    with tabled("restoration: rof by the weight, mean PSNR") as row:
        for level in (15, 25, 50):
            sigma, table, chosen = level / 255, [], []
            for i, clean in enumerate(images):
                f = noisy(clean, sigma, i)
                table.append([psnr(rof(f, ratio * sigma).value, clean) for ratio in ratios])
                weight = sure_weight(f, sigma, generator=torch.Generator().manual_seed(i))
                chosen.append(psnr(rof(f, weight).value, clean))
            table = torch.tensor(table)
            best = table.mean(0).argmax()
            values = {"one weight (dB)": table.mean(0)[best], "that weight over σ": ratios[best]}
            values |= {"oracle (dB)": table.amax(1).mean(), "sure_weight (dB)": sum(chosen) / len(chosen)}
            row(f"{len(images)} of {folder.name}, σ {level}", {what: float(value) for what, value in values.items()})


def on_the_gpu():
    """Microseconds a step for batches of 256², beside what their bytes would take."""
    a = torch.rand(2**28, device=DEVICE)
    rate = 12 * a.numel() / cuda_seconds(lambda: torch.add(a, a, out=a), 10) * 2 / 3
    with tabled("restoration: on a GPU, a step of batches of 256²") as row:
        for batch in (1, 4, 16, 64, 256, 1024):
            f = torch.rand(batch, 1, 256, 256, device=DEVICE)
            problem, p = pose(f, torch.full((batch, 1, 1, 1), 0.1, device=DEVICE), "joint")
            with torch.no_grad():
                spent = cuda_seconds(lambda problem=problem, f=f, p=p: _step(problem, f, p, problem.first), 100)
            row(f"{batch} at once", {"a step (µs)": 1e6 * spent, "its bytes alone (µs)": 1e6 * 28 * f.numel() / rate})


def cuda_seconds(run, repeats):
    for _ in range(5):
        run()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / repeats


def ramps(size=128, sigma=0.05):
    """Ramps with edges between them: total variation, Huber's function, and total generalised variation."""
    y, x = torch.meshgrid(torch.linspace(0, 1, size), torch.linspace(0, 1, size), indexing="ij")
    clean = x + 0.5 * (y > 0.5) * (1 - y) + ((x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.04) * y
    f = noisy(clean[None, None], sigma)
    with tabled("restoration: ramps with edges between them, noise 0.05, at the best of four weights") as row:
        for name, options in {"rof": {}, "rof, huber=0.01": {"huber": 0.01}, "rof, order=2": {"order": 2}}.items():
            found = [rof(f, weight, **options) for weight in (0.03, 0.05, 0.07, 0.1)]
            errors = [(one.value - clean).square().mean().item() for one in found]  # beyond 1, too
            best, i = min((error, i) for i, error in enumerate(errors))
            row(
                f"{size}², {name}",
                {"PSNR (dB)": -10 * math.log10(best), "steps to a gap of 1e-3": found[i].iterations.item()},
            )


def main():
    print(f"{torch.get_num_threads()} threads, {DEVICE}")
    solve.COMPILE_AFTER = 0  # what a long run gets from its second image on
    if sys.argv[1:] == ["ramps"]:
        return ramps()
    if sys.argv[1:] == ["first"]:
        return first_picture(noisy(picture("camera"), 0.1), 0.1)
    if len(sys.argv) > 1:
        for name in ("set12", "bsd68"):
            scores(Path(sys.argv[1]) / name)
        return
    clean = picture("camera")
    f = noisy(clean, 0.1)
    iterations()
    with tabled("restoration: rof beside its peers, to the energy that it reached") as row:
        against_peers(row, f, 0.1, (1e-3, 1e-4))
        many = torch.cat([noisy(picture("camera")[..., ::2, ::2], 0.1, i) for i in range(16)])
        against_peers(row, many, 0.1, (1e-3,))
        some = ("scikit-image",)  # the others take minutes
        against_peers(row, f.repeat(1, 1, 4, 4), 0.1, (1e-3,), some, first=200)
        against_peers(row, noisy(ball(), 0.1), 0.1, (1e-3,), some, first=400)
    with tabled("restoration: other energies, other solvers, 512²") as row:
        row("scikit-image's split Bregman", {"over the minimum (%)": bregman(f, 0.1)})
        u, spent = opencv(f)
        row("OpenCV's TV-L1, 30 steps", {"PSNR (dB)": psnr(u, clean), "processor time (ms)": 1e3 * spent})
        row("tikhonov", {"processor time (ms)": 1e3 * seconds(lambda: tikhonov(f, 2.0))})
    with tabled("restoration: a step of rof, and what its 28 bytes a pixel would take") as row:
        step_cost(row, 512)
        step_cost(row, 512, channels=3)
        step_cost(row, 2048)
    gradients(f)
    inpainting()
    deblurring(clean[..., ::2, ::2])
    if DEVICE == "cuda":
        on_the_gpu()


if __name__ == "__main__":
    main()
