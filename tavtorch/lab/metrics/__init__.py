"""Scores that torchmetrics lacks, and those it has in the form that a `Task` reports: one number an item and name."""

from tavtorch.lab.metrics.pictures import force as force
from tavtorch.lab.metrics.pictures import hausdorff as hausdorff
from tavtorch.lab.metrics.pictures import iou as iou
from tavtorch.lab.metrics.pictures import restoration as restoration
from tavtorch.lab.metrics.pictures import segmentation as segmentation
from tavtorch.lab.metrics.pictures import splitting as splitting
from tavtorch.lab.metrics.runs import iteration as iteration
from tavtorch.lab.metrics.runs import settings as settings
from tavtorch.lab.metrics.sounds import Baseline as Baseline
from tavtorch.lab.metrics.sounds import bss_eval as bss_eval
from tavtorch.lab.metrics.sounds import components as components
from tavtorch.lab.metrics.sounds import ideal_ratio_mask as ideal_ratio_mask
from tavtorch.lab.metrics.sounds import recognition as recognition
from tavtorch.lab.metrics.sounds import separation as separation
