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


def with_places(crop_size: int = 32, spatial: int = 2, **changes: object) -> Architecture:
    """The small architecture; shared latent and that of proteins have so many numbers more for each place."""
    places = spatial * small_architecture(crop_size).grid ** 2
    modalities = (
        Modality("chromatin", specific=6),
        Modality("protein", specific=6 + places, spatial=spatial, conditional=True),
    )
    changes = {"shared": 10 + places, "spatial": spatial, "modalities": modalities, **changes}
    return small_architecture(crop_size, **changes)


@settings(max_examples=12, deadline=None)
@given(st.integers(2, 16).map(lambda k: 8 * k), st.booleans(), st.booleans(), st.integers(0, 2))
def test_every_crop_size_comes_back(
    size: int, shared_decoders: bool, normal_codes: bool, spatial: int
) -> None:
    architecture = with_places(size, spatial, shared_decoders=shared_decoders, normal_codes=normal_codes)
    network = Network(architecture).eval()
    values, stain = torch.rand(2, 1, size, size), torch.tensor([2, 0])
    places = architecture.places(spatial)
    for name, own in (("chromatin", 6), ("protein", 6 + places)):
        code = network.encode(name, values, stain)
        assert code.shared.shape == (2, 10 + places)
        assert code.specific.shape == (2, own)
        assert (code.shared_log_variance is None) is not normal_codes
        for specific in (code.specific, None):
            assert network.decode(name, code.shared, specific, stain).shape == values.shape


@pytest.mark.parametrize(("size", "grid"), [(32, 8), (64, 8), (72, 18), (128, 8)])
def test_places_of_a_crop(size: int, grid: int) -> None:
    architecture = with_places(size, 3)
    assert (architecture.grid, architecture.places(3)) == (grid, 3 * grid**2)
    network = Network(architecture)
    for decoder, length, maps in (
        (network.decoders["chromatin"], 10 + 6 - 4, 3),
        (network.decoders["protein"], 10 + 6, 6),
        (network.shared_decoders["protein"], 10, 3),
    ):
        assert decoder.from_latent.in_features == length + 4
        second = [layer for layer in decoder.trunk if isinstance(layer, nn.ConvTranspose2d)][1]
        assert second.in_channels == paper_widths(size, 8, 12)[-2] + maps


def test_what_latents_say_of_a_place_comes_from_there() -> None:
    architecture = with_places(64, 2, normal_codes=True)
    network = Network(architecture).eval()
    values, stain = torch.rand(1, 1, 64, 64), torch.tensor([1])
    changed = values.clone()
    changed[:, :, 8:16, 40:48] += 1  # row 1, column 5 of 8 x 8 places of 8 pixels
    before, after = (network.encode("protein", image, stain) for image in (values, changed))
    for first, second, whole in zip(before, after, (10, 6, 10, 6), strict=True):
        moved = (second - first)[0, whole:].view(2, 8, 8).abs().amax(0) > 1e-6
        rows, columns = moved.nonzero().T
        assert moved[1, 5]
        assert rows.max() <= 3
        assert columns.min() >= 3


@pytest.mark.parametrize("block", ["shared", "specific", "shared alone"])
def test_what_latents_say_of_a_place_goes_there(block: str) -> None:
    network = Network(with_places(64, 2)).eval()
    stain = torch.tensor([1])
    shared, specific = torch.randn(1, 10 + 128), torch.randn(1, 6 + 128)
    nudged = {"shared": shared.clone(), "specific": specific.clone()}
    nudged[block.split()[0]][:, -128:].view(1, 2, 8, 8)[:, 1, 6, 2] += 3
    with torch.no_grad():
        if block == "shared alone":
            images = [network.decode("protein", code, None, stain) for code in (shared, nudged["shared"])]
        else:
            pairs = ((shared, specific), (nudged["shared"], nudged["specific"]))
            images = [network.decode("protein", *pair, stain) for pair in pairs]
    moved = (images[1] - images[0])[0, 0].abs()
    rows, columns = (moved > 1e-6).nonzero().T
    assert rows.float().mean() == pytest.approx(51.5, abs=3)  # the middle of rows 48 to 55
    assert columns.float().mean() == pytest.approx(19.5, abs=3)
    assert rows.max() - rows.min() < 40


def test_places_are_for_images() -> None:
    table = Modality("rna", kind="table", specific=200, features=5)
    with pytest.raises(ConfigError, match="all images"):
        with_places(modalities=(Modality("chromatin", specific=200), table), hidden=8)
    with pytest.raises(ConfigError, match="'protein' of length 128"):
        proteins = Modality("protein", specific=128, spatial=2, conditional=True)
        with_places(modalities=(Modality("chromatin", specific=6), proteins))


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
        ({"spatial": 2, "shared": 128}, "8 x 8 places"),
        ({"spatial": 1, "shared": 300, "widths": (12,)}, "two blocks"),
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
