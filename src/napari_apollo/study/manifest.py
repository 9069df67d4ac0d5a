"""The manifest of a study: a CSV with one field of view a row."""

from __future__ import annotations

import csv
import difflib
import io
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_apollo.errors import InputError, StudyError
from napari_apollo.panels import UNUSED, Panel, canonical_stain
from napari_apollo.storage import absolute, whole_file
from napari_apollo.study.fields import StudyField, panel_for, split_channels, unique_names

REQUIRED = ("image", "panel", "donor", "condition")
OPTIONAL = ("field", "labels", "pixel_size_um", "split", "channels", "z")
_COLUMNS = (*REQUIRED, *OPTIONAL)
_REMARKS = ("note", "comment")

_ENCODINGS = ("utf-8-sig", "cp1252")
_DELIMITERS = ",;\t"


@dataclass(frozen=True)
class Manifest:
    """What a manifest says.

    Attributes
    ----------
    fields
        One for every row.
    unknown_columns
        What is wrong with columns that mean nothing here; they were not read.
    """

    fields: tuple[StudyField, ...]
    unknown_columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Draft:
    """A row that is there, and its remarks."""

    line: int
    row: dict[str, str]
    remarks: tuple[tuple[str, str], ...]


def read_manifest(path: Path | str) -> Manifest:
    """Read a manifest.

    Parameters
    ----------
    path
        A CSV with the columns ``image, panel, donor, condition`` and, where wanted, ``field,
        labels, pixel_size_um, split, channels, z``, in any order. Paths are relative to the CSV.
        UTF-8 (with or without a mark at its beginning), UTF-16 with one, or Windows-1252;
        separated by ``,`` or ``;`` or tabulators. Columns called ``note...`` or ``comment...``
        are for people; they are kept when the study is written again.

    Returns
    -------
    Manifest
        The fields, their paths resolved. No file but the manifest is opened.

    Raises
    ------
    StudyError
        When the manifest cannot be read or rows are wrong; every wrong row is listed with its line.
    """
    path = Path(path)
    rows = _rows(path)
    header_line, header = next(rows, (1, []))
    names = [cell.strip().casefold() for cell in header]
    problems = [f"line {header_line}: column {name!r} is missing" for name in REQUIRED if name not in names]
    problems += [
        f"line {header_line}: column {name!r} stands {names.count(name)} times"
        for name in _COLUMNS
        if names.count(name) > 1
    ]
    if problems:
        raise StudyError(
            f"{path}: not a manifest; its first line names the columns {', '.join(REQUIRED)}:", problems
        )

    drafts: list[_Draft] = []
    for line, cells in rows:
        if len(cells) > len(names) and any(cell.strip() for cell in cells[len(names) :]):
            problems.append(
                f"line {line}: {len(cells)} cells for {len(names)} columns; "
                "a cell that has a separator in it needs quotes"
            )
            continue
        row = {name: cell.strip() for name, cell in zip(names, cells, strict=False) if name in _COLUMNS}
        missing = [name for name in REQUIRED if not row.get(name)]
        if missing:
            problems.append(f"line {line}: no {' and no '.join(missing)}")
            continue
        remarks = tuple(
            (title.strip(), cell)
            for title, name, cell in zip(header, names, cells, strict=False)
            if name.startswith(_REMARKS) and cell.strip()
        )
        drafts.append(_Draft(line, row, remarks))
    fields = _fields(drafts, path.parent, problems)
    if problems:
        raise StudyError(f"{path} cannot be used:", sorted(problems, key=_line_of))
    if not fields:
        raise StudyError(f"{path}: names no image; every line after the first is one field.")
    return Manifest(fields, tuple(_unknown(names)))


def write_manifest(path: Path | str, fields: Sequence[StudyField]) -> None:
    """Write a manifest, whole or not at all.

    Paths are written relative to the manifest where they share more with it than the root of the
    disk, with ``/`` on every system.
    """
    path = Path(path)
    columns = [*REQUIRED, "field"]
    columns += [name for name in OPTIONAL[1:-1] if any(getattr(field, name) is not None for field in fields)]
    columns += ["z"] if any(field.z != "max" for field in fields) else []
    titles = list(dict.fromkeys(title for field in fields for title, _ in field.remarks))
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*columns, *titles])
    folder = path.parent.absolute()
    for field in fields:
        remarks = dict(field.remarks)
        cells = [_cell(field, name, folder) for name in columns]
        writer.writerow([*cells, *(remarks.get(title, "") for title in titles)])
    try:
        content = text.getvalue().encode("utf-8")
    except UnicodeEncodeError as error:
        named = error.object[max(0, error.start - 60) : error.end + 20].encode("utf-8", "backslashreplace")
        raise StudyError(
            f"{path}: a manifest is UTF-8, and the name of a file is not (near {named.decode()!r}); "
            "rename the file."
        ) from error
    with whole_file(path) as partial:
        partial.write_bytes(content)


