"""A gallery of crops: as many as there are, of which only those in sight are read and drawn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from qtpy.QtCore import (
    QAbstractListModel,
    QItemSelection,
    QItemSelectionModel,
    QModelIndex,
    QPoint,
    QRect,
    QSize,
    Qt,
    QTimer,
    Signal,
)
from qtpy.QtGui import QColor, QImage, QKeyEvent, QPainter, QPen, QPolygon, QResizeEvent, QWheelEvent
from qtpy.QtWidgets import QAbstractItemView, QListView, QStyle, QStyledItemDelegate, QStyleOptionViewItem

from napari_apollo.viewer.background import Background
from napari_apollo.viewer.crops import CropPainter, PictureCache

SIDES = (48, 64, 96, 128)
"""Sides of the pictures on the screen, in pixels."""

_EDGE = 3
_AHEAD = 2  # pages that are read before they are in sight
_AT_ONCE = 48
_PAUSE = 25  # milliseconds of rest before pictures are read
_MOST_CHOSEN = 300
_CELL = Qt.ItemDataRole.UserRole


@dataclass
class Marks:
    """What is drawn around the pictures.

    Attributes
    ----------
    colours
        Colours of the classes.
    codes
        (cell,) number of each cell's class, -1 for none.
    suggested
        (cell,) number of the suggested class, -1 for none.
    excluded
        (cell,) whether the cell is left out.
    """

    colours: list[str] = field(default_factory=list)
    codes: NDArray[np.int16] = field(default_factory=lambda: np.zeros(0, np.int16))
    suggested: NDArray[np.int16] = field(default_factory=lambda: np.zeros(0, np.int16))
    excluded: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))


class GalleryModel(QAbstractListModel):
    """The cells of a gallery in their order; pictures come from a worker.

    Parameters
    ----------
    owner
        When Qt destroys it, the worker ends.
    """

    def __init__(self, owner: Any) -> None:
        super().__init__(owner)
        self.cells = np.zeros(0, np.int64)
        self.painter: CropPainter | None = None
        self.pictures = PictureCache()
        self.names: NDArray[Any] = np.zeros(0, object)
        self._count = 0
        self._row: dict[int, int] = {}
        self._reader = Background(_read, owner)
        self._reader.answered.connect(self._arrived)

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Number of cells; without asking for the parent, as one layout asks a hundred thousand times."""
        return self._count

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """A cell's position in the table, or its name as tooltip."""
        if not index.isValid() or index.row() >= len(self.cells):
            return None
        cell = int(self.cells[index.row()])
        if role == _CELL:
            return cell
        if role in (Qt.ItemDataRole.ToolTipRole, Qt.ItemDataRole.AccessibleTextRole):
            return str(self.names[cell]) if cell < len(self.names) else None
        return None

    def show_cells(self, cells: NDArray[np.int64]) -> None:
        """Other cells, or another order."""
        self.beginResetModel()
        self.cells, self._count = cells, len(cells)
        self._row = {}
        self.endResetModel()

    def use(self, painter: CropPainter | None, names: NDArray[Any]) -> None:
        """Another store, or other stains of it."""
        self._reader.forget()
        self.painter, self.names = painter, names
        self.pictures.clear()

    def row_of(self, cell: int) -> int | None:
        """Row of a cell, or None where it is not shown."""
        if not self._row:
            self._row = {int(one): row for row, one in enumerate(self.cells.tolist())}
        return self._row.get(cell)

    def want(self, first: int, last: int) -> None:
        """Have the pictures of rows read that are not there yet."""
        if self.painter is None or first > last:
            return
        missing = self.pictures.missing(self.cells[max(0, first) : last + 1])
        if len(missing):
            self._reader.ask((self.painter, missing[:_AT_ONCE], (first, last)))

    def _arrived(self, question: Any, pictures: Any) -> None:
        painter, cells, (first, last) = question
        if painter is not self.painter:
            return
        self.pictures.put(cells, pictures)
        if len(self.cells):
            last = min(last, len(self.cells) - 1)
            self.dataChanged.emit(self.index(min(first, last), 0), self.index(last, 0))
        self.want(first, last)


