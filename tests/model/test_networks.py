"""Sizes of the networks, pinned to the paper's image model, and their behaviour at other sizes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from napari_apollo.errors import ConfigError
from napari_apollo.model import Architecture, Modality, Network
from napari_apollo.model.modality import blocks_for, paper_widths

VOCABULARY = ("CD16", "CD3", "CD4", "CD8", "gammaH2AX", "lamin")


def paper_architecture(**changes: object) -> Architecture:
    specific = changes.pop("specific", 200)
    values = {
        "modalities": (
            Modality("chromatin", specific=specific, conditional=True),
            Modality("protein", specific=specific, conditional=True),
        ),
        "vocabulary": VOCABULARY,
        "shared": 1024,
        "embedding": 64,
        "crop_size": 128,
        "widths": paper_widths(128),
        "specific_maps": 16,
    }
    return Architecture(**{**values, **changes})


def small_architecture(crop_size: int = 32, **changes: object) -> Architecture:
    values = {
        "modalities": (
            Modality("chromatin", specific=6),
            Modality("protein", specific=6, conditional=True),
        ),
        "vocabulary": ("CD3", "CD4", "CD8"),
        "shared": 10,
        "embedding": 4,
        "crop_size": crop_size,
        "widths": paper_widths(crop_size, 8, 12),
        "specific_maps": 4,
    }
    return Architecture(**{**values, **changes})


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope="module")
def paper() -> Network:
    return Network(paper_architecture())


def test_paper_encoder_trunk(paper: Network) -> None:
    layers = list(paper.encoders["protein"].trunk)
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels) for c in convolutions] == [
        (1, 64),
        (64, 128),
        (128, 256),
        (256, 256),
        (256, 96),
    ]
    assert {(c.kernel_size, c.stride, c.padding, c.bias) for c in convolutions} == {
        ((4, 4), (2, 2), (1, 1), None)
    }
    kinds = [type(layer).__name__ for layer in layers]
    assert kinds == ["Conv2d", "LeakyReLU"] + 4 * ["Conv2d", "BatchNorm2d", "LeakyReLU"]
    assert {layer.negative_slope for layer in layers if isinstance(layer, nn.LeakyReLU)} == {0.2}
    sizes, values = [], torch.zeros(2, 1, 128, 128)
    for layer in layers:
        values = layer(values)
        if isinstance(layer, nn.Conv2d):
            sizes.append(values.shape[-1])
    assert sizes == [64, 32, 16, 8, 4]


def test_paper_encoder_head(paper: Network) -> None:
    encoder = paper.encoders["chromatin"]
    assert encoder.shared_maps == 80
    assert (encoder.to_shared.in_features, encoder.to_shared.out_features) == (80 * 16 + 64, 1024)
    assert (encoder.to_specific.in_features, encoder.to_specific.out_features) == (16 * 16 + 64, 200)
    assert encoder.embedding.weight.shape == (6, 64)


def test_paper_decoders(paper: Network) -> None:
    decoder = paper.decoders["protein"]
    assert (decoder.from_latent.in_features, decoder.from_latent.out_features) == (1024 + 200 + 64, 1536)
    layers = list(decoder.trunk)
    kinds = [type(layer).__name__ for layer in layers]
    assert kinds == 4 * ["ConvTranspose2d", "BatchNorm2d", "LeakyReLU"] + ["ConvTranspose2d"]
    convolutions = [layer for layer in layers if isinstance(layer, nn.ConvTranspose2d)]
    assert [(c.in_channels, c.out_channels) for c in convolutions] == [
        (96, 256),
        (256, 256),
        (256, 128),
        (128, 64),
        (64, 1),
    ]
    assert {(c.kernel_size, c.stride, c.padding, c.bias) for c in convolutions} == {
        ((4, 4), (2, 2), (1, 1), None)
    }
    assert paper.shared_decoders["protein"].from_latent.in_features == 1024 + 64
    assert paper.decoders["chromatin"].from_latent.in_features == 1024 + 200 + 64
    assert paper.stains.weight.shape == (6, 64)


def test_paper_parameter_counts(paper: Network) -> None:
    # Worked out by hand from the layers of the paper; "about 2.10, 3.5, 4.1 and 3.8 million".
    assert parameters(paper.encoders["protein"].trunk) == 2_099_648
    assert parameters(paper.encoders["protein"]) == 3_541_512
    assert parameters(paper.decoders["protein"]) == 4_079_488
    assert parameters(paper.shared_decoders["protein"]) == 3_772_288
    assert len(paper.decoding_modules()) == 4


def test_fully_joint_has_no_split_and_two_decoders() -> None:
    network = Network(paper_architecture(specific=0, specific_maps=0))
    assert len(network.decoders) == 0
    assert len(network.shared_decoders) == 2
    assert network.encoders["protein"].to_specific is None
    assert network.encoders["protein"].to_shared.in_features == 1536 + 64
    assert network.shared_decoders["protein"].from_latent.in_features == 1024 + 64


def test_without_shared_decoders_the_specific_part_is_zero() -> None:
    network = Network(small_architecture(shared_decoders=False)).eval()
    assert len(network.shared_decoders) == 0
    shared, stain = torch.randn(3, 10), torch.tensor([0, 1, 2])
    alone = network.decode("protein", shared, None, stain)
    assert torch.equal(alone, network.decode("protein", shared, torch.zeros(3, 6), stain))


@pytest.mark.parametrize(("size", "blocks"), [(32, 3), (40, 3), (48, 3), (64, 4), (72, 3), (96, 4), (128, 5)])
def test_blocks_follow_the_crop(size: int, blocks: int) -> None:
    assert blocks_for(size) == blocks


@pytest.mark.parametrize("size", [0, 8, 30, 33, 264])
def test_crops_that_cannot_be_halved_are_refused(size: int) -> None:
    with pytest.raises(ConfigError, match=str(size)):
        blocks_for(size)


@settings(max_examples=12, deadline=None)
@given(st.integers(2, 16).map(lambda k: 8 * k), st.booleans(), st.booleans())
def test_every_crop_size_comes_back(size: int, shared_decoders: bool, normal_codes: bool) -> None:
    network = Network(
        small_architecture(size, shared_decoders=shared_decoders, normal_codes=normal_codes)
    ).eval()
    values, stain = torch.rand(2, 1, size, size), torch.tensor([2, 0])
    for name in ("chromatin", "protein"):
        code = network.encode(name, values, stain)
        assert code.shared.shape == (2, 10)
        assert code.specific.shape == (2, 6)
        assert (code.shared_log_variance is None) is not normal_codes
        for specific in (code.specific, None):
            assert network.decode(name, code.shared, specific, stain).shape == values.shape


def test_conditional_networks_use_the_stain() -> None:
    network = Network(small_architecture()).eval()
    values = torch.rand(1, 1, 32, 32)
    first, second = (network.encode("protein", values, torch.tensor([k])).shared for k in (0, 1))
    assert not torch.equal(first, second)
    first, second = (network.encode("chromatin", values, torch.tensor([k])).shared for k in (0, 1))
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shared": 0}, "shared"),
        ({"vocabulary": ()}, "vocabulary"),
        ({"widths": ()}, "widths"),
        ({"specific_maps": 12}, "specific_maps"),
        ({"specific_maps": 0}, "go together"),
        ({"widths": (8, 8, 8, 8, 12)}, "multiple of 8"),
    ],
)
def test_sizes_that_contradict_are_refused(changes: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        small_architecture(**changes)


def test_architecture_survives_json() -> None:
    architecture = small_architecture()
    assert Architecture.from_dict(architecture.to_dict()) == architecture
    with pytest.raises(ConfigError):
        Architecture.from_dict({"modalities": [{"nonsense": 1}]})
