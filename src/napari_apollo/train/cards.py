"""What a model says of its training, whatever it was trained on."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
import torch

from napari_apollo import __version__
from napari_apollo.model.card import HeldOut, ModelCard
from napari_apollo.model.network import Network
from napari_apollo.train.common import CommonTrainConfig
from napari_apollo.train.split import Split


def card_of_training(
    network: Network, split: Split, config: CommonTrainConfig, fingerprint: str, **learnt_from: Any
) -> ModelCard:
    """The card of a model that has not been scored yet.

    Parameters
    ----------
    network
        What was trained.
    split
        Which cells were held out.
    config
        Every setting; where the run lies is left out.
    fingerprint
        Of the training data.
    learnt_from
        Further fields of ``ModelCard`` that tell of the data: panels and normalisation, or tables.
    """
    return ModelCard(
        architecture=network.architecture,
        objective=config.objective,
        training=config.model_dump(mode="json", exclude={"output", "overwrite"}),
        fingerprint=fingerprint,
        held_out=HeldOut(
            by=split.by,
            test=split.test,
            validation=split.validation,
            cells=split.counts(),
            fields=dict(split.fields),
        ),
        versions={
            "napari-apollo": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        licence=config.licence,
        **learnt_from,
    )