class GalleryDelegate(QStyledItemDelegate):
    """Draws a picture, its class as a frame, a suggestion as a corner, a cross where it is excluded."""

    def __init__(self, model: GalleryModel, owner: Any) -> None:
        super().__init__(owner)
        self._model = model
        self.side = SIDES[1]
        self.marks = Marks()
        self.empty = QColor("#808080")
        self.chosen = QColor("#ffffff")
        self.chosen_cells = np.zeros(0, bool)

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex) -> QSize:
        """All pictures are of one size."""
        return QSize(self.side + 2 * _EDGE + 2, self.side + 2 * _EDGE + 2)

    def paint(self, painter: QPainter | None, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        """Draw one cell."""
        if painter is None:
            return
        cell = index.data(_CELL)
        frame = option.rect.adjusted(1, 1, -1, -1)
        inner = frame.adjusted(_EDGE, _EDGE, -_EDGE, -_EDGE)
        picture = None if cell is None else self._model.pictures.get(cell)
        painter.save()
        if picture is None:
            painter.setPen(QPen(self.empty, 1))
            painter.drawRect(inner.adjusted(0, 0, -1, -1))
        else:
            height, width = picture.shape[:2]
            image = QImage(picture.data, width, height, 3 * width, QImage.Format.Format_RGB888)
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, True)
            painter.drawImage(inner, image)
        if cell is not None and cell < len(self.marks.codes):
            self._mark(painter, frame, inner, int(cell))
        framed = cell is not None and cell < len(self.chosen_cells) and self.chosen_cells[cell]
        if framed or option.state & QStyle.StateFlag.State_Selected:
            painter.setPen(QPen(self.chosen, 2))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(option.rect.adjusted(1, 1, -2, -2))
        painter.restore()

    def _mark(self, painter: QPainter, frame: QRect, inner: QRect, cell: int) -> None:
        marks = self.marks
        if marks.codes[cell] >= 0:
            pen = QPen(QColor(marks.colours[marks.codes[cell]]), _EDGE)
            pen.setJoinStyle(Qt.PenJoinStyle.MiterJoin)
            painter.setPen(pen)
            painter.drawRect(frame.adjusted(2, 2, -3, -3))
        elif cell < len(marks.suggested) and marks.suggested[cell] >= 0:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(marks.colours[marks.suggested[cell]]))
            corner = inner.topRight()
            side = max(8, inner.width() // 6)
            painter.drawPolygon(
                QPolygon([corner + QPoint(1, 0), corner + QPoint(1 - side, 0), corner + QPoint(1, side)])
            )
        if marks.excluded[cell]:
            painter.setPen(QPen(QColor("#ff5555"), 2))
            painter.drawLine(inner.topLeft(), inner.bottomRight())
            painter.drawLine(inner.topRight(), inner.bottomLeft())


class GalleryView(QListView):
    """The gallery: arrows move, Shift and Ctrl extend, dragging draws a box, number keys name classes."""

    key_named = Signal(int)
    """A number key: 1 to 9 for a class, 0 for none."""

    exclude_asked = Signal()
    chosen = Signal(object)
    """Positions of the chosen cells, int64 (n,), when a person chose others."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = GalleryModel(self)
        self.delegate = GalleryDelegate(self.cells, self)
        self.setModel(self.cells)
        self.setItemDelegate(self.delegate)
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setMovement(QListView.Movement.Static)
        self.setUniformItemSizes(True)
        self.setLayoutMode(QListView.LayoutMode.SinglePass)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setSelectionRectVisible(True)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSpacing(0)
        self.setToolTip(
            "Cells. Drag a box or hold Shift or Ctrl to choose several. Keys 1 to 9 give a class, 0 takes it "
            "away, X excludes; Ctrl and wheel change the size."
        )
        self.setAccessibleName("Gallery of cells")
        self._silent = False
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(_PAUSE)
        self._pause.timeout.connect(self._read)
        bar = self.verticalScrollBar()
        if bar is not None:
            bar.valueChanged.connect(lambda _: self._soon())
        self.cells.modelReset.connect(self._soon)
        selecting = self.selectionModel()
        if selecting is not None:
            selecting.selectionChanged.connect(self._selected)

    def resize_pictures(self, side: int) -> None:
        """Pictures of another size, in pixels of the screen."""
        self.delegate.side = side
        self.scheduleDelayedItemsLayout()
        self._soon()

    def mark(self, marks: Marks) -> None:
        """Draw other marks."""
        self.delegate.marks = marks
        port = self.viewport()
        if port is not None:
            port.update()

    def choose(self, cells: ArrayLike, *, scroll: bool = True) -> None:
        """Choose cells, those that are shown of them, without telling.

        Many cells are framed all the same, but are not chosen in the sense of Qt, which takes seconds for
        thousands of pieces; the arrow keys start from the first of them.
        """
        wanted = np.asarray(cells, np.int64)
        self.delegate.chosen_cells = mask_of(wanted, int(self.cells.cells.max(initial=-1)) + 1)
        selecting = self.selectionModel()
        if selecting is None:
            return
        rows = np.flatnonzero(self.delegate.chosen_cells[self.cells.cells])
        selection = QItemSelection()
        if len(rows) <= _MOST_CHOSEN:
            for row in rows.tolist():
                index = self.cells.index(row, 0)
                selection.select(index, index)
        self._silent = True
        selecting.select(selection, QItemSelectionModel.SelectionFlag.ClearAndSelect)
        if len(rows):
            first = self.cells.index(int(rows[0]), 0)
            selecting.setCurrentIndex(first, QItemSelectionModel.SelectionFlag.NoUpdate)
            if scroll:
                self.scrollTo(first)
        self._silent = False
        port = self.viewport()
        if port is not None:
            port.update()

    def go_to(self, row: int) -> None:
        """Choose the cell of a row, as the arrow keys do."""
        if 0 <= row < len(self.cells.cells):
            self.setCurrentIndex(self.cells.index(row, 0))

    @property
    def chosen_cells(self) -> NDArray[np.int64]:
        """Positions of the chosen cells."""
        selecting = self.selectionModel()
        if selecting is None or not len(self.cells.cells):
            return np.zeros(0, np.int64)
        rows = [np.arange(part.top(), part.bottom() + 1) for part in selecting.selection() if part.isValid()]
        return self.cells.cells[np.unique(np.concatenate(rows))] if rows else np.zeros(0, np.int64)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Number keys name classes, X excludes; all others move."""
        if event is None:
            return
        plain = event.modifiers() in (Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.KeypadModifier)
        text = event.text()
        if plain and text.isascii() and text.isdigit():
            self.key_named.emit(int(text))
        elif plain and text.lower() == "x":
            self.exclude_asked.emit()
        else:
            super().keyPressEvent(event)

    def keyboardSearch(self, search: str | None) -> None:
        """Letters do not search: cells have no names that people would type."""

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        """With Ctrl, larger or smaller pictures."""
        if event is not None and event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            at = min(range(len(SIDES)), key=lambda number: abs(SIDES[number] - self.delegate.side))
            step = 1 if event.angleDelta().y() > 0 else -1
            self.resize_pictures(SIDES[max(0, min(len(SIDES) - 1, at + step))])
            event.accept()
            return
        super().wheelEvent(event)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Other cells come into sight."""
        super().resizeEvent(event)
        self._soon()

    @property
    def rows_in_sight(self) -> tuple[int, int]:
        """First and last row that can be seen."""
        port = self.viewport()
        step = self.delegate.side + 2 * _EDGE + 2
        bar = self.verticalScrollBar()
        if port is None or bar is None:
            return 0, -1
        across = max(1, port.width() // step)
        first = bar.value() // step * across
        last = (bar.value() + port.height()) // step * across + across - 1
        return first, min(last, len(self.cells.cells) - 1)

    def _soon(self) -> None:
        if not self._pause.isActive():
            self._pause.start()

    def _read(self) -> None:
        first, last = self.rows_in_sight
        self.cells.want(first, last + _AHEAD * (last - first + 1))

    def _selected(self, *_: object) -> None:
        if not self._silent:
            cells = self.chosen_cells
            self.delegate.chosen_cells = mask_of(cells, int(self.cells.cells.max(initial=-1)) + 1)
            self.chosen.emit(cells)


def mask_of(cells: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """Whether each position is among some cells, bool (at least ``count``,)."""
    mask = np.zeros(max(count, int(cells.max(initial=-1)) + 1), bool)
    mask[cells] = True
    return mask


def _read(question: Any) -> Any:
    painter, cells, _ = question
    return painter.paint(cells)
