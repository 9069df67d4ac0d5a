"""Errors cross process boundaries whole."""

from __future__ import annotations

import pickle

import pytest

from napari_apollo import errors

CASES = [
    errors.ApolloError("plain"),
    errors.StoreDamaged("a/b.zarr", "is damaged.", "Cut again."),
    errors.StudyError("Wrong:", ["first", "second"]),
    errors.UnknownStain("CD3", ["DAPI"], "panel A"),
    errors.PanelMismatch(["DAPI", "CD3"], ["DAPI"], "model"),
]


@pytest.mark.parametrize("error", CASES, ids=lambda error: type(error).__name__)
def test_an_error_survives_a_pickle(error: errors.ApolloError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)
    assert again.exit_code == error.exit_code
