"""`converged` is never untrue: the measure of each iterative op, found again from its definition in double precision.

`OPS` has a function for each op: it makes random problems of one shape, solves them, and gives the solution, the
tolerance and the true measure of what was returned. The quick test has about 100 problems an op, the slow one 2,000.
"""

import math

import pytest
import torch

import tavtorch
from tavtorch import Blur, Mask, Solution, Stop, iterate, solve
from tavtorch.image import contours, fields
from tavtorch.image.grid import cosine_frequencies, mirrored
from tavtorch.image.restoration import primal_dual, tgv
from tavtorch.image.restoration.inpaint_tv import fill
from tavtorch.image.restoration.ridge import levels_of_axes, to_axes
from tavtorch.image.restoration.rof import pose
from tavtorch.image.splitting import hilbert, l1, meyer

SHAPES = [(1, 1, 1), (1, 1, 7), (3, 1, 2), (1, 6, 1), (2, 4, 5), (1, 7, 6), (3, 5, 5), (1, 9, 3)]
COUPLINGS = ["joint", "separate", "none"]
UNCONVERGED = {
    "rof": 0.01,
    "volumes": 0.02,
    "second_order": 0.2,
    "restore": 0.3,
    "restore_learned": 0.3,
    "inpaint_tv": 0.2,
    "inpaint_harmonic": 0.06,
    "force": 0.15,
    "split_hilbert": 0.05,
}
UNCONVERGED |= {"split_l1": 0.1, "split_meyer": 0.105, "nmf": 0.15, "evolve": 0.9, "tikhonov": 0.2}
"""Largest share of the problems that may not converge: tolerances and weights go beyond what users ask for,
and contours in noise collapse."""


class Draw:
    """Random numbers and problems, always the same from one seed."""

    def __init__(self, seed, dtype):
        self.generator, self.dtype = torch.Generator().manual_seed(seed), dtype

    def uniform(self, low, high, *shape):
        return low + (high - low) * torch.rand(*shape, generator=self.generator, dtype=torch.float64)

    def power(self, low, high, *shape):
        return 10 ** self.uniform(low, high, *shape)

    def choice(self, values):
        return values[int(self.uniform(0, len(values), 1))]

    def tolerance(self, finest, finest_double):
        return 10.0 ** -int(self.uniform(2, finest if self.dtype == torch.float32 else finest_double, 1))

    def pictures(self, b, c, h, w):
        """Noise, edges, constants, ramps, dots and levels, at scales 1e-6 to 1e6, offset up to 1e3 times these."""
        x, y = torch.linspace(0, 1, w), torch.linspace(0, 1, h)[:, None]
        noise, slopes = self.uniform(0, 1, b, c, h, w), self.uniform(-1, 1, 3, b, c, 1, 1)
        edges = ((x - slopes[0].abs()) * slopes[1] > 0) + 0.1 * noise
        kinds = [noise, edges, 0 * noise, slopes[1] * x + slopes[2] * y, (noise > 0.9).double(), (3 * noise).round()]
        kind = torch.multinomial(torch.tensor([4.0, 4, 0.2, 2, 1, 1]), b, True, generator=self.generator)
        scale = self.power(-6, 6, b, 1, 1, 1)
        offset = self.power(-3, 3, b, 1, 1, 1) * torch.randint(-1, 2, (b, 1, 1, 1), generator=self.generator)
        return (scale * (torch.stack(kinds)[kind, torch.arange(b)] + offset)).to(self.dtype), scale

    def weights(self, scale, shape):
        """Over eight orders; one an image or a map."""
        weight = self.power(-4, 4, len(scale), 1, 1, 1) * scale
        is_map = self.choice([False, False, False, True])
        weight = weight * self.power(-1, 1, len(scale), 1, *shape[1:]) if is_map else weight[:, 0, 0, 0]
        return weight.to(self.dtype), weight.to(self.dtype).double().reshape(len(scale), 1, *weight.shape[2:] or (1, 1))

    def holes(self, b, shape):
        hole = self.uniform(0, 1, b, 1, *shape[1:]) < self.uniform(0, 1, b, 1, 1, 1)
        hole[:, :, 0, 0] = False
        return hole


