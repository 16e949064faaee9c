"""Force fields and snakes against their peers, side by side: `uv run --group bench benchmarks/contours.py [PARTS]`.

Times are process CPU seconds, the least of some runs: OMP_NUM_THREADS=1 makes them those of one thread. Read the
ratios. Where there is a GPU a last section measures batches on it, in wall time.
"""

import math
import sys
import time
from functools import partial
from itertools import product

import numpy as np
import scipy.sparse as sparse
import torch
import torch.nn.functional as F
from measure import front, seconds, tabled
from scipy.sparse.linalg import spsolve
from skimage import data
from skimage.segmentation import active_contour, chan_vese, morphological_chan_vese

from tavtorch import Stop, circle, evolve, fill, gaussian_force, gvf_force, kass_force, segment
from tavtorch.image.contours import (
    chan_vese_force,
    crosses_itself,
    edge_map,
    ggvf_force,
    segment_crowd,
    track,
    vfc_force,
)
from tavtorch.image.contours.polygons import equidistant
from tavtorch.lab.data.synthetic.shapes import apples, bays, crowds, runners, stars
from tavtorch.lab.kinds.contours import hausdorff, iou

TIGHT = Stop(tol=1e-6, max_iter=50, every=1)
SURE = partial(edge_map, sigma=1.5, threshold=0.4)
FORCES = {
    "raw gradient (Kass)": kass_force,
    "Gaussian, sigma 3": partial(gaussian_force, sigma=3.0),
    "VFC, radius 48": partial(vfc_force, radius=48),
    "GGVF": ggvf_force,
    "GVF, 80 explicit steps": lambda image: explicit(image, 80),
    "GVF, solved": partial(gvf_force, smoothness=0.2),
}


def dice(seed=0):
    return torch.Generator().manual_seed(seed)


def camera(h=512, w=512):
    return torch.from_numpy(data.camera() / 255).float()[None, None, :h, :w].contiguous()


def slopes(image):
    """Central differences of the edge map."""
    p = F.pad(edge_map(image), (1, 1, 1, 1), mode="replicate")
    return torch.cat(((p[..., 1:-1, 2:] - p[..., 1:-1, :-2]) / 2, (p[..., 2:, 1:-1] - p[..., :-2, 1:-1]) / 2), 1)


def explicit(image, steps, smoothness=0.2):
    """The explicit scheme of Xu & Prince, with as few operations as possible."""
    slope = slopes(image)
    weight = slope.square().sum(1, keepdim=True)
    v, pull, keep = slope, weight * slope, 1 - weight - 4 * smoothness
    for _ in range(steps):
        p = F.pad(v, (1, 1, 1, 1), mode="replicate")
        v = keep * v + smoothness * (p[..., 1:-1, 2:] + p[..., 1:-1, :-2] + p[..., 2:, 1:-1] + p[..., :-2, 1:-1]) + pull
    return v


def direct(image, smoothness):
    """The same system by a sparse direct solver in float64."""
    slope = slopes(image)[0].double().numpy()
    h, w = slope.shape[1:]
    rows, columns = (sparse.diags([1.0, -2.0, 1.0], [-1, 0, 1], shape=(n, n)).tolil() for n in (h, w))
    for line in (rows, columns):
        line[0, 0] = line[-1, -1] = -1
    weight = (slope**2).sum(0).ravel()
    matrix = (sparse.diags(weight) - smoothness * sparse.kronsum(columns, rows)).tocsc()
    return np.stack([spsolve(matrix, weight * component.ravel()) for component in slope]).reshape(slope.shape)


def turned(field, exact):
    """Median angle in degrees between two fields."""
    found = field[0].detach().double().numpy()
    angle = np.arctan2(exact[0] * found[1] - exact[1] * found[0], (exact * found).sum(0))
    return np.degrees(np.median(np.abs(angle)))


def steps_of_gvf():
    images = {
        f"camera {h} x {w}": camera(h, w) for h, w in ((256, 256), (512, 512), (303, 384), (255, 301), (129, 257))
    }
    images |= {f"bay {n} x {n}": bays(1, n, generator=dice()).image for n in (256, 512)}
    with tabled("contours: GVF, steps to a relative residual of 1e-6") as row:
        for name, image in images.items():
            counts = {mu: gvf_force(image, mu, stop=TIGHT).iterations.item() for mu in (0.02, 0.2, 1.0, 10.0)}
            row(name, {f"smoothness {mu:g}": count for mu, count in counts.items()})


