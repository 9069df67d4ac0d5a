"""The tutorial of the page on tables, command after command, on a part of the real sci-CAR data."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import anndata as ad
import pandas as pd
import pytest
from typer.testing import CliRunner

from napari_apollo.cli.app import app

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tables.md"
QUICK = {
    "train": [
        "--latent-epochs",
        "3",
        "--encoder-epochs",
        "1",
        "--hidden",
        "16",
        "--shared",
        "3",
        "--specific",
        "2",
        "--device",
        "cpu",
        "--json",
    ],
    "evaluate": ["--folds", "2", "--device", "cpu", "--json"],
}


def commands() -> list[list[str]]:
    """What is typed in the tutorial, word by word."""
    tutorial = PAGE.read_text("utf-8").split("\n## Tutorial", 1)[1].split("\n## ", 1)[0]
    (block,) = re.findall(r"^```bash\n(.*?)^```", tutorial, re.MULTILINE | re.DOTALL)
    lines = block.replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("napari-apollo ")]


@pytest.mark.realdata
def test_the_tutorial_runs(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, features in (("rna", 150), ("atac", 80)):
        table = ad.read_h5ad(data_dir / "a549_scicar" / f"{name}.h5ad")
        common = table.X.sum(axis=0).argsort()
        chosen = table.var_names[pd.Series(common.A1 if hasattr(common, "A1") else common)[-features:]]
        table[:240, chosen].copy().write_h5ad(tmp_path / f"{name}.h5ad")
    monkeypatch.chdir(tmp_path)
    told = {}
    for words in commands():
        done = CliRunner().invoke(app, [*words, *QUICK.get(words[0], ["--json"])])
        assert done.exit_code == 0, done.output
        told[words[0]] = json.loads(done.stdout)
    assert list(told) == ["info", "train", "evaluate"]
    assert told["train"]["state"] == "done"
    inputs = {row["input"] for row in told["evaluate"]["classes"]}
    assert {"shared", "all latents", "components of rna"} <= inputs
    assert (tmp_path / "scores" / "classes.csv").is_file()
    latents = ad.read_h5ad(tmp_path / "scicar.run" / "latents" / "atac.h5ad").obsm
    assert "X_apollo_shared" in latents