# the definitions, in plain code


def gradient(u, spacing=(1.0, 1.0)):
    parts = []
    for k in range(-1, -len(spacing) - 1, -1):
        part, n = torch.zeros_like(u), u.shape[k] - 1
        part.narrow(k, 0, n)[:] = (u.narrow(k, 1, n) - u.narrow(k, 0, n)) / spacing[k]
        parts.append(part)
    return torch.stack(parts, 2)


def divergence(p, spacing=(1.0, 1.0)):
    out = torch.zeros_like(p[:, :, 0])
    for k, part in zip(range(-1, -len(spacing) - 1, -1), p.unbind(2), strict=True):
        n = out.shape[k] - 1
        out.narrow(k, 0, n)[:] += part.narrow(k, 0, n) / spacing[k]
        out.narrow(k, 1, n)[:] -= part.narrow(k, 0, n) / spacing[k]
    return out


def length(field, coupling):
    axes = {"joint": (1, 2), "separate": (2,), "none": ()}[coupling]
    return field.square().sum(axes, keepdim=True).sqrt() if axes else field.abs()


def total(a):
    return a.flatten(1).sum(1)


def norm(a):
    return total(a.square()).sqrt()


def variation(u, weight, coupling, spacing=(1.0, 1.0)):
    return total(weight[:, :, None] * length(gradient(u, spacing), coupling))


def least(weight, coupling, bound, *guesses, spacing=(1.0, 1.0)):
    """The greatest of some lower bounds of an energy, by fields that are shortened to λ first."""
    found = []
    for p in guesses:
        p = torch.stack(p, 2)
        p = p * (weight[:, :, None] / length(p, coupling).clamp(min=1e-300)).clamp(max=1)
        found.append(bound(-divergence(p, spacing)))
    return torch.stack(found).amax(0)


def over(excess, energy):
    return excess / energy.clamp(min=1e-300)


def cosine_matrix(n):
    k = torch.arange(n, dtype=torch.float64)
    rows = torch.cos(math.pi / n * k[:, None] * (k + 0.5)) * (2 / n) ** 0.5
    rows[0] *= 0.5**0.5
    return rows


# the ops


def rof(draw, shape, b):
    f, scale = draw.pictures(b, *shape)
    weight, exact_weight = draw.weights(scale, shape)
    coupling, tol = draw.choice(COUPLINGS), draw.tolerance(6, 9)
    found = tavtorch.rof(f, weight, coupling=coupling, stop=Stop(tol, 600))

    mean = f.double().mean((-2, -1), keepdim=True)
    f, u = f.double() - mean, found.value.double() - mean
    problem, p = pose(f, exact_weight, coupling)
    p = primal_dual.solve(problem, f + problem.divergence(p), p, Stop(1e-11, 1500, 50)).value[1]
    bound = least(exact_weight, coupling, lambda d: total(f * d - d.square() / 2), p)
    energy = total((u - f).square()) / 2 + variation(u, exact_weight, coupling)
    return found, tol, over(energy - bound, energy)


