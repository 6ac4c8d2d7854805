"""Every preset of deploy/recipes, as it is but for less calibration text: it runs, and what it writes is read by the
library that owns its layout, or by an independent reader."""

import json

import numpy as np
import pytest

import spqr_unpack
from conftest import CALIBRATION, MODEL, ROOT, calipress
from load_checkpoint import check, load_dense
from loading import own_logits

PRESETS = sorted(path.stem for path in (ROOT / "deploy" / "recipes").glob("*.yaml"))
# How much of the weights is zero, where a preset prunes.
ZEROS = {"dsnot-60": 0.6, "owl-wanda-70": 0.7, "sparse24-w4a16": 0.5, "sparsegpt-2of4": 0.5, "sparsegpt-50": 0.5,
         "wanda-2of4": 0.5, "wanda-50": 0.5}


def reads_spqr(folder):
    unpacked, original = spqr_unpack.unpack_checkpoint(folder), spqr_unpack.read_tensors(MODEL)
    assert len(unpacked) == 6 * 7
    for name, (dtype, bits) in unpacked.items():
        wanted = spqr_unpack.to_float(*original[name])
        error = np.linalg.norm(spqr_unpack.to_float(dtype, bits) - wanted) / np.linalg.norm(wanted)
        assert 0 < error < 0.2, (name, error)


def test_every_preset_is_known():
    told = calipress("recipes", check=0).stdout
    assert PRESETS and all(name in told for name in PRESETS)


@pytest.mark.parametrize("preset", PRESETS)
def test_runs_and_loads(tmp_path, preset):
    out = tmp_path / preset
    text = (ROOT / "deploy" / "recipes" / f"{preset}.yaml").read_text()
    less = []
    if "calibration:" in text:
        less = ["--calibration", CALIBRATION, "--set", "calibration.samples=8", "--set", "calibration.sequence_length=128"]
    calipress("run", MODEL, out, "--recipe", preset, *less, "--threads-per-worker", 1, check=0)
    linears = json.loads((out / "report.json").read_text())["linears"]
    assert len(linears) == 6 * 7
    mean = sum(linear.get("sparsity", 0) for linear in linears) / len(linears)
    assert mean == pytest.approx(ZEROS.get(preset, mean if mean < 0.1 else 0), abs=0.01)
    entry = json.loads((out / "config.json").read_text()).get("quantization_config")
    if entry is None:
        assert preset in ZEROS
        load_dense(out)
    elif entry["quant_method"] == "spqr":
        reads_spqr(out)
    else:
        rounds = any(group.get("input_activations") for group in entry["config_groups"].values())
        check(out, MODEL, *(own_logits(out, tmp_path) if rounds else ()))
