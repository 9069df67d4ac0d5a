"""The model as others use it, and its file."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_apollo.errors import (
    ConfigError,
    DataError,
    FileError,
    ModelDamaged,
    ModelError,
    ModelTooNew,
    UnknownStain,
)
from napari_apollo.model import Apollo, Architecture, Modality, ModelCard, Network, read_card
from napari_apollo.model.modality import paper_widths
from napari_apollo.panels import Panel


def make_model(seed: int = 0, *, conditional_chromatin: bool = False, **changes: object) -> Apollo:
    torch.manual_seed(seed)
    values = {
        "modalities": (
            Modality("chromatin", specific=6, conditional=conditional_chromatin),
            Modality("protein", specific=5, conditional=True),
        ),
        "vocabulary": ("CD3", "CD4", "gammaH2AX"),
        "shared": 10,
        "embedding": 4,
        "crop_size": 16,
        "widths": paper_widths(16, 8, 12),
        "specific_maps": 4,
    }
    architecture = Architecture(**{**values, **changes})
    card = ModelCard(
        architecture=architecture,
        panels=(Panel.parse("DAPI/CD3/CD4", "a"), Panel.parse("DAPI/gH2AX", "b")),
        pixel_size_um=0.5,
        scores={"CD3": {"prediction_mae": 0.1}},
    )
    return Apollo(Network(architecture), card)


@pytest.fixture
def model() -> Apollo:
    return make_model()


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).random((7, 1, 16, 16), dtype=np.float32)


def test_encode_and_decode_give_numpy_of_the_right_shape(model: Apollo, images: np.ndarray) -> None:
    latents = model.encode(images, "protein", ["CD3", "CD4", "CD3", "gH2AX", "CD3", "CD3", "CD4"])
    assert latents.shared.shape == (7, 10)
    assert latents.specific.shape == (7, 5)
    assert latents.shared.dtype == latents.specific.dtype == np.float32
    full = model.decode(latents.shared, latents.specific, "protein", "CD4")
    alone = model.decode(latents.shared, None, "protein", "CD4")
    assert full.shape == alone.shape == (7, 16, 16)
    assert full.dtype == np.float32
    assert 0 <= full.min() <= full.max() <= 1
    assert not np.array_equal(full, alone)


def test_nothing_in_gives_nothing_out(model: Apollo, images: np.ndarray) -> None:
    latents = model.encode(images[:0], "chromatin")
    assert latents.shared.shape == (0, 10)
    assert latents.specific.shape == (0, 6)
    assert model.decode(latents.shared, latents.specific, "chromatin").shape == (0, 16, 16)


def test_batches_do_not_change_the_result(model: Apollo, images: np.ndarray) -> None:
    whole, single = model.encode(images, "chromatin"), model.encode(images, "chromatin", batch_size=1)
    np.testing.assert_allclose(whole.shared, single.shared, atol=1e-6)
    np.testing.assert_allclose(
        model.decode(whole.shared, None, "protein", "CD3"),
        model.decode(whole.shared, None, "protein", "CD3", batch_size=3),
        atol=1e-6,
    )


def test_normal_codes_come_with_their_spread(images: np.ndarray) -> None:
    latents = make_model(normal_codes=True).encode(images, "chromatin")
    assert latents.shared_std.shape == (7, 10)
    assert latents.specific_std.shape == (7, 6)
    assert (latents.shared_std > 0).all()


def test_chromatin_of_the_paper_takes_a_protein_or_the_mean_of_all(images: np.ndarray) -> None:
    model = make_model(conditional_chromatin=True)
    embedding = model.network.encoders["chromatin"].embedding.weight
    paired = model.encode(images, "chromatin", "CD4").shared
    unpaired = model.encode(images, "chromatin").shared
    assert not np.allclose(paired, unpaired)
    np.testing.assert_array_equal(unpaired, model.encode(images, "chromatin", "DAPI").shared)
    embedding[:] = embedding.mean(0)
    np.testing.assert_allclose(unpaired, model.encode(images, "chromatin", "CD3").shared, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (lambda m, x: m.encode(x, "nucleus"), ConfigError, "nucleus"),
        (lambda m, x: m.encode(x, "protein"), ConfigError, "needs the stain"),
        (lambda m, x: m.encode(x, "protein", "CD8"), UnknownStain, "CD8"),
        (lambda m, x: m.encode(x, "protein", ["CD3", "CD4"]), ConfigError, "2 stains"),
        (lambda m, x: m.encode(x[:, :, :8], "chromatin"), DataError, "16, 16"),
        (lambda m, x: m.encode(x * np.nan, "chromatin"), DataError, "not finite"),
        (lambda m, x: m.decode(np.zeros((2, 9)), None, "chromatin"), DataError, "shared"),
        (lambda m, x: m.decode(np.zeros((2, 10)), np.zeros((3, 5)), "protein", "CD3"), DataError, "2 shared"),
        (lambda m, x: m.decode(np.full((2, 10), np.inf), None, "chromatin"), DataError, "not finite"),
    ],
)
def test_bad_input_is_refused(
    model: Apollo, images: np.ndarray, change: Callable, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        change(model, images)


# --- the file ---------------------------------------------------------------------------------


@pytest.fixture
def folder(model: Apollo, tmp_path: Path) -> Path:
    return model.save(tmp_path / "model")


def test_a_model_comes_back_the_same(model: Apollo, folder: Path, images: np.ndarray) -> None:
    again = Apollo.load(folder)
    assert again.card == model.card
    assert again.card.vocabulary == ("CD3", "CD4", "gammaH2AX")
    assert again.card.crop_size == 16
    assert read_card(folder) == model.card
    np.testing.assert_array_equal(
        again.encode(images, "chromatin").shared, model.encode(images, "chromatin").shared
    )
    assert {path.name for path in folder.iterdir()} == {"weights.safetensors", "model.json"}


def test_saving_twice_gives_the_same_bytes(model: Apollo, folder: Path, tmp_path: Path) -> None:
    other = model.save(tmp_path / "other")
    for name in ("weights.safetensors", "model.json"):
        assert (other / name).read_bytes() == (folder / name).read_bytes()


def test_an_existing_model_is_kept_unless_asked(model: Apollo, folder: Path) -> None:
    before = (folder / "weights.safetensors").read_bytes()
    with pytest.raises(FileError):
        make_model(1).save(folder)
    assert (folder / "weights.safetensors").read_bytes() == before
    make_model(1).save(folder, overwrite=True)
    assert (folder / "weights.safetensors").read_bytes() != before


def test_a_failed_write_leaves_the_old_model(
    model: Apollo, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("napari_apollo.model.files.write_json", fail)
    with pytest.raises(Exception, match="no space left"):
        make_model(1).save(folder, overwrite=True)
    assert Apollo.load(folder).card == model.card
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def edit_card(folder: Path, **values: object) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.json"):
        Apollo.load(tmp_path)


def test_newer_models_are_refused(folder: Path) -> None:
    edit_card(folder, schema_version=2, something="new")
    with pytest.raises(ModelTooNew, match="2"):
        Apollo.load(folder)


@pytest.mark.parametrize("position", [0, 5, 40, 400, -1])
def test_changed_weights_are_refused(folder: Path, position: int) -> None:
    path = folder / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[position] ^= 0x40
    path.write_bytes(content)
    with pytest.raises(ModelDamaged, match="weights"):
        Apollo.load(folder)


@pytest.mark.parametrize("length", [0, 4, 8, 100, -1])
def test_truncated_weights_are_refused(folder: Path, length: int) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ModelDamaged):
        Apollo.load(folder)


def test_a_header_that_claims_too_much_is_refused(folder: Path) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(struct.pack("<Q", 2**62) + path.read_bytes()[8:])
    with pytest.raises(ModelDamaged, match="header"):
        Apollo.load(folder)


def test_weights_of_another_model_are_refused(folder: Path, tmp_path: Path) -> None:
    other = make_model(shared=11).save(tmp_path / "other")
    (folder / "weights.safetensors").write_bytes((other / "weights.safetensors").read_bytes())
    with pytest.raises(ModelDamaged, match="does not fit"):
        Apollo.load(folder)
    other = make_model(1).save(tmp_path / "another")
    (folder / "weights.safetensors").write_bytes((other / "weights.safetensors").read_bytes())
    with pytest.raises(ModelDamaged, match="SHA-256"):
        Apollo.load(folder)


def test_huge_sizes_in_a_description_reserve_no_memory(folder: Path) -> None:
    card = json.loads((folder / "model.json").read_text())
    edit_card(folder, architecture={**card["architecture"], "shared": 10**9})
    with pytest.raises(ModelDamaged, match="does not fit"):
        Apollo.load(folder)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"schema_version": 0}', '{"schema_version": 1}', "\udcff" * 3, "[" * 100_000]
)
def test_a_damaged_description_is_refused(folder: Path, text: str) -> None:
    (folder / "model.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelDamaged):
        Apollo.load(folder)


def test_missing_weights_are_told(folder: Path) -> None:
    (folder / "weights.safetensors").unlink()
    with pytest.raises(ModelDamaged, match="missing"):
        Apollo.load(folder)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    model = make_model()
    model.network.stains.weight[0, 0] = float("nan")
    with pytest.raises(ModelDamaged, match="not finite"):
        Apollo.load(model.save(tmp_path / "model"))


def test_devices_are_checked(folder: Path) -> None:
    with pytest.raises(ConfigError, match="tpu"):
        Apollo.load(folder, device="tpu")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="cuda"):
            Apollo.load(folder, device="cuda")
    assert Apollo.load(folder, device="auto").device.type in ("cpu", "cuda", "mps")