def _cell(field: StudyField, column: str, folder: Path) -> str:
    value = getattr(field, column)
    if value is None:
        return ""
    if isinstance(value, Path):
        return relative_to(value, folder)
    if isinstance(value, Panel):
        return value.spelled_out()
    if column == "channels":
        return ";".join(value)
    return repr(value) if isinstance(value, float) else str(value)


def relative_to(path: Path, folder: Path) -> str:
    """Path as written into a file that lies in ``folder``: relative where that is of use."""
    place = absolute(path)
    try:
        shared = Path(os.path.commonpath([place, folder]))
        written = os.path.relpath(place, folder)
    except ValueError:  # another drive
        return place.as_posix()
    return place.as_posix() if shared == Path(shared.anchor) else Path(written).as_posix()


def resolve(text: str, folder: Path) -> Path:
    """Path that stands in a file of ``folder``; ``\\`` separates too where it must.

    Absolute: it is written into stores, and compared with those of other manifests, from other folders.
    """
    path = folder / text
    if "\\" in text and not os.path.lexists(path):
        path = folder / text.replace("\\", "/")
    return absolute(path)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    text = _text(path)
    first = next((line for line in text.splitlines() if line.strip()), "")
    said = re.fullmatch(r'"?sep=(.)"?', first.strip(), re.IGNORECASE)  # a line for Excel
    delimiter = said.group(1) if said else max(_DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    before = 0
    try:
        for cells in reader:
            line, before = before + 1, reader.line_num
            if said and "".join(cells).casefold().startswith("sep="):
                continue
            if any(cell.strip() for cell in cells):
                yield line, cells
    except csv.Error as error:
        raise StudyError(f"{path}: line {reader.line_num} is no CSV: {error}.") from error


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StudyError(f"{path}: cannot be read: {error.strerror}. A manifest is a CSV file.") from error
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings: tuple[str, ...] = ("utf-16",)
    else:
        encodings = _ENCODINGS
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            break
        return text
    raise StudyError(f"{path}: is not text; a manifest is a CSV file, best in UTF-8.")


def _fields(drafts: Sequence[_Draft], folder: Path, problems: list[str]) -> tuple[StudyField, ...]:
    images = [resolve(draft.row["image"], folder) for draft in drafts]
    defaults = unique_names(images, [draft.row["panel"].partition(":")[0] for draft in drafts])
    fields: list[StudyField] = []
    lines: dict[str, int] = {}
    panels: dict[str, Panel] = {}
    for draft, image, default in zip(drafts, images, defaults, strict=True):
        line = draft.line
        try:
            field = _field(draft, image, default, folder)
        except StudyError as error:
            problems += [f"line {line}: {text}" for text in error.problems]
            continue
        except InputError as error:
            problems.append(f"line {line}: {error}")
            continue
        twin = lines.setdefault(field.field.casefold(), line)
        if twin != line:
            problems.append(f"line {line}: the field {field.field!r} stands in line {twin} already")
            continue
        # The same stains under the same name are one panel, in whatever order the channels of a file are.
        panel = panels.setdefault(field.panel.name.casefold(), field.panel)
        if set(panel.stains) == set(field.panel.stains):
            if panel.stains != field.panel.stains and field.channels is None:
                # The order may be all there is to tell which channel is which.
                problems.append(
                    f"line {line}: panel {panel.name!r} lists {', '.join(field.panel.stains)}, and "
                    f"{', '.join(panel.stains)} in a line before; a panel has one order, and a file in "
                    "which channels lie otherwise needs the column 'channels'"
                )
                continue
            field = field.model_copy(update={"panel": panel})
        fields.append(field)
    return tuple(fields)


def _field(draft: _Draft, image: Path, default: str, folder: Path) -> StudyField:
    row = draft.row
    given = row.get("channels")
    channels = None
    if given:
        channels = tuple(name if name == UNUSED else canonical_stain(name) for name in split_channels(given))
    values: dict[str, Any] = {name: row[name] for name in ("donor", "condition")}
    for name in ("pixel_size_um", "split", "z"):
        if row.get(name):
            values[name] = row[name].casefold()
    if "pixel_size_um" in values:
        values["pixel_size_um"] = values["pixel_size_um"].replace(",", ".")
    return StudyField(
        image=image,
        panel=panel_for(row["panel"], channels),
        field=row.get("field") or default,
        labels=resolve(row["labels"], folder) if row.get("labels") else None,
        channels=channels,
        remarks=draft.remarks,
        **values,
    )


def _unknown(names: Sequence[str]) -> Iterator[str]:
    for name in names:
        if name and name not in _COLUMNS and not name.startswith(_REMARKS):
            close = difflib.get_close_matches(name, _COLUMNS, n=1, cutoff=0.6)
            hint = f"did you mean {close[0]!r}?" if close else f"call it 'note {name}' if it is for people"
            yield f"column {name!r} means nothing here; {hint}"


def _line_of(problem: str) -> int:
    return int(problem.split()[1].rstrip(":"))
