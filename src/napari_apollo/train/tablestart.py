"""Where networks of tables start: decoders give the mean of the training cells, instead of finding it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from napari_apollo.model.modality import COUNTED
from napari_apollo.model.network import Network
from napari_apollo.model.tables import TableDecoder
from napari_apollo.tables.gain import composition
from napari_apollo.tables.preparing import Prepared

_LEAST = 1e-7  # part of a library, or share of cells, that a feature is taken to have at least


@torch.no_grad()
def start_at_means(network: Network, learnt: Mapping[str, Prepared]) -> None:
    """Set the biases of decoders' last layers, and the spread of counts, by the training cells.

    Decoders without biases (the paper's) stay as they are; so do those of values that are centred already.

    Parameters
    ----------
    network
        Untrained.
    learnt
        By table, values of the training cells.
    """
    for modality in network.architecture.modalities:
        if modality.name not in learnt or modality.loss not in (*COUNTED, "bernoulli", "bce"):
            continue
        values = learnt[modality.name].values
        if modality.loss in COUNTED:
            parts, excess = composition(values)
            bias = np.log(parts.clip(_LEAST))
            bias -= bias.mean()  # of a softmax, which does not see it
            spread = network.spread(modality.name)
            if spread is not None:
                spread.log.copy_(torch.from_numpy(-np.log(excess.clip(0.02, 5))))
        else:
            mean = np.asarray(values.mean(axis=0), np.float64).ravel().clip(_LEAST, 1 - _LEAST)
            bias = np.log(mean / (1 - mean))
        for decoders in (network.decoders, network.shared_decoders):
            if modality.name in decoders:
                decoder = decoders[modality.name]
                assert isinstance(decoder, TableDecoder)
                if decoder.to_values.bias is not None:
                    decoder.to_values.bias.copy_(torch.from_numpy(bias))