def accuracy_of_gvf():
    with tabled("contours: GVF at 256², smoothness 0.2, off the direct solution") as row:
        for name, image in {"camera": F.avg_pool2d(camera(), 2), "bay": bays(1, 256, generator=dice()).image}.items():
            exact = direct(image, 0.2)
            runs = {"solved": lambda u: gvf_force(u, 0.2).value} | {
                f"explicit, {steps} steps": partial(explicit, steps=steps) for steps in (80, 1000)
            }
            found = {how: (turned(run(image), exact), seconds(partial(run, image))) for how, run in runs.items()}
            (ours, fast), (theirs, slow) = found["solved"], found["explicit, 1000 steps"]
            front(
                "gvf_force",
                {
                    (f"{name} 256², off the direct solution: tavtorch", "degrees"): round(ours, 4),
                    (f"{name} 256², off the direct solution: explicit, 1000 steps", "degrees"): round(theirs, 4),
                    (f"{name} 256², processor time over that of 1000 explicit steps", ""): round(fast / slow, 3),
                },
            )
            peer = itk_gvf(image)
            if peer:
                found["ITK, 80 steps"] = turned(peer[0], exact), peer[1]
            for how, (angle, spent) in found.items():
                row(f"{name}, {how}", {"median angle (degrees)": angle, "time (ms)": 1000 * spent})


def itk_gvf(image):
    """ITK's GradientVectorFlowImageFilter; its step is too long for its own scheme, so that it diverges."""
    try:
        import itk
    except ImportError:
        return None
    slope = slopes(image)[0].permute(1, 2, 0).contiguous().numpy()
    vectors = itk.image_from_array(slope, ttype=itk.Image[itk.Vector[itk.F, 2], 2])
    kind = type(vectors)
    flow = itk.GradientVectorFlowImageFilter[kind, kind, itk.F].New(vectors)
    flow.SetNoiseLevel(0.2)
    flow.SetIterationNum(80)
    start = time.process_time()
    flow.Update()
    field = torch.from_numpy(itk.array_from_image(flow.GetOutput()).copy()).permute(2, 0, 1)[None]
    return field, time.process_time() - start


def gradients_of_gvf():
    with tabled("contours: GVF forward and backward, over 80 explicit steps unrolled") as row:
        for size, count in ((256, 1), (512, 1), (256, 8)):
            row(f"{count} x {size} x {size}", gradient_of_gvf(size, count))


def gradient_of_gvf(size, count):
    """Time, and that and the memory kept for the backward pass in parts of the unrolled ones."""
    image, cost = F.interpolate(camera(), (size, size), mode="area").repeat(count, 1, 1, 1), {}
    for name, force in {"solved": lambda u: gvf_force(u, 0.2).value, "unrolled": partial(explicit, steps=80)}.items():
        kept = [0]

        def keep(tensor, kept=kept):
            kept[0] += tensor.numel() * tensor.element_size()
            return tensor

        def both(force=force):
            force(image.clone().requires_grad_()).square().sum().backward()

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            force(image.clone().requires_grad_())
        cost[name] = seconds(both), kept[0]
    spent, held = (a / b for a, b in zip(cost["solved"], cost["unrolled"], strict=True))
    return {"time (ms)": 1000 * cost["solved"][0], "of the time": spent, "of the memory": held}


def outline(truth):
    """The border of a mask as contours, by scikit-image."""
    from skimage.measure import find_contours

    lines = [torch.from_numpy(find_contours(m[0].numpy().astype(float), 0.5)[0][:-1, ::-1].copy()) for m in truth]
    return torch.cat([equidistant(line[None].float(), 400) for line in lines])


def quality():
    forces = FORCES | {"GVF, edges smoothed, > 0.4": partial(gvf_force, smoothness=0.2, edges=SURE)}
    scenes = {noise: bays(8, 128, noise=noise, generator=dice()) for noise in (0.0, 0.1, 0.2, 0.4)}
    with tabled("contours: 8 bays of 128², mean IoU and Hausdorff distance in pixels by noise") as row:
        for name, force in forces.items():
            cells = {}
            for noise, scene in scenes.items():
                found = segment(scene.image, scene.points, force=force).value[:, 0]
                cells[f"IoU at {noise:g}"] = iou(fill(found, (128, 128)), scene.truth).mean().item()
                cells[f"distance at {noise:g}"] = hausdorff(found, outline(scene.truth)).mean().item()
            row(name, cells)


def capture_range():
    disk = fill(circle((63.5, 63.5), 23.0, 400), (128, 128))
    radii = torch.tensor([4.0, 8.0, 16.0, 32.0, 44.0, 62.0])
    start = circle(torch.full((6, 2), 63.5), radii, 200)
    with tabled("contours: a disk of radius 23, IoU by the radius of the start") as row:
        for name, force in FORCES.items():
            found = segment(disk.expand(6, -1, -1, -1).float(), start, force=force)
            scores = iou(fill(found.value, (128, 128)), disk.expand(6, -1, -1, -1))
            row(name, {f"{radius:g}": score for radius, score in zip(radii.tolist(), scores.tolist(), strict=True)})


