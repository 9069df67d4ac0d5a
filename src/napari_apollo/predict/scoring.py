"""Made images of cells, batch by batch, scored against what was measured and beside baselines."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from napari_apollo.cells.store import CellStore
from napari_apollo.errors import DataError
from napari_apollo.panels import Panel
from napari_apollo.predict.baselines import make_baselines
from napari_apollo.predict.conformal import StainIntervals
from napari_apollo.predict.evaluateconfig import EvaluateConfig
from napari_apollo.predict.featurescores import FeaturePairs, join_pairs, measure_images, measure_pairs
from napari_apollo.predict.heldout import parts_of
from napari_apollo.predict.inference import Codes, Inference
from napari_apollo.predict.published import FULL, PublishedScores, with_another_protein
from napari_apollo.predict.scores import cell_scores
from napari_apollo.predict.truth import Truth, open_truth
from napari_apollo.progress import Progress, ShouldStop, Step, stop_if_asked

Key = tuple[str, str, str, str]
"""Part, stain, kind, and whether the truth was measured or hidden."""


class Scoring:
    """Batch by batch through the cells to score.

    Parameters
    ----------
    store, inference, config
        The cells, the model at work, settings.
    panels
        Those whose cells are scored.
    progress, should_stop
        Told while baselines are made; asked between batches.
    """

    def __init__(
        self,
        store: CellStore,
        inference: Inference,
        config: EvaluateConfig,
        panels: tuple[str, ...],
        progress: Progress,
        should_stop: ShouldStop,
    ) -> None:
        self.store = store
        self.inference = inference
        self.config = config
        self.panels = panels
        self.truth: Truth | None = open_truth(config.truth) if config.truth is not None else None
        self.part = parts_of(store.obs, inference.model.card, store.crop_size)
        self.means, self.baseline = self._mean_images()
        self.baselines = make_baselines(
            config.baselines,
            inference,
            store,
            {name: self._rows(name, "train") for name in panels},
            epochs=config.baseline_epochs,
            progress=progress,
            should_stop=should_stop,
        )
        self.published = PublishedScores()
        self._shown = 0  # predictions that the truth shows
        self._pairs: dict[Key, list[FeaturePairs]] = {}
        self._lacking: dict[tuple[str, str], list[tuple[tuple[str, ...], np.ndarray, np.ndarray]]] = {}

    def run(self, progress: Progress, should_stop: ShouldStop) -> Iterator[tuple[int, int, pd.DataFrame]]:
        """Scores of each batch, with how far the work is."""
        chosen = {
            (part, panel): self._rows(panel, part) for part in self.config.parts for panel in self.panels
        }
        total = sum(len(rows) for rows in chosen.values())
        if not total:
            found = {name: int((self.part == name).sum()) for name in ("train", "validation", "test")}
            raise DataError(
                f"{self.store.path} has no cells of the parts {', '.join(self.config.parts)} that passed the "
                f"quality check; it has {', '.join(f'{count} {name}' for name, count in found.items())}."
            )
        progress(Step("Scoring", 0, total))
        done = 0
        for (part, panel), rows in chosen.items():
            for start in range(0, len(rows), self.config.batch_size):
                stop_if_asked(should_stop)
                batch = rows[start : start + self.config.batch_size]
                done += len(batch)
                yield done, total, self._score(panel, batch, part).assign(part=part)
        if self.truth is not None and not self._shown:
            panels = [self.store.panels[name] for name in self.panels]
            lacking = sorted({stain for panel in panels for stain in self.inference.lacking(panel)})
            raise DataError(
                f"{self.config.truth} shows no cell in a stain that it was not given: it has "
                f"{', '.join(self.truth.stains())}, the cells lack {', '.join(lacking) or 'none'}. It must "
                f"name the same images as the cells do (such as {self.store.obs['image'].iloc[0]})."
            )

    def pairs(self) -> dict[Key, FeaturePairs]:
        """Features of each channel's cells in made and measured images, where they were asked for."""
        joined = {key: join_pairs(parts) for key, parts in self._pairs.items()}
        return {key: pairs for key, pairs in joined.items() if pairs.names}

    def predicted(self, intervals: dict[Key, StainIntervals]) -> pd.DataFrame:
        """Features of stains that cells lack, with intervals from cells that were given the stain.

        Intervals from cells that the model learnt from would be too narrow: those of the test cells are taken
        where these are scored, too; ``calibrated_on`` says of which part they are.
        """
        frames = []
        for (part, stain), parts in self._lacking.items():
            keys = {name: (name, stain, "predicted", "measured") for name in ("test", "validation", part)}
            on = next((name for name, key in keys.items() if key in intervals and intervals[key].of), None)
            if on is not None:
                frames += [
                    intervals[keys[on]]
                    .of_cells(names, made, cell_ids)
                    .assign(part=part, stain=stain, calibrated_on=on)
                    for names, made, cell_ids in parts
                ]
        table = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
        first = ["cell_id", "part", "stain"]
        return table[[*first, *(name for name in table if name not in first)]] if len(table) else table

    def _rows(self, panel: str, part: str) -> np.ndarray:
        rows = np.flatnonzero(self.part[self.store.rows(panel)] == part)
        most = self.config.most_cells
        return rows[:: max(1, -(-len(rows) // most))] if most else rows

    def _score(self, panel_name: str, rows: np.ndarray, part: str) -> pd.DataFrame:
        store, inference = self.store, self.inference
        panel = store.panels[panel_name]
        groups = store.groups(panel_name, rows)
        images = inference.normalised(store, panel_name, rows)
        masks = store.read_masks(panel_name, rows)
        region = masks > 0
        codes = inference.encode(images, panel)
        obs = store.obs.iloc[store.rows(panel_name)[rows]]
        chromatin = images[:, panel.index(panel.anchor)]
        frames = []
        for stain in (panel.anchor, *inference.known(panel)):
            truth = images[:, panel.index(stain)]
            for kind, made in self._kinds(codes, chromatin, stain, panel.anchor):
                key = (part, stain, kind, "measured")
                if self.config.published:
                    self._publish(key, made, truth, chromatin, codes)
                frames.append(
                    self._frame(obs, made, truth, region, stain, groups, key, chromatin, masks, panel)
                )
        for stain in inference.lacking(panel) if self.truth is not None else ():
            assert self.truth is not None
            crops, found = self.truth.read(obs, stain, store.crop_size)
            self._shown += int(found.sum())
            if found.any():
                limits = inference.limits(stain, groups[found])
                span = (limits[:, 1] - limits[:, 0])[:, None, None]
                truth = np.clip((crops - limits[:, 0][:, None, None]) / span, 0, 1)
                made = inference.predict(chromatin, codes, stain)[found]
                key = (part, stain, "predicted", "hidden")
                own = (groups[found], key, chromatin[found], masks[found], panel)
                frames.append(self._frame(obs[found], made, truth, region[found], stain, *own))
        if self.config.features:
            for stain in inference.lacking(panel):
                self._measure_lacking(part, stain, panel, chromatin, masks, groups, codes, obs)
        return pd.concat(frames, ignore_index=True)

    def _publish(
        self, key: Key, made: np.ndarray, truth: np.ndarray, chromatin: np.ndarray, codes: Codes
    ) -> None:
        """Score a batch by the study's protocol, beside baselines where it is predicted."""
        part, stain, kind, _ = key
        self.published.take(part, stain, kind, made, truth)
        if kind != "predicted":
            return
        full = with_another_protein(self.inference, codes, stain)
        if full is not None:
            self.published.take(part, stain, FULL, full, truth)
        self.published.take(part, stain, "mean", np.broadcast_to(self.means[stain], truth.shape), truth)
        for name, baseline in self.baselines.items():
            if baseline.has(stain):
                self.published.take(part, stain, name, baseline.images(chromatin, stain), truth)

    def _measure_lacking(
        self,
        part: str,
        stain: str,
        panel: Panel,
        chromatin: np.ndarray,
        masks: np.ndarray,
        groups: np.ndarray,
        codes: Codes,
        obs: pd.DataFrame,
    ) -> None:
        in_units = self.inference.intensities
        names, made = measure_images(
            in_units(chromatin, panel.anchor, groups),
            masks,
            in_units(self.inference.predict(chromatin, codes, stain), stain, groups),
            anchor=panel.anchor,
            stain=stain,
            pixel_size_um=self.store.pixel_size_um,
        )
        cell_ids = obs["cell_id"].astype(str).to_numpy(object)
        self._lacking.setdefault((part, stain), []).append((names, made, cell_ids))

    def _kinds(
        self, codes: Codes, chromatin: np.ndarray, stain: str, anchor: str
    ) -> Iterator[tuple[str, np.ndarray]]:
        own = None if stain == anchor else stain
        yield "reconstructed", self.inference.rebuild(codes, own)
        yield "reconstructed_shared", self.inference.rebuild(codes, own, shared_only=True)
        if own is not None:
            yield "predicted", self.inference.predict(chromatin, codes, stain)

    def _frame(
        self,
        obs: pd.DataFrame,
        made: np.ndarray,
        truth: np.ndarray,
        region: np.ndarray,
        stain: str,
        groups: np.ndarray,
        key: Key,
        chromatin: np.ndarray,
        masks: np.ndarray,
        panel: Panel,
    ) -> pd.DataFrame:
        """Scores of a batch, beside those of baselines."""
        limits = self.inference.limits(stain, groups)
        span = limits[:, 1] - limits[:, 0]
        own = cell_scores(made, truth, region, span)
        mean = cell_scores(np.broadcast_to(self.means[stain], truth.shape), truth, region, span)
        parts = [own, mean.add_prefix("mean_")]
        for name, baseline in self.baselines.items():
            if baseline.has(stain):
                other = cell_scores(baseline.images(chromatin, stain), truth, region, span)
                parts.append(other.add_prefix(f"{name}_"))
        if self.config.features:
            in_units = self.inference.intensities
            pairs = measure_pairs(
                in_units(chromatin, panel.anchor, groups),
                in_units(made, stain, groups),
                in_units(truth, stain, groups),
                masks,
                anchor=panel.anchor,
                stain=stain,
                pixel_size_um=self.store.pixel_size_um,
                obs=obs,
            )
            self._pairs.setdefault(key, []).append(pairs)
        about = obs[["cell_id", "donor", "field", "panel"]].astype(str).reset_index(drop=True)
        return pd.concat([about.assign(stain=stain, kind=key[2], truth=key[3]), *parts], axis=1)

    def _mean_images(self) -> tuple[dict[str, np.ndarray], str]:
        """Mean image (y, x) in [0, 1] of every stain over the cells that the model learnt from."""
        seen = "training cells"
        if not (self.part == "train").any():
            seen = "all cells of the store (it has none of the training)"
        size = self.store.crop_size
        sums: dict[str, np.ndarray] = {}
        counts: dict[str, int] = {}
        for name in self.panels:
            panel = self.store.panels[name]
            part = self.part[self.store.rows(name)]
            rows = np.flatnonzero(part == "train") if seen == "training cells" else np.arange(len(part))
            most = self.config.most_cells or len(rows)  # 0 looks at all
            rows = rows[:: max(1, len(rows) // max(most, 1))]
            for start in range(0, len(rows), self.config.batch_size):
                batch = rows[start : start + self.config.batch_size]
                images = self.inference.normalised(self.store, name, batch)
                for stain in panel.stains:
                    total = images[:, panel.index(stain)].sum(0, dtype=np.float64)
                    sums[stain] = sums.get(stain, np.zeros((size, size))) + total
                    counts[stain] = counts.get(stain, 0) + len(batch)
        means = {stain: (total / counts[stain]).astype(np.float32) for stain, total in sums.items()}
        unknown = np.full((size, size), np.nan, np.float32)
        return {stain: means.get(stain, unknown) for stain in {*means, *self.inference.vocabulary}}, seen
