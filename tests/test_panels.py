"""Stain names and panels: one stain however it is spelled, found by name and never by position."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_apollo import panels
from napari_apollo.errors import PanelError, PanelMismatch, UnknownStain
from napari_apollo.panels import (
    Panel,
    Role,
    canonical_stain,
    is_listed,
    match_stains,
    role_of,
    same_stain,
    vocabulary,
)

LISTED = sorted(panels._ALIASES)
SPELLINGS = [(name, alias) for name, aliases in panels._ALIASES.items() for alias in (name, *aliases)]

names = st.text(
    st.characters(codec="utf-8", categories=("Lu", "Ll", "Nd", "Pd", "Zs", "Po")), min_size=1, max_size=20
).filter(lambda text: any(letter.isalnum() for letter in text))
listed_panels = st.lists(
    st.sampled_from([name for name in LISTED if role_of(name) is Role.PROTEIN]), max_size=6, unique=True
).flatmap(lambda proteins: st.permutations(["DAPI", *proteins]))


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("γH2AX", "gammaH2AX"),
        ("gH2AX", "gammaH2AX"),
        ("gh2ax", "gammaH2AX"),
        ("H2AX-pS139", "gammaH2AX"),
        ("phospho-H2AX (Ser139)", "gammaH2AX"),
        ("dapi", "DAPI"),
        ("CD8a", "CD8"),
        ("PD-1", "PD1"),
        ("PD-L1", "PDL1"),
        ("F-actin", "actin"),
        ("β-tubulin", "tubulin"),
        ("beta-tubulin", "tubulin"),
        ("FKHR-EGFP", "FKHR"),
        ("HLA_DR", "HLA-DR"),
        ("CD8 (Opal 480)", "CD8"),
        ("CD4_Cy5", "CD4"),
        ("CD4-AF488", "CD4"),
        ("anti-CD4", "CD4"),
        ("156Gd_CD4", "CD4"),
        ("CD4 [Gd156]", "CD4"),
        ("CK-EPCAM", "CK-EPCAM"),
        ("  NaKATPase ", "NaKATPase"),
        ("CD45RA", "CD45RA"),
        ("Opal 520", "Opal 520"),
    ],
)
def test_spellings_found_in_files_have_one_name(spelling: str, name: str) -> None:
    assert canonical_stain(spelling) == name


@pytest.mark.parametrize(("name", "alias"), SPELLINGS)
def test_every_alias_leads_to_its_stain_and_no_other(name: str, alias: str) -> None:
    assert canonical_stain(alias) == name
    assert is_listed(alias)
    assert same_stain(alias, name)


@given(names)
def test_a_canonical_name_is_its_own_canonical_name(name: str) -> None:
    once = canonical_stain(name)
    assert canonical_stain(once) == once
    assert same_stain(once, name)


@given(st.sampled_from(LISTED), st.lists(st.sampled_from(" -_./"), min_size=1, max_size=4), st.booleans())
def test_case_and_punctuation_do_not_make_another_stain(name: str, marks: list[str], upper: bool) -> None:
    letters = list(name.upper() if upper else name.lower())
    for place, mark in enumerate(marks):
        letters.insert((place * 7) % (len(letters) + 1), mark)
    assert canonical_stain("".join(letters)) == name


@given(st.text(alphabet=" -_./()*", max_size=5))
def test_a_name_without_a_letter_is_refused(name: str) -> None:
    with pytest.raises(PanelError, match="no stain name"):
        canonical_stain(name)


def test_roles() -> None:
    assert role_of("Hoechst 33342") is Role.ANCHOR
    assert role_of("dsDNA") is Role.ANCHOR
    assert role_of("CD4") is Role.PROTEIN
    assert role_of("something new") is Role.PROTEIN


@pytest.mark.parametrize(
    ("text", "stains"),
    [
        ("dapi_cd16_cd4_cd8", ("DAPI", "CD16", "CD4", "CD8")),
        ("DAPI/CD4/CD8/CD16", ("DAPI", "CD4", "CD8", "CD16")),
        ("dapi_gh2ax_lamin_cd3", ("DAPI", "gammaH2AX", "lamin", "CD3")),
        ("DAPI, CD4, PD-1", ("DAPI", "CD4", "PD1")),
        ("DAPI/CK EPCAM/HLA_DR", ("DAPI", "CK EPCAM", "HLA-DR")),
        ("DNA + F-actin + beta-tubulin", ("DNA", "actin", "tubulin")),
        ("T cells: DAPI/CD4", ("DAPI", "CD4")),
    ],
)
def test_a_panel_name_lists_its_stains(text: str, stains: tuple[str, ...]) -> None:
    assert Panel.parse(text).stains == stains


def test_a_free_name_goes_before_the_stains() -> None:
    panel = Panel.parse("T cells: DAPI/CD4")
    assert panel.name == "T cells"
    assert Panel.parse("dapi_cd4", name="mine").name == "mine"


def test_an_anchor_can_be_marked() -> None:
    panel = Panel.parse("histones: H3K9Ac*/CD4")
    assert panel.anchor == "H3K9Ac"
    assert panel.proteins == ("CD4",)
    with pytest.raises(PanelError, match="it has one"):
        Panel.parse("DAPI*/Hoechst*/CD4")


@given(listed_panels, st.sampled_from(["_", "/", ", ", " + ", ";"]))
def test_a_panel_survives_being_written_and_parsed(stains: list[str], separator: str) -> None:
    if separator in "_ +":
        stains = [stain for stain in stains if not re.search(r"[\s_+]", stain)]
    panel = Panel.parse(separator.join(stains))
    assert panel.stains == tuple(stains)
    assert Panel.parse(panel.spelled_out()) == panel


@given(listed_panels, st.sampled_from(["T cells", "panel 1", "B", "dapi_cd4"]), st.integers(0, 6))
def test_a_freely_named_panel_is_spelled_out(stains: list[str], name: str, anchor: int) -> None:
    panel = Panel(name=name, stains=tuple(stains), anchor=stains[anchor % len(stains)])
    assert Panel.parse(panel.spelled_out()) == panel


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("CD4_CD8", "no DNA stain"),
        ("dapi_cd8_CD8a", "more than once"),
        ("", "no DNA stain"),
        ("T cells", "no DNA stain"),
    ],
)
def test_what_is_no_panel_is_refused(text: str, words: str) -> None:
    with pytest.raises(PanelError, match=words):
        Panel.parse(text)


def test_an_anchor_that_is_not_among_the_stains_is_refused() -> None:
    with pytest.raises(PanelError, match="not among its stains"):
        Panel(name="p", stains=("DAPI", "CD4"), anchor="Hoechst")


@given(listed_panels)
def test_the_order_of_channels_is_kept_and_found_by_name(stains: list[str]) -> None:
    panel = Panel(name="p", stains=tuple(stains))
    for position, stain in enumerate(stains):
        assert panel.index(stain.lower()) == position
        assert stain.upper() in panel
    assert set(panel.proteins) == set(stains) - {panel.anchor}
    with pytest.raises(UnknownStain, match="panel p"):
        panel.index("no such stain")


@given(listed_panels.flatmap(lambda stains: st.tuples(st.just(stains), st.permutations(stains))))
def test_channels_are_matched_by_name_never_by_position(orders: tuple[list[str], list[str]]) -> None:
    wanted, found = orders
    positions = match_stains(wanted, [name.lower() for name in found], "a file")
    assert [found[position] for position in positions] == wanted


@given(listed_panels, st.integers(0, 5))
def test_a_missing_stain_is_a_mismatch_that_lists_both(stains: list[str], place: int) -> None:
    missing = stains[place % len(stains)]
    found = [stain for stain in stains if stain != missing]
    with pytest.raises(PanelMismatch) as caught:
        match_stains(stains, found, "field1.tif")
    assert caught.value.wanted == tuple(stains)
    assert caught.value.found == tuple(found)
    assert missing in str(caught.value)
    assert "field1.tif" in str(caught.value)


def test_a_stain_that_stands_twice_is_not_guessed() -> None:
    with pytest.raises(PanelMismatch):
        match_stains(["CD8"], ["DAPI", "CD8", "CD8a"], "a file")


@given(st.lists(listed_panels, max_size=4), st.randoms(use_true_random=False))
def test_the_vocabulary_depends_on_names_alone(lists: list[list[str]], random: object) -> None:
    made = [Panel(name=str(i), stains=tuple(stains)) for i, stains in enumerate(lists)]
    shuffled = list(made)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert vocabulary(made) == vocabulary(shuffled)
    assert set(vocabulary(made)) == {stain for panel in made for stain in panel.proteins}


def test_no_spelling_belongs_to_two_stains() -> None:
    folded = [panels._fold(alias) for _, alias in SPELLINGS]
    assert len(folded) == len(set(folded))


@pytest.mark.parametrize(
    "text", ["histones: H3K9Ac*/CD4", "two: DAPI/Hoechst*/CD4", "plain: DAPI/CD4", "DAPI/CD4", "dapi_cd4"]
)
def test_a_panel_is_written_so_that_it_comes_back(text: str) -> None:
    panel = Panel.parse(text)
    assert Panel.parse(panel.spelled_out()) == panel
