"""Stain names, their aliases and roles, and the panel: which stains a cell was given.

Channels are matched by stain name, never by position. A name is folded (case, Greek letters,
punctuation) before it is looked up, so ``γH2AX``, ``gH2AX`` and ``H2AX-pS139`` are one stain.
A name that nobody has listed is a stain of its own and keeps the spelling it came with.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from napari_apollo.errors import PanelError, PanelMismatch, UnknownStain

UNUSED = "-"
"""In a list of channels: this channel of the file is not used."""


class Role(StrEnum):
    """What a stain is for."""

    ANCHOR = "anchor"
    PROTEIN = "protein"


# Canonical name -> other spellings. Order matters in two places: the first anchor found in a
# panel is its anchor, and reports list stains in this order.
_ALIASES: dict[str, tuple[str, ...]] = {
    "DAPI": ("dapi1", "dapi01", "dapi001", "dapinuclear", "nucdapi"),
    "DNA": ("dna1", "dna01", "dnastain"),
    "dsDNA": ("doublestrandeddna",),
    "Hoechst": ("hoechst33342", "hoechst33258", "hoechst1", "hoe", "h33342"),
    "DRAQ5": (),
    "SYTOX": ("sytoxgreen", "sytoxorange", "sytoxblue"),
    "histoneH3": ("h3", "hh3", "histone3"),
    "gammaH2AX": (
        "gh2ax",
        "h2axps139",
        "h2axpser139",
        "h2axser139",
        "gammah2axps139",
        "ph2ax",
        "phosphoh2ax",
        "phosphoh2axser139",
        "yh2ax",
        "h2axgamma",
        "h2axphospho",
    ),
    "lamin": ("laminab", "lamins"),
    "laminA": ("laminac", "lmna", "laminaslashc"),
    "laminB": ("laminb1", "lmnb1"),
    "CD3": ("cd3e", "cd3epsilon"),
    "CD4": (),
    "CD8": ("cd8a", "cd8alpha"),
    "CD16": ("fcgr3a", "fcgriii"),
    "CD20": ("ms4a1",),
    "CD31": ("pecam1", "pecam"),
    "CD45": ("ptprc",),
    "CD56": ("ncam1", "ncam"),
    "CD68": (),
    "CD163": (),
    "FOXP3": (),
    "BCL6": (),
    "PD1": ("pdcd1", "cd279"),
    "PDL1": ("cd274", "b7h1"),
    "GZMB": ("granzymeb", "grb"),
    "Ki67": ("mki67",),
    "HLA-DR": ("hladra",),
    "vimentin": ("vim",),
    "panCK": ("pancytokeratin", "cytokeratin", "panckae1ae3", "ae1ae3"),
    "Ecadherin": ("cdh1", "ecad"),
    "alphaSMA": ("sma", "asma", "acta2"),
    "actin": ("factin", "phalloidin", "betaactin"),
    "tubulin": ("betatubulin", "alphatubulin", "btubulin", "atubulin", "tub", "microtubule", "microtubules"),
    "FKHR": ("fkhregfp", "foxo1", "foxo1egfp", "fkhrgfp"),
    "53BP1": ("tp53bp1",),
}

_ANCHORS = ("DAPI", "DNA", "dsDNA", "Hoechst", "DRAQ5", "SYTOX", "histoneH3")

_GREEK = {
    "α": "alpha",
    "β": "beta",
    "γ": "gamma",
    "δ": "delta",
    "ε": "epsilon",
    "κ": "kappa",
    "μ": "mu",
}

# What is written around a stain's name without being part of it: what the antibody carries
# (a fluorophore, a metal), and that it is an antibody. What a model made of a stain is part of its name:
# a channel called "CD4 (predicted from DAPI)" is never read as CD4.
_TAG = re.compile(
    r"""\( (?! \s* (?: predicted | reconstructed | uncertainty ) ) [^)]* \) | \[[^]]*\]
    | ^ anti [\s_-]
    | (?:^|[\s_-]) \d{2,3} [A-Z][a-z] (?=$|[\s_-])
    | [\s_-]+ (?: opal | alexa\s?fluor | alexa | af | cy | dylight | atto | cf | bv ) [\s_-]? \d{1,3} $
    | [\s_-] (?: fitc | tritc | apc | pe | e?gfp ) $""",
    re.VERBOSE | re.IGNORECASE,
)


# What separates stains in a manifest, or marks one there, is never part of a name: "CK8/18" would come back
# as two stains.
_SEPARATORS = re.compile(r"\s*[/,;|:*]+\s*")


def _fold(name: str) -> str:
    text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).casefold())
    text = "".join(_GREEK.get(letter, letter) for letter in text)
    return re.sub(r"[\W_]+", "", text)


_BY_FOLDED = {
    folded: canonical for canonical, aliases in _ALIASES.items() for folded in (_fold(canonical), *aliases)
}


def canonical_stain(name: str) -> str:
    """Canonical name of a stain.

    Parameters
    ----------
    name
        A name as found in a file, a folder or a table.

    Returns
    -------
    str
        The listed name where ``name`` is one of its spellings, else ``name`` without surrounding
        blanks: an unlisted stain is kept as its owner wrote it, but for what separates stains in a
        list: ``CK8/18`` is ``CK8-18``.

    Raises
    ------
    PanelError
        When nothing is left of the name.

    Examples
    --------
    >>> canonical_stain("γH2AX"), canonical_stain("H2AX-pS139"), canonical_stain("cd8")
    ('gammaH2AX', 'gammaH2AX', 'CD8')
    """
    folded = _fold(name)
    if not folded:
        raise PanelError(f"{name!r} is no stain name: it has no letter or digit.")
    return _BY_FOLDED.get(folded) or _BY_FOLDED.get(_fold(_TAG.sub(" ", name))) or _unseparated(name)


def _unseparated(name: str) -> str:
    joined = _SEPARATORS.sub("-", name.strip())
    return name.strip() if joined == name.strip() else joined.strip("-")


def listed_stains() -> tuple[str, ...]:
    """Canonical names of all stains that are known here, DNA stains first."""
    return tuple(_ALIASES)


def is_listed(stain: str) -> bool:
    """Whether a name is a spelling of a stain that is known here."""
    return bool(_fold(stain)) and canonical_stain(stain) in _ALIASES


def same_stain(first: str, second: str) -> bool:
    """Whether two names mean one stain (``"CK-EPCAM"`` and ``"ck epcam"`` do)."""
    return _fold(canonical_stain(first)) == _fold(canonical_stain(second))


def role_of(stain: str) -> Role:
    """Role a stain has by its name: DNA stains can be the anchor, everything else is a protein."""
    return Role.ANCHOR if canonical_stain(stain) in _ANCHORS else Role.PROTEIN


class Panel(BaseModel):
    """The stains a cell was given together.

    Attributes
    ----------
    name
        What the panel is called, for example ``"dapi_cd16_cd4_cd8"``.
    stains
        Canonical stain names in the order of the channels.
    anchor
        The DNA stain that joins panels.

    Examples
    --------
    >>> Panel.parse("dapi_cd16_cd4_cd8").stains
    ('DAPI', 'CD16', 'CD4', 'CD8')
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    stains: tuple[str, ...]
    anchor: str = ""

    @field_validator("stains", mode="before")
    @classmethod
    def _canonical(cls, stains: Sequence[str]) -> tuple[str, ...]:
        return tuple(canonical_stain(stain) for stain in stains)

    @model_validator(mode="before")
    @classmethod
    def _find_anchor(cls, values: object) -> object:
        if isinstance(values, dict) and not values.get("anchor"):
            stains = [canonical_stain(stain) for stain in values.get("stains", ())]
            present = [anchor for anchor in _ANCHORS if anchor in stains]
            values = {**values, "anchor": present[0] if present else ""}
        elif isinstance(values, dict):
            values = {**values, "anchor": canonical_stain(values["anchor"])}
        return values

    @model_validator(mode="after")
    def _check(self) -> Panel:
        folded = [_fold(stain) for stain in self.stains]
        twice = sorted({stain for stain in self.stains if folded.count(_fold(stain)) > 1})
        if twice:
            raise PanelError(f"Panel {self.name!r} names {', '.join(twice)} more than once.")
        if not self.anchor:
            raise PanelError(
                f"Panel {self.name!r} ({', '.join(self.stains) or 'no stains'}) has no DNA stain to "
                f"join it to other panels; one of {', '.join(_ANCHORS)} would do, or name the anchor."
            )
        if self.anchor not in self.stains:
            raise PanelError(
                f"Panel {self.name!r}: the anchor {self.anchor} is not among its stains "
                f"{', '.join(self.stains)}."
            )
        return self

    @classmethod
    def parse(cls, text: str, name: str | None = None) -> Panel:
        """Panel from a name that lists its stains.

        Parameters
        ----------
        text
            Stains joined by ``/ , ; |`` or, where none of these is there, by ``_ +`` or blanks:
            ``dapi_cd16_cd4_cd8``, ``DAPI/CD4/CD8/CD16``. A stain with a hyphen in its name keeps
            it. A free name may go before: ``T cells: DAPI/CD4/CD8``; a ``*`` behind a stain makes
            it the anchor: ``histones: H3K9Ac*/CD4``. Behind a free name, ``_ +`` and blanks never separate
            where one of the others does.
        name
            What to call the panel; the free name, or else ``text``, where not given.

        Raises
        ------
        PanelError
            When a stain stands twice, or no DNA stain is among them.
        """
        free, colon, listed = text.rpartition(":")
        stains = _split_stains(listed, strictly=bool(colon))
        anchors = [stain[:-1] for stain in stains if stain.endswith("*")]
        if len(anchors) > 1:
            raise PanelError(
                f"Panel {text.strip()!r} marks {' and '.join(anchors)} as its anchor; it has one."
            )
        return cls(
            name=name or (free.strip() if colon else "") or text.strip(),
            stains=tuple(stain.removesuffix("*") for stain in stains),
            anchor=anchors[0] if anchors else "",
        )

    def spelled_out(self) -> str:
        """Text from which ``parse`` makes this panel again.

        The name alone where that lists the stains, else the name with the stains behind it.
        """
        try:
            if Panel.parse(self.name) == self:
                return self.name
        except PanelError:
            pass
        if self.anchor == next((anchor for anchor in _ANCHORS if anchor in self.stains), ""):
            return f"{self.name}: {'/'.join(self.stains)}"
        marked = [f"{stain}*" if stain == self.anchor else stain for stain in self.stains]
        return f"{self.name}: {'/'.join(marked)}"

    @property
    def proteins(self) -> tuple[str, ...]:
        """Every stain but the anchor, in the order of the channels."""
        return tuple(stain for stain in self.stains if stain != self.anchor)

    def index(self, stain: str) -> int:
        """Channel of a stain.

        Raises
        ------
        UnknownStain
            When the panel does not have it.
        """
        for position, own in enumerate(self.stains):
            if same_stain(own, stain):
                return position
        raise UnknownStain(canonical_stain(stain), self.stains, f"panel {self.name}")

    def __contains__(self, stain: object) -> bool:
        return isinstance(stain, str) and any(same_stain(own, stain) for own in self.stains)


