"""What `evolve` adds to the field of the picture: contours that push each other."""

import torch
from torch import Tensor

from tavtorch.image.contours.motion import normals

NEIGHBOURS = 6
"""Contours, the nearest by their middles, that one keeps away from."""


def repulsion(contours: Tensor, reach: float) -> Tensor:
    """Force on the points of contours `(b, m, n, 2)` away from the other contours of their image.

    Along the outer normal of the nearest point of a neighbour: 1 inside of it, ½ where they touch, 0 from `reach`
    pixels on.
    """
    b, m, n, _ = contours.shape
    k = min(NEIGHBOURS, m - 1)
    if k == 0:
        return torch.zeros_like(contours)

    # The points of the nearest neighbours, with their normals.
    middle = contours.detach().mean(2)
    apart = (middle[:, :, None] - middle[:, None]).norm(dim=-1)
    apart = apart + torch.diag(torch.full_like(apart[0, 0], torch.inf))
    nearest = apart.topk(k, largest=False).indices.flatten(1)
    both = torch.cat((contours, normals(contours.flatten(0, 1)).reshape(contours.shape)), dim=-1)
    others = both.gather(1, nearest[..., None, None].expand(-1, -1, n, 4)).reshape(b, m, k * n, 4)

    # The nearest of these points, and the signed distance to it. About the middle, where products round least.
    x, y = (p.detach() - middle[:, :, None] for p in (contours, others[..., :2]))
    closest = (y.square().sum(-1)[:, :, None] - 2 * x @ y.mT).argmin(-1, keepdim=True)
    point, outwards = others.gather(2, closest.expand(-1, -1, -1, 4)).split(2, dim=-1)
    gap = ((contours - point) * outwards).sum(-1, keepdim=True)
    return outwards * ((reach - gap) / (2 * reach)).clamp(0, 1)
