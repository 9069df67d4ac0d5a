"""What can be read from blocks of latents, whether shared and specific can be told apart, and the
statistics of donors that figures of every room rest on.
"""

from napari_apollo.probes.association import Association, associate
from napari_apollo.probes.matrix import (
    ProbeMatrix,
    block_overlap,
    check_blocks,
    held_out_predictions,
    probe_matrix,
    readable,
)
from napari_apollo.probes.separability import SeparabilityWarning, separability_warnings
from napari_apollo.probes.statistics import Interval, benjamini_hochberg, cliffs_delta, donor_interval

__all__ = [
    "Association",
    "Interval",
    "ProbeMatrix",
    "SeparabilityWarning",
    "associate",
    "benjamini_hochberg",
    "block_overlap",
    "check_blocks",
    "cliffs_delta",
    "donor_interval",
    "held_out_predictions",
    "probe_matrix",
    "readable",
    "separability_warnings",
]
