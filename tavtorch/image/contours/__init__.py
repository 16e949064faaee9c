"""Contours of objects: force fields from the edges of a picture, and polygons that move in them (snakes).

`edges` computes edge maps, `forces` fields from them, `polygons` closed contours and their masks; `snakes` has the
public `evolve` and `segment`, `motion` one step of them; `region` moves contours by colours, `terms` lets them push
each other, `handles` hold them, `crowd` tells touching objects apart by a network, `tracking` follows objects through
films, `seeds` proposes where to start.
"""

from tavtorch.image.contours.crowd import CrowdModel as CrowdModel
from tavtorch.image.contours.crowd import segment_crowd as segment_crowd
from tavtorch.image.contours.edges import edge_map as edge_map
from tavtorch.image.contours.forces import gaussian_force as gaussian_force
from tavtorch.image.contours.forces import ggvf_force as ggvf_force
from tavtorch.image.contours.forces import gvf_force as gvf_force
from tavtorch.image.contours.forces import kass_force as kass_force
from tavtorch.image.contours.forces import vfc_force as vfc_force
from tavtorch.image.contours.polygons import area as area
from tavtorch.image.contours.polygons import circle as circle
from tavtorch.image.contours.polygons import crosses_itself as crosses_itself
from tavtorch.image.contours.polygons import distance as distance
from tavtorch.image.contours.polygons import equidistant as equidistant
from tavtorch.image.contours.polygons import fill as fill
from tavtorch.image.contours.polygons import soft_fill as soft_fill
from tavtorch.image.contours.region import chan_vese_force as chan_vese_force
from tavtorch.image.contours.seeds import seeds as seeds
from tavtorch.image.contours.snakes import evolve as evolve
from tavtorch.image.contours.snakes import segment as segment
from tavtorch.image.contours.tracking import track as track
