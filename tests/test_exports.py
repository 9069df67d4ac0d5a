"""The names that a script finds in the package, in whatever order things are imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

CALLS = """
import napari_apollo
{first}
from napari_apollo import measure, train, predict, evaluate, segment, crop
for function in (measure, train, predict, evaluate, segment, crop):
    try:
        function(no_such_setting=1)
    except TypeError as error:
        assert "no_such_setting" in str(error), error
    else:
        raise AssertionError(function)
"""


@pytest.mark.parametrize(
    "first",
    [
        "from napari_apollo import train, measure, predict",
        "import napari_apollo.measure.config, napari_apollo.train.config, napari_apollo.predict.store",
    ],
)
def test_functions_stay_functions(first: str) -> None:
    code = CALLS.format(first=first)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_every_name_is_there() -> None:
    import napari_apollo

    for name in napari_apollo.__all__:
        assert getattr(napari_apollo, name) is not None