CROWDS = "contours: crowds of 4 x 100 cells in 256², from circles of 1.2 radii"


def overlaps(score):
    return {"mean IoU": score.mean().item(), "least IoU": score.min().item()}


def cell_scores(points, truth, seconds=math.nan, collapsed=math.nan):
    return overlaps(cells_iou(points, truth)) | {"flagged as collapsed": float(collapsed), "time (s)": seconds}


def crowded():
    scene = crowds(4, 256, generator=dice())
    with tabled(CROWDS) as row:
        row("the circles", cell_scores(scene.points, scene.truth))
        settings = {
            f"GVF {smoothness}, edges {normalize}": (smoothness, normalize, {})
            for normalize in ("minmax", "local", "binary")
            for smoothness in (0.2, 0.02)
        }
        settings["GVF 0.2, edges binary, repel 0.5"] = 0.2, "binary", {"repel": 0.5}
        for name, (smoothness, normalize, options) in settings.items():
            edges = partial(edge_map, sigma=0.7, normalize=normalize, threshold=0.1 if normalize == "binary" else 0.0)
            force, begin = partial(gvf_force, smoothness=smoothness, edges=edges), time.process_time()
            found = segment(scene.image, scene.points, force=force, **options)
            spent, collapsed = time.process_time() - begin, found.gap.isinf().sum()
            row(name, cell_scores(found.value, scene.truth, spent, collapsed))


def learned():
    """The network of the package, on the same cells, and further from them: it was trained on other ones."""
    scene = crowds(4, 256, generator=dice())
    rows = {"learned edges": scene, "learned edges, the negatives": scene._replace(image=1 - scene.image)}
    for start, noise in ((1.0, 0.02), (1.4, 0.02), (1.2, 0.1)):
        name = f"learned edges, {start} radii, noise {noise}"
        rows[name] = crowds(4, 256, start=start, noise=noise, generator=dice())
    rows["learned edges, twice the size"] = twice(scene)
    rows["learned edges, off the middle"] = shifted = crowds(6, 256, shift=14.0, generator=dice(1))
    with tabled(CROWDS) as row:
        for name, one in rows.items():
            begin = time.process_time()
            found = segment_crowd(one.image, one.points)
            spent, collapsed = time.process_time() - begin, found.gap.isinf().sum()
            row(name, cell_scores(found.value, one.truth, spent, collapsed))
        score = cells_iou(found.value, shifted.truth)[cut_by_the_frame(shifted.truth, least=60)]
        row(f"of these {len(score)} that the frame cuts", overlaps(score))


def cut_by_the_frame(truth, least):
    """Which cells, `(b, m)`, the frame cuts and leaves at least so many pixels of."""
    rim = torch.ones_like(truth[0, 0])
    rim[1:-1, 1:-1] = False
    return (truth & rim).flatten(2).any(2) & (truth.flatten(2).sum(2) >= least)


def twice(scene):
    """The same cells in pictures of twice the size."""
    large = [F.interpolate(part.float(), scale_factor=2.0, mode="bilinear") for part in (scene.image, scene.truth)]
    size = scene.image.shape[-1]
    return scene._replace(image=large[0], truth=large[1] > 0.5, points=(2 * scene.points + 0.5).clamp(0, 2 * size - 1))


def apples_by_regions():
    scene = apples(12, 128, generator=dice())
    smooth = partial(chan_vese_force, smoothing=12.0)
    ours = {
        "GVF": {},
        "regions": {"force": None, "region": chan_vese_force, "elasticity": 0.3},
        "regions, smoothing 12": {"force": None, "region": smooth, "elasticity": 2.0},
    }

    # Level sets may take either side for the object: the better one counts.
    level = fill(scene.points[0], (128, 128))[0, 0].numpy().astype(np.int8)
    peers = {
        "morphological_chan_vese": partial(morphological_chan_vese, num_iter=100, init_level_set=level, smoothing=3),
        "chan_vese": partial(chan_vese, mu=0.25, max_num_iter=200, init_level_set=2.0 * level - 1),
    }
    with tabled("contours: 12 spotted fruits of soft borders, 128²") as row:

        def add(name, score, spent):
            row(name, overlaps(score) | {"time of one (ms)": 1000 * spent / 12})

        for name, options in ours.items():
            start = time.process_time()
            mask = fill(segment(scene.image, scene.points, **options).value[:, 0], (128, 128))
            add(name, iou(mask, scene.truth), time.process_time() - start)
        for name, peer in peers.items():
            start = time.process_time()
            masks = torch.stack([torch.from_numpy(peer(u[0].numpy()) > 0) for u in scene.image])[:, None]
            spent = time.process_time() - start
            add(f"scikit-image {name}", torch.maximum(iou(masks, scene.truth), iou(~masks, scene.truth)), spent)


