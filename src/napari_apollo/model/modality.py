"""What a model is made of: its modalities and its sizes, without any weights.

A *modality* is one way of looking at a cell: the chromatin image, the protein image, or a table of
counts. Every modality has an encoder and decoders of its own; all of them meet in the shared latent.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from napari_apollo.errors import ConfigError

CHROMATIN = "chromatin"
"""Name of the modality that every cell has: the image of the anchor stain."""

PROTEIN = "protein"
"""Name of the modality that is conditional on the stain: the image of one protein."""

Activation = Literal["sigmoid", "linear", "composition"]
TableBlocks = Literal["plain", "paper"]
LossName = Literal["bce", "mse", "mae", "nb", "poisson", "bernoulli", "gaussian"]
LOSSES: tuple[str, ...] = get_args(LossName)

LIKELIHOODS = ("nb", "poisson", "bernoulli", "gaussian")
"""Losses in nats."""

COUNTED = ("nb", "poisson")
"""Losses of counts: networks see, and give, logarithms of parts of a library."""

WITH_SPREAD = ("nb", "gaussian")
"""Losses with a number for each feature that says how far values scatter."""


@dataclass(frozen=True)
class Modality:
    """One way of looking at a cell.

    Attributes
    ----------
    name
        What encoders, decoders and latents of this modality are called.
    kind
        ``"image"``, one channel of a crop, or ``"table"``, a vector of features.
    specific
        Length of the latent that only this modality has, its spatial part included; 0 makes everything
        shared.
    conditional
        Whether its networks are told, by an embedding, which stain is meant.
    features
        Length of the vector of a table; 0 for images.
    activation
        What turns the last layer into values: the decoders give logits or plain numbers, and this
        says which, so that nobody applies a sigmoid twice or never. ``composition`` are parts of a sum.
    loss
        Of a table, how its values are compared (``model.likelihoods``); where it is empty, as the objective
        says.
    positive_weight
        Of the loss ``bce``.
    weight
        What the loss of this modality is multiplied by.
    spatial
        Of an image, how many numbers of its specific latent belong to each place of the crop; see
        ``Architecture.spatial``.
    """

    name: str
    kind: Literal["image", "table"] = "image"
    specific: int = 0
    conditional: bool = False
    features: int = 0
    activation: Activation = "sigmoid"
    loss: str = ""
    positive_weight: float = 1.0
    weight: float = 1.0
    spatial: int = 0


@dataclass(frozen=True)
class Architecture:
    """Every size of a model; two models of one architecture can exchange weights.

    Attributes
    ----------
    modalities
        At least two.
    vocabulary
        Protein stains in the order of the stain embedding.
    shared
        Length of the shared latent, its spatial part included.
    spatial
        How many numbers of the shared latent belong to each place of the crop (``grid``): its last
        ``spatial * grid**2`` ones, as maps (map, y, x). 0 where it says nothing of places.
    embedding
        Length of a stain's embedding.
    crop_size
        Height and width of a crop in pixels; 0 where no modality is an image.
    widths
        Channels after each stride-2 block of the image encoders, mirrored by the decoders; the last
        one is the head, which is split between the shared and the specific path.
    specific_maps
        How many maps of the head belong to the specific path; the others to the shared path.
    shared_decoders
        Whether each modality has, beside its full decoder, one that sees the shared latent alone.
    normal_codes
        Whether encoders give a normal distribution (mean and log variance) instead of a point.
    hidden
        Width of the hidden layers of table networks; 0 where no modality is a table.
    depth
        Hidden layers of a table decoder; a table encoder has one less before its branches.
    table_blocks
        What a hidden layer is made of: see ``model.tables``.

    Raises
    ------
    ConfigError
        When the sizes contradict one another.
    """

    modalities: tuple[Modality, ...]
    vocabulary: tuple[str, ...]
    shared: int
    spatial: int = 0
    embedding: int = 64
    crop_size: int = 0
    widths: tuple[int, ...] = ()
    specific_maps: int = 0
    shared_decoders: bool = True
    normal_codes: bool = False
    hidden: int = 0
    depth: int = 3
    table_blocks: TableBlocks = "plain"

    def __post_init__(self) -> None:
        names = [modality.name for modality in self.modalities]
        if len(set(names)) != len(names) or not names:
            raise ConfigError(f"The modalities {names} need distinct names, and there must be some.")
        if "shared" in names:
            raise ConfigError("No modality can be called 'shared': that is the latent of all of them.")
        if self.shared < 1:
            raise ConfigError(f"shared = {self.shared}: the shared latent needs at least one dimension.")
        if any(modality.conditional for modality in self.modalities) and not self.vocabulary:
            raise ConfigError("A modality that is conditional on the stain needs stains in the vocabulary.")
        if any(modality.kind == "image" for modality in self.modalities):
            self._check_images()
        if any(modality.kind == "table" for modality in self.modalities):
            self._check_tables()
        self._check_spatial()

    def _check_spatial(self) -> None:
        lengths = {"shared": (self.shared, self.spatial)}
        lengths |= {modality.name: (modality.specific, modality.spatial) for modality in self.modalities}
        if not any(spatial for _, spatial in lengths.values()):
            return
        if any(modality.kind != "image" for modality in self.modalities):
            raise ConfigError("A spatial part of latents needs modalities that are all images.")
        if len(self.widths) < 2:
            raise ConfigError("A spatial part of latents needs images of two blocks or more.")
        for name, (length, spatial) in lengths.items():
            if spatial and length <= self.places(spatial):
                raise ConfigError(
                    f"Latent {name!r} of length {length} must be longer than its spatial part, "
                    f"{spatial} numbers for each of {self.grid} x {self.grid} places."
                )

    def _check_tables(self) -> None:
        bare = [m.name for m in self.modalities if m.kind == "table" and m.features < 1]
        if bare:
            raise ConfigError(f"Table modality {', '.join(bare)} needs at least one feature.")
        if self.hidden < 1 or self.depth < 2:
            raise ConfigError(
                f"hidden = {self.hidden}, depth = {self.depth}: table networks need a width of 1 and a "
                "depth of 2, or more."
            )

    def _check_images(self) -> None:
        if not self.widths:
            raise ConfigError("Image modalities need the widths of their blocks.")
        if self.crop_size % 2 ** len(self.widths) or self.bottom < 2:
            raise ConfigError(
                f"A crop of {self.crop_size} pixels cannot be halved {len(self.widths)} times down to 2 "
                "pixels or more; take a crop size that is a multiple of 8, for example 32, 64 or 128."
            )
        if not 0 <= self.specific_maps < self.widths[-1]:
            raise ConfigError(
                f"specific_maps = {self.specific_maps} must leave maps of the head ({self.widths[-1]}) "
                "to the shared path."
            )
        specific = {modality.specific > 0 for modality in self.modalities if modality.kind == "image"}
        if specific != {self.specific_maps > 0}:
            raise ConfigError("A specific latent and maps for it go together: give both or neither.")

    @property
    def bottom(self) -> int:
        """Height and width in pixels of the maps under the last block."""
        return self.crop_size // 2 ** len(self.widths)

    @property
    def grid(self) -> int:
        """Height and width of the spatial part of latents, in places: twice the bottom."""
        return 2 * self.bottom

    def places(self, spatial: int) -> int:
        """Length of the spatial part of a latent; what comes before it says something of the whole crop."""
        return spatial * self.grid**2 if spatial else 0

    def modality(self, name: str) -> Modality:
        """The modality of that name.

        Raises
        ------
        ConfigError
            When the model has none.
        """
        for modality in self.modalities:
            if modality.name == name:
                return modality
        known = ", ".join(modality.name for modality in self.modalities)
        raise ConfigError(f"The model has no modality {name!r}; it has {known}.")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Architecture:
        """Architecture from what ``to_dict`` gave.

        Raises
        ------
        ConfigError
            When names or values are not those of an architecture.
        """
        try:
            modalities = tuple(Modality(**modality) for modality in values["modalities"])
            return cls(
                **{
                    **values,
                    "modalities": modalities,
                    "vocabulary": tuple(values["vocabulary"]),
                    "widths": tuple(values["widths"]),
                }
            )
        except (TypeError, KeyError, ValueError) as error:
            raise ConfigError(f"This is no architecture of a model: {error}") from error


def blocks_for(crop_size: int) -> int:
    """How many stride-2 blocks suit a crop: down to maps of about 4 pixels.

    128 pixels give the five blocks of the paper, 64 four, 32 three. Where the size cannot be halved
    that often (72, say), fewer.

    Raises
    ------
    ConfigError
        When the size is no multiple of 8 between 16 and 256.
    """
    if not 16 <= crop_size <= 256 or crop_size % 8:
        raise ConfigError(
            f"crop size {crop_size}: the networks take crops of 16 to 256 pixels in steps of 8; "
            "32, 64 and 128 suit them best."
        )
    blocks = (crop_size // 4).bit_length() - 1
    while crop_size % 2**blocks:
        blocks -= 1
    return blocks


def paper_widths(crop_size: int, width: int = 64, head: int = 96) -> tuple[int, ...]:
    """Channels of the blocks: doubled twice, then kept, and ``head`` at the end.

    ``paper_widths(128)`` is the trunk of the paper, 64-128-256-256-96.
    """
    blocks = blocks_for(crop_size)
    return (*(width * min(2**block, 4) for block in range(blocks - 1)), head)
