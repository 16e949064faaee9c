"""Handles: places that hold contours, such as those where a person drags them."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Handles(NamedTuple):
    """Places that hold the contours of their picture, as if the picture had been dragged there with them.

    At a point x of a contour the picture is seen as it is at

        x - w(x),        w(x) = Σ_k g_k(x) d_k / max(1, Σ_k g_k(x)),        g_k(x) = exp(-|x - p_k|² / 2 |d_k|²)

    where `d_k` is the way from where the contours rest without handles to the place `p_k`. The map is one to one for
    one handle, since |∇w| <= e^-½ < 1: the edges of the object reach the handle in a bump as wide as it is high.
    Springs, which pull at a point against the picture, press a contour to a spike of no width that crosses itself.
    """

    places: Float[Tensor, "b k 2"]
    drag: Float[Tensor, "b k 2"]
    """From the nearest point of the contours at rest to each place."""

    @classmethod
    def of(cls, places: Float[Tensor, "b k 2"], free: Float[Tensor, "b m n 2"]) -> "Handles":
        """Handles on contours that rest at `free` without them."""
        points = free.detach().flatten(1, 2)
        return cls(places, places - points.gather(1, _nearest(points, places)))

    def undragged(self, contours: Float[Tensor, "b m n 2"]) -> Float[Tensor, "b m n 2"]:
        """`x - w(x)`: where the contours would be if nothing had been dragged."""
        points = contours.flatten(1, 2)
        square = (points[:, :, None] - self.places[:, None]).square().sum(-1)
        width = self.drag.square().sum(-1).clamp(min=torch.finfo(square.dtype).eps)
        share = torch.exp(-0.5 * square / width[:, None])
        dragged = share @ self.drag / share.sum(-1, keepdim=True).clamp(min=1)
        return contours - dragged.reshape(contours.shape)

    def hold(self, contours: Float[Tensor, "b m n 2"]) -> Float[Tensor, "b m n 2"]:
        """The contours with the point nearest to each handle put on it."""
        points = contours.flatten(1, 2)
        return points.scatter(1, _nearest(points, self.places), self.places).reshape(contours.shape)


def _nearest(points: Float[Tensor, "b n 2"], places: Float[Tensor, "b k 2"]) -> Int[Tensor, "b k 2"]:
    """The index of the point nearest to each place, once for x and once for y."""
    away = (places[:, :, None] - points[:, None]).detach().square().sum(-1)
    return away.argmin(-1, keepdim=True).expand(-1, -1, 2)