def followed():
    film = runners(1, 96, frames=100, generator=dice())
    with tabled("contours: a cell that moves by its radius a frame, 100 frames of 96²") as row:
        for name, options in {"GVF": {}, "regions": {"force": None, "region": chan_vese_force}}.items():
            start = time.process_time()
            masks = fill(track(film.image, film.points, **options).value[0], (96, 96))
            spent, score = (time.process_time() - start) / 100, iou(masks, film.truth[0][:, None])
            row(name, overlaps(score) | {"time of a frame (ms)": 1000 * spent})


def dragged():
    """Handles that a person drags from contours at rest: how many of these settle, cross themselves, and how long."""
    with tabled("contours: handles dragged by 10 and 20 pixels out of disks of 512² and into them") as row:
        for n in (100, 200, 400):
            settled, crossed, times = 0, 0, []
            for radius, noise in product((40.0, 80.0, 120.0), (0.0, 0.05, 0.2)):
                middle = torch.tensor([256.0, 256.0])
                image = fill(circle(middle[None], radius, 400), (512, 512)).float()
                field = gvf_force(image + noise * torch.randn(image.shape, generator=dice()), 0.2).value
                rest = evolve(circle(middle[None], radius + 10, n), field).value
                for drag, angle in product((-20.0, -10.0, 10.0, 20.0), (0.3, 1.1)):
                    way = torch.tensor([math.cos(angle), math.sin(angle)])
                    start = time.process_time()
                    found = evolve(rest, field, anchors=(middle + (radius + drag) * way)[None, None])
                    times.append(time.process_time() - start)
                    settled += int(found.gap.item() < 0.1)
                    crossed += int(crosses_itself(found.value).item())
            counts = {"handles": len(times), "that settle": settled, "that cross": crossed}
            row(f"{n} points", counts | {"slowest (ms)": 1000 * max(times)})


def cells_iou(points, truth):
    mask = fill(points, truth.shape[-2:])
    return (mask & truth).sum((2, 3)) / (mask | truth).sum((2, 3))


def speed_of_snakes():
    scene = stars(64, 128, generator=dice())
    field, stop = gvf_force(scene.image, 0.2).value, Stop(tol=0.0, max_iter=100)
    crowd = scene.points.reshape(1, 64, 200, 2)
    with tabled("contours: 100 steps of contours of 200 points") as row:
        for name, run, count in (
            ("one contour", lambda: evolve(scene.points[:1], field[:1], stop=stop), 1),
            ("64 images, one each", lambda: evolve(scene.points, field, stop=stop), 64),
            ("64 contours in one image", lambda: evolve(crowd, field[:1], stop=stop), 64),
        ):
            row(name, {"time (ms)": 1000 * (spent := seconds(run, 5)), "a contour (ms)": 1000 * spent / count})

        # scikit-image moves one contour at a time.
        for name, image in {"128²": scene.image[0, 0].numpy(), "512²": camera()[0, 0].numpy()}.items():
            start = scene.points[0, 0].numpy()[:, ::-1]
            options = {"alpha": 0.05, "beta": 0.01, "gamma": 1.0, "max_num_iter": 100, "convergence": 0.0}
            spent = seconds(lambda image=image, start=start, options=options: active_contour(image, start, **options))
            row(f"scikit-image, {name}", {"time (ms)": 1000 * spent, "a contour (ms)": 1000 * spent})


def on_the_gpu():
    if not torch.cuda.is_available():
        print("\nno GPU: the section is skipped")
        return

    def wall(run, repeats=5):
        times = []
        for _ in range(repeats + 1):
            torch.cuda.synchronize()
            start = time.perf_counter()
            run()
            torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        return min(times[1:])

    with tabled("contours: on a GPU, wall time of GVF at 256² and of 100 steps of contours of 200 points") as row:
        for count in (1, 64, 1024):
            image = F.avg_pool2d(camera(), 2).cuda().expand(count, -1, -1, -1).contiguous()
            field = gvf_force(image, 0.2).value
            start = circle(torch.full((count, 2), 128.0, device="cuda"), 100.0, 200)
            solve = wall(lambda image=image: gvf_force(image, 0.2))
            creep = wall(lambda start=start, field=field: evolve(start, field, stop=Stop(tol=0.0, max_iter=100)))
            row(f"{count} at once", {"GVF (ms)": 1000 * solve, "steps (ms)": 1000 * creep})


PARTS = {
    part.__name__: part
    for part in (
        *(steps_of_gvf, accuracy_of_gvf, gradients_of_gvf, quality, capture_range),
        *(crowded, learned, apples_by_regions, followed, dragged, speed_of_snakes, on_the_gpu),
    )
}


def main():
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, python {sys.version.split()[0]}")
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main()
