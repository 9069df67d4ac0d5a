"""What can be read from blocks of latents, and whether shared and specific can be told apart."""

from napari_apollo.probes.matrix import ProbeMatrix, block_overlap, check_blocks, probe_matrix, readable
from napari_apollo.probes.separability import SeparabilityWarning, separability_warnings

__all__ = [
    "ProbeMatrix",
    "SeparabilityWarning",
    "block_overlap",
    "check_blocks",
    "probe_matrix",
    "readable",
    "separability_warnings",
]