def _split_stains(text: str, *, strictly: bool) -> list[str]:
    strongly = [part.strip() for part in re.split(r"[/,;|]+", text) if part.strip()]
    fully = [part for part in re.split(r"[_/,;+|\s]+", text) if part]
    if len(strongly) > 1 and (strictly or not all(is_listed(part.removesuffix("*")) for part in fully)):
        return strongly
    return fully


def match_stains(wanted: Sequence[str], found: Sequence[str], where: str) -> tuple[int, ...]:
    """Channel in ``found`` of every stain in ``wanted``, by name.

    Parameters
    ----------
    wanted, found
        Stain names, any spelling; a channel found that is ``"-"`` is not used and matches nothing.
    where
        What ``found`` was read from; named in the error.

    Returns
    -------
    tuple of int
        One index into ``found`` for each wanted stain.

    Raises
    ------
    PanelMismatch
        When a wanted stain is missing, or stands twice in ``found``.
    """
    names = [stain if stain == UNUSED else canonical_stain(stain) for stain in found]
    folded = [_fold(name) for name in names]
    positions = []
    for stain in wanted:
        hits = [i for i, own in enumerate(folded) if own == _fold(canonical_stain(stain))]
        if len(hits) != 1:
            raise PanelMismatch([canonical_stain(s) for s in wanted], names, where)
        positions.append(hits[0])
    return tuple(positions)


def vocabulary(panels: Sequence[Panel]) -> tuple[str, ...]:
    """Every protein stain of the panels, sorted as people read names, each once.

    Index order is what a model's stain embedding relies on, so it depends on the names alone and
    not on the order in which panels are met.
    """
    proteins = {_fold(stain): stain for panel in panels for stain in panel.proteins}
    return tuple(proteins[key] for key in sorted(proteins))