def volumes(draw, shape, b):
    """As `rof`; the channels are the planes of a volume."""
    f, scale = draw.pictures(b, *shape)
    f, weight = f[:, None], (draw.power(-4, 4, b) * scale.flatten()).to(draw.dtype)
    coupling, tol, spacing = (
        draw.choice(COUPLINGS),
        draw.tolerance(6, 9),
        draw.choice([(1.0, 1.0, 1.0), (3.0, 1.0, 0.5)]),
    )
    found = tavtorch.rof(f, weight, coupling=coupling, spacing=spacing, stop=Stop(tol, 600))

    mean, exact_weight = f.double().mean((2, 3, 4), keepdim=True), weight.double().reshape(-1, 1, 1, 1, 1)
    f, u = f.double() - mean, found.value.double() - mean
    problem, p = pose(f, exact_weight, coupling, spacing=f.new_tensor(spacing))
    p = primal_dual.solve(problem, f + problem.divergence(p), p, Stop(1e-11, 1500, 50)).value[1]
    bound = least(exact_weight, coupling, lambda d: total(f * d - d.square() / 2), p, spacing=spacing)
    energy = total((u - f).square()) / 2 + variation(u, exact_weight, coupling, spacing)
    return found, tol, over(energy - bound, energy)


def second_order(draw, shape, b):
    """The distance to a much more exact solution, `½ |u - minimiser|²`, which is below the excess over the energy."""
    b = -(-b // 5)
    f, scale = draw.pictures(b, *shape)
    weight, exact_weight = draw.weights(scale, shape)
    coupling, tol, ratio = draw.choice(COUPLINGS), draw.tolerance(4, 5), draw.choice([0.5, 2.0, 5.0])
    found = tavtorch.rof(f, weight, order=2, ratio=ratio, coupling=coupling, stop=Stop(tol, 1500))

    mean = f.double().mean((-2, -1), keepdim=True)
    f, u, radius = f.double() - mean, found.value.double() - mean, exact_weight[:, :, None]
    exact = tavtorch.rof(f, weight.double(), order=2, ratio=ratio, coupling=coupling, stop=Stop(1e-7, 1500, 100)).value

    slopes = gradient(u)  # the allowed slopes are none, or these: no less than what the best ones cost
    bent = torch.stack(tgv.bend(slopes.unbind(2)), 2)
    costs = total(radius * length(slopes, coupling)), ratio * total(radius * length(bent, coupling))
    own = total((u - f).square()) / 2 + torch.minimum(*costs)
    rounding = 8 * torch.finfo(found.value.dtype).eps * (f + mean).abs()
    least = 1e3 * (total(rounding.square()) + total(exact_weight * rounding))
    return found, tol, over(total((u - exact).square()) / 2, torch.maximum(own, least))


def cameras(draw, shape, b):
    """Blurs that fit, strong or mild, even or not, with or without missing pixels, and missing pixels alone."""
    kernel = draw.uniform(0, 1, *(1 if n < 3 else 3 for n in shape[1:])).to(draw.dtype)
    if draw.choice([True, False]):
        kernel = kernel + kernel.flip(0) + kernel.flip(1) + kernel.flip(0, 1)
        kernel[len(kernel) // 2, len(kernel[0]) // 2] += draw.choice([0, 30])
    blur, mask = Blur(kernel / kernel.sum()), Mask(draw.holes(b, shape))
    return draw.choice([blur, mask, mask @ blur])


def restored(draw, shape, b):
    """The excess over the energy of a much more exact solution."""
    b = -(-b // 5)
    (f, scale), camera = draw.pictures(b, *shape), cameras(draw, shape, b)
    weight, exact_weight = draw.weights(scale, shape)
    coupling, tol = draw.choice(COUPLINGS), draw.tolerance(5, 6)
    found = tavtorch.restore(f, camera, weight, coupling=coupling, stop=Stop(tol, 400))

    f = f.double()
    exact = tavtorch.restore(f, camera, weight.double(), coupling=coupling, stop=Stop(1e-8, 800, 50)).value

    def energy(u):
        return total((camera(u) - f).square()) / 2 + variation(u, exact_weight, coupling)

    own = energy(found.value.double())
    rounding = total((32 * torch.finfo(found.value.dtype).eps * f).square())
    return found, tol, over(own - energy(exact), torch.maximum(own, rounding))


def learned(draw, shape, b):
    """The distance to a much more exact solution if the energy is strongly convex, else what is left of its slope."""
    b = -(-b // 3)
    scale, camera = draw.power(-2, 2, 1), cameras(draw, shape, b)
    f = (scale * draw.uniform(0, 1, b, *shape)).to(draw.dtype)
    sigma, weight, tol = float(scale * draw.power(-2, 0, 1)), float(draw.power(-2, 1, 1)), draw.tolerance(3, 5)
    model, stop = tavtorch.RidgeModel(axis=2, diagonal=1, size=3), Stop(float(scale) * tol, 500)
    found = tavtorch.restore(f, camera, weight, regulariser=model, sigma=sigma, stop=stop)

    exact, f = model.double(), f.double()
    best = tavtorch.restore(f, camera, weight, regulariser=exact, sigma=sigma, stop=Stop(float(scale) * 1e-9, 1500))
    u, level = to_axes(found.value.double()).requires_grad_(), torch.tensor(sigma, dtype=torch.float64)
    level = level.expand(b, 1, 1, 1)
    a, change, knots = exact.experts(level, levels_of_axes(level, f))._profile(slice(None))
    rows, columns = (mirrored(n, 1, torch.device("cpu")) for n in u.shape[-2:])
    z = torch.nn.functional.conv2d(u.flatten(0, 1)[:, None, rows[:, None], columns], exact.filters()) / a
    penalty = sum(
        part * torch.where(z.abs() < knot, z.square() / 2, knot * z.abs() - knot**2 / 2)
        for part, knot in zip(change.unbind(1), knots, strict=True)
    )
    energy = (camera(u) - to_axes(f)).square().sum() / 2 + weight * (a.square() * penalty).sum()
    slope = torch.autograd.grad(energy, u)[0]
    with torch.no_grad():
        least, most = exact.experts(level, levels_of_axes(level, f)).bounds(u.shape[-2:])
        rows, columns = (cosine_matrix(n) for n in u.shape[-2:])
        step = (rows @ slope @ columns.T) / (camera.power(u) + weight * (most - 1))
        away = (found.value.double() - best.value).square().mean((1, 2, 3)).sqrt()
    convex = camera.diagonal & ((camera.power(u) + weight * (least - 1)).amin((1, 2, 3)) > 0)
    return found, float(scale) * tol, torch.where(convex, away, step.square().mean((1, 2, 3)).sqrt())


def filled(draw, shape, b):
    f, scale = draw.pictures(b, *shape)
    hole, (weight, exact_weight) = draw.holes(b, shape), draw.weights(scale, shape)
    coupling, tol, denoised = draw.choice(COUPLINGS), draw.tolerance(6, 9), draw.choice([0, 1])
    found = tavtorch.inpaint_tv(f, hole, weight * denoised, coupling=coupling, stop=Stop(tol, 600))

    f, u = f.double(), found.value.double()
    low = f.masked_fill(hole, math.inf).amin((-2, -1), keepdim=True)
    high = f.masked_fill(hole, -math.inf).amax((-2, -1), keepdim=True)
    f, u, high, low = (f - low).masked_fill(hole, 0), u - low, high - low, 0 * low
    span = high.amax(1, keepdim=True).clamp(min=1e-300)
    exact_weight = exact_weight if denoised else span
    trust = torch.where(hole, 0, torch.ones_like(f[:, :1]) if denoised else math.inf)
    step = 12 * (exact_weight.amax((-2, -1), keepdim=True) / span).clamp(max=1)
    problem = primal_dual.Problem(f, exact_weight, trust, low, high, step, step, coupling)
    start = torch.where(hole, fill(f, ~hole), f)
    p = primal_dual.solve(problem, start, problem.gradient(0 * f), Stop(1e-10, 6000, 50)).value[1]
    guesses = [p, fields.flow(torch.where(hole, fields.mean_of(f, hole), f))] if denoised else [p]

    def bound(d):
        known = d * f - denoised * d.square() / 2
        return total(torch.where(hole, torch.minimum(d * low, d * high), known))

    energy = denoised * total((u - f).masked_fill(hole, 0).square()) / 2 + variation(u, exact_weight, coupling)
    return found, tol, over(energy - least(exact_weight, coupling, bound, *guesses), energy)


def harmonic(draw, shape, b):
    (f, _), hole = draw.pictures(b, *shape), draw.holes(b, shape)
    order, tol = draw.choice([1, 2]), draw.tolerance(6, 9)
    found = tavtorch.inpaint_harmonic(f, hole, order=order, stop=Stop(tol, 200, 1))

    def applied(u):
        for _ in range(order):
            u = -divergence(gradient(u))
        return u * hole

    mean = fields.mean_of(f.double(), hole)
    return found, tol, over(norm(applied(found.value.double() - mean)), norm(applied((f - mean).masked_fill(hole, 0))))


def force(draw, shape, b):
    (f, _), tol = draw.pictures(b, *shape), draw.tolerance(6, 9)
    slope = contours.edges.central(contours.edge_map(f))[:, 0].double()
    square = slope.square().sum(1, keepdim=True)
    if draw.choice([True, False]):
        smoothness = draw.power(-4, 4, b).to(draw.dtype)
        found = tavtorch.gvf_force(f, smoothness, stop=Stop(tol, 200, 1))
        weight, smoothness = square, smoothness.double().reshape(-1, 1, 1, 1)
    else:
        contrast = float(draw.power(-2, 2, 1))
        found = contours.ggvf_force(f, contrast, stop=Stop(tol, 200, 1))
        k = contrast * square.mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-300)
        g = torch.exp(-square.sqrt() / k).clamp(min=1e-3)
        weight, smoothness = (1 - g) / g, 1.0
    v = found.value.double()
    return found, tol, over(norm(weight * (v - slope) - smoothness * divergence(gradient(v))), norm(weight * slope))


def split_hilbert(draw, shape, b):
    f, scale = draw.pictures(b, *shape)
    weight, exact_weight = draw.weights(10 * scale, shape)
    kernel = draw.choice([hilbert.sobolev, lambda ω: torch.ones_like(ω[0]), lambda ω: 10 ** (8 * ω[0] - 4 * ω[1])])
    coupling, tol = draw.choice(COUPLINGS), draw.tolerance(6, 9)
    found = tavtorch.split_hilbert(f, weight, kernel=kernel, coupling=coupling, stop=Stop(tol, 600)).solution

    rows, columns = (cosine_matrix(n) for n in shape[1:])
    costs = kernel(cosine_frequencies(f)).double()
    mean = f.double().mean((-2, -1), keepdim=True)
    f, u = f.double() - mean, found.value.double() - mean
    spectrum = rows @ f @ columns.T
    step, s = hilbert._pose(f, exact_weight, costs, coupling)
    measure = lambda s: hilbert._gap(s, step, spectrum, costs)  # noqa: E731
    s = iterate(lambda k, s: step(s)[1:], (s,), measure, Stop(1e-11, 1500, 50)).value[0]
    guesses = step.multiplier(step(s)[1]), fields.flow(rows.T @ (costs * spectrum) @ columns)

    def bound(d):
        return total(f * d) - total((rows @ d @ columns.T).square() / costs) / 2

    energy = total(costs * (rows @ (u - f) @ columns.T).square()) / 2 + variation(u, exact_weight, coupling)
    return found, tol, over(energy - least(exact_weight, coupling, bound, *guesses), energy)


def split_l1(draw, shape, b):
    f, scale = draw.pictures(b, *shape)
    weight, exact_weight = draw.weights(torch.ones_like(scale), shape)
    coupling, tol = draw.choice(COUPLINGS), draw.tolerance(6, 9)
    found = tavtorch.split_l1(f, weight, coupling=coupling, stop=Stop(tol, 1000)).solution

    median = f.double().flatten(2).median(2).values[..., None, None]
    f, u = f.double() - median, found.value.double() - median
    low, high = f.amin((-2, -1), keepdim=True), f.amax((-2, -1), keepdim=True)
    problem, start, p = l1._pose(f, exact_weight, coupling)
    p = primal_dual.solve(problem, start, p, Stop(1e-10, 10000, 50)).value[1]

    def bound(d):
        return total(torch.where(d > 1, f - low + d * low, torch.where(d < -1, high - f + d * high, d * f)))

    energy = total((u - f).abs()) + variation(u, exact_weight, coupling)
    return found, tol, over(energy - least(exact_weight, coupling, bound, p), energy)


def split_meyer(draw, shape, b):
    f, scale = draw.pictures(b, *shape)
    weight, exact_weight = draw.weights(scale, shape)
    coupling, tol = draw.choice(COUPLINGS), draw.tolerance(6, 9)
    found = tavtorch.split_meyer(f, weight, coupling=coupling, stop=Stop(tol, 500)).solution

    mean, one = f.double().mean((-2, -1), keepdim=True), torch.ones_like(exact_weight[..., :1, :1])
    f, u = f.double() - mean, found.value.double() - mean
    step, start = meyer._pose(f, exact_weight, coupling)
    measure = lambda s, t: meyer._gap(s, t, step)  # noqa: E731
    s, _ = iterate(lambda k, *state: step(*state), start, measure, Stop(1e-10, 800, 50)).value
    bound = lambda r: total(f * r) - variation(r, exact_weight, coupling)  # noqa: E731
    excess = variation(u, one, coupling) - least(one, coupling, bound, step.multiplier(s))
    return found, tol, over(excess, variation(f, one, coupling))


def nmf(draw, shape, b):
    f, t = max(shape[1:]), min(shape[1:]) + draw.choice([0, 3])
    r, beta = draw.choice([1, min(f, 2), min(f, 3)]), draw.choice([1.0, 2.0, 0.0, 0.5, 1.5, 3.0, -1.0])
    sparsity, tol = draw.choice([0.0, 0.1]), draw.tolerance(5, 6)
    v = draw.uniform(0, 1, b, f, r) @ draw.uniform(0, 1, b, r, t) + draw.uniform(0, 1, b, 1, 1) * draw.uniform(
        0, 1, b, f, t
    )
    v = torch.where(draw.uniform(0, 1, b, f, t) < draw.uniform(-0.5, 0.5, b, 1, 1), 0, v)
    v = (draw.power(-6, 6, b, 1, 1) * v).to(draw.dtype)
    found = tavtorch.nmf(v, r, beta=beta, sparsity=sparsity, stop=Stop(tol, 400), generator=draw.generator)

    # In units of the mean, with the floor of data and model, see `multiplicative`.
    mean = v.double().mean((1, 2), keepdim=True)
    unit = torch.where(mean > 0, mean, 1)
    x, w, h = v.double() / unit + 1e-7, found.templates.double(), found.activations.double() / unit
    y = w @ h + 1e-7
    minus, plus = x * y ** (beta - 2), y ** (beta - 1)
    penalty = sparsity * (f * t) ** 0.5 / 2 / (w.sum(1) * h.sum(2) + 1e-7).sqrt()

    def violation(u, down, up):
        size = u / u.mean(-1, keepdim=True).clamp(min=1e-300)
        ratio = torch.where(up > 0, over(down, up), 1.0)
        return torch.minimum(size, 1 - ratio).clamp(min=-1).square().mean((1, 2)).sqrt()

    of_h = violation(h, w.mT @ minus, w.mT @ plus + (penalty * w.sum(1))[..., None])
    of_w = violation(w.mT, (minus @ h.mT).mT, (plus @ h.mT + (penalty * h.sum(2))[:, None]).mT)
    factors = torch.cat((found.templates.flatten(1), found.activations.flatten(1)), 1)
    true = torch.where(mean[:, 0, 0] > 0, torch.maximum(of_h, of_w), 0)
    return found.solution._replace(value=factors), tol, true


def evolve(draw, shape, b):
    h, w = 9 + shape[1], 9 + shape[2]
    field = tavtorch.gvf_force(draw.pictures(b, 1, h, w)[0], 0.2).value
    center = torch.tensor([[(w - 1) / 2, (h - 1) / 2]], dtype=draw.dtype).expand(b, 2)
    start, seen, tol = tavtorch.circle(center, (min(h, w) - 1) / 2, 12), [], draw.tolerance(3, 4)
    found = tavtorch.evolve(start, field, elasticity=draw.power(-3, 0, b).to(start), stop=Stop(tol, 500), history=seen)

    items, last, before = torch.arange(b), found.iterations // 10, (found.iterations // 10 - 1).clamp(min=0)
    x, before = torch.stack(seen)[last, items].double(), torch.stack(seen)[before, items].double()
    along = x.roll(-1, 1) - x.roll(1, 1)
    normal = torch.stack((along[..., 1], -along[..., 0]), -1)
    normal = normal / normal.norm(dim=-1, keepdim=True).clamp(min=1e-300)
    return found, tol, ((x - before) * normal).sum(-1).abs().amax(1)


def tikhonov(draw, shape, b):
    """Without a `Solution`: a result that is far from solved is an error."""
    b = -(-b // 5)  # one by one, since the error is that of a batch
    f, _ = draw.pictures(b, *shape)
    weight = draw.power(-4, 4, b, 1, 1, 1) * draw.power(-1, 1, b, 1, *shape[1:])
    weight = weight.to(draw.dtype)
    values, solved = torch.zeros_like(f), torch.zeros(b, dtype=torch.bool)
    for i in range(b):
        try:
            values[i : i + 1], solved[i] = tavtorch.tikhonov(f[i : i + 1], weight[i : i + 1]), True
        except ValueError:
            continue
    u, f = values.double(), f.double()
    residual = norm(u - divergence(weight.double()[:, :, None] * gradient(u)) - f)
    count = torch.zeros(b, dtype=torch.int64)
    return Solution(values, count, residual, solved), 1e-3, over(residual, norm(f))


OPS = {
    "rof": rof,
    "volumes": volumes,
    "second_order": second_order,
    "restore": restored,
    "restore_learned": learned,
    "inpaint_tv": filled,
    "inpaint_harmonic": harmonic,
    "force": force,
    "split_hilbert": split_hilbert,
    "split_l1": split_l1,
    "split_meyer": split_meyer,
    "nmf": nmf,
    "evolve": evolve,
    "tikhonov": tikhonov,
}


BATCHES = [(shape, dtype) for shape in SHAPES for dtype in (torch.float32, torch.float64)]


@pytest.mark.parametrize(
    ("batches", "b"),
    [pytest.param(BATCHES[5::3], 25, id="100"), pytest.param(BATCHES, 125, marks=pytest.mark.slow, id="2000")],
)
@pytest.mark.parametrize("name", OPS)
def test_converged_is_true(name, batches, b, monkeypatch):
    monkeypatch.setattr(solve, "COMPILE_AFTER", float("inf"))  # many small shapes
    missed, count = 0, 0
    for seed, (shape, dtype) in enumerate(batches):
        found, tol, true = OPS[name](Draw(seed, dtype), shape, b)
        assert found.value.isfinite().all() and not found.gap.isnan().any()
        untrue = found.converged & ~(true <= 2 * tol)
        assert not untrue.any(), f"{shape} {dtype} {tol}: {found.gap[untrue]}, truly {true[untrue]}"
        missed, count = missed + int((~found.converged).sum()), count + len(true)
    assert missed <= UNCONVERGED[name] * count, f"{missed} of {count} do not converge"
