"""
Certify a result
================

Most solvers stop after a number of steps and hope. A minimiser of a convex energy can do better: any dual field bounds
the energy from below, so that the *gap* between the two says how far from the minimum the answer can be at most, and
with it how far each result is from the exact one.
"""

# %%
import torch
from matplotlib.figure import Figure

from tavtorch import Stop, rof, total_variation
from tavtorch.lab.data.images import bundled, grey
from tavtorch.lab.notebook import show

torch.manual_seed(0)
clean = torch.cat([grey(bundled(name)[None])[..., 100:228, 100:228] for name in ("camera", "coins", "moon")])
noisy, weight = clean + 0.1 * torch.randn_like(clean), 0.08
found = rof(noisy, weight, stop=Stop(tol=1e-4))
for name, steps, gap in zip(("camera", "coins", "moon"), found.iterations, found.gap, strict=True):
    print(f"{name}: {steps.item()} steps, energy at most {gap.item():.1e} of itself above the minimum")

# %%
# Each item stops on its own certificate, and its result does not depend on who shares the batch.
alone = rof(noisy[1:2], weight, stop=Stop(tol=1e-4))
print("alone as together:", torch.equal(alone.value[0], found.value[1]))


# %%
# The bound holds. The exact answer, computed far further in double precision, is nearer than the gap allows.
def energy(image: torch.Tensor) -> torch.Tensor:
    return (image - noisy.double()).square().sum((1, 2, 3)) / 2 + weight * total_variation(image)


exact = rof(noisy.double(), weight, stop=Stop(tol=1e-8, max_iter=5000)).value
tolerances = [10.0**-k for k in range(1, 6)]
bounds, errors = [], []
for tol in tolerances:
    rough = rof(noisy.double(), weight, stop=Stop(tol=tol, every=1))
    bounds.append((2 * rough.gap * energy(rough.value)).sqrt().max())
    errors.append((rough.value - exact).square().sum((1, 2, 3)).sqrt().max())
figure = Figure(figsize=(6, 3), layout="constrained")
axes = figure.add_subplot(xlabel="tolerance asked for", ylabel="distance from exact", xscale="log", yscale="log")
axes.plot(tolerances, bounds, "o-", label="promised by the gap")
axes.plot(tolerances, errors, "o-", label="true")
axes.legend(frameon=False)
show({"noisy": noisy, "certified": found.value, "promise and truth": figure})
