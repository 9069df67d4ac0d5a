"""Everything that is wrong with a study, found before any work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_apollo.errors import InputError
from napari_apollo.study.images import open_field
from napari_apollo.study.labels import open_labels

if TYPE_CHECKING:
    from napari_apollo.study.study import Study


@dataclass(frozen=True)
class Examination:
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()


def examine(study: Study, *, thorough: bool = False) -> Examination:
    problems = []
    for field in study.fields:
        try:
            image = open_field(field)
            if field.labels is not None:
                open_labels(field.labels, image.shape)
        except InputError as error:
            problems.append(f"{field.field}: {error}")
    return Examination(tuple(problems))
