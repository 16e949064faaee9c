"""Scores that torchmetrics lacks, and those it has in the form that a `Task` reports: one number an item and name."""

from tavtorch.metrics.pictures import force as force
from tavtorch.metrics.pictures import hausdorff as hausdorff
from tavtorch.metrics.pictures import iou as iou
from tavtorch.metrics.pictures import restoration as restoration
from tavtorch.metrics.pictures import segmentation as segmentation
from tavtorch.metrics.pictures import splitting as splitting
from tavtorch.metrics.runs import iteration as iteration
from tavtorch.metrics.runs import settings as settings
from tavtorch.metrics.sounds import Baseline as Baseline
from tavtorch.metrics.sounds import bss_eval as bss_eval
from tavtorch.metrics.sounds import components as components
from tavtorch.metrics.sounds import ideal_ratio_mask as ideal_ratio_mask
from tavtorch.metrics.sounds import recognition as recognition
from tavtorch.metrics.sounds import separation as separation
