"""The names that a script finds in the package, in whatever order things are imported."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import napari_apollo

SOURCE = Path(napari_apollo.__file__).parent
PACKAGES = [
    ".".join(("napari_apollo", *stub.parent.relative_to(SOURCE).parts))
    for stub in SOURCE.rglob("__init__.pyi")
]

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


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_that_a_package_offers_is_there(package: str) -> None:
    module = import_module(package)
    assert module.__all__
    assert set(dir(module)) >= set(module.__all__) - {"__version__"}
    for name in module.__all__:
        assert getattr(module, name) is not None


@pytest.mark.parametrize("package", PACKAGES)
def test_a_name_that_is_not_offered_is_an_attribute_error(package: str) -> None:
    with pytest.raises(AttributeError, match=rf"'{package}' has no attribute 'nothing'"):
        import_module(package).nothing  # noqa: B018
