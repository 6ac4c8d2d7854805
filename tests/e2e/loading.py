"""How tests load what a job has written: transformers under each version of compressed-tensors."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from conftest import BIN, DEPS, HELDOUT, MODEL
from load_checkpoint import check

VERSIONS = ["0.15.0", "0.17.0", "0.20.0"]
OWN = "0.20.0"  # the environment's


def check_under(version, *checkpoints, source=MODEL):
    """`load_checkpoint.check` of each under a version: folders, or (folder, ids, logits). One process for all of them,
    as most of the time goes into its imports."""
    if version == OWN:
        for one in checkpoints:
            folder, *given = one if isinstance(one, tuple) else (one,)
            assert f"OK compressed-tensors {version}" in check(folder, source, *given)
        return
    program = Path(__file__).with_name("load_checkpoint.py")
    named = [",".join(map(str, one)) if isinstance(one, tuple) else str(one) for one in checkpoints]
    loaded = subprocess.run([sys.executable, str(program), str(source), *named], capture_output=True, text=True,
                            env={**os.environ, "PYTHONPATH": str(DEPS / f"ct-{version}")})
    assert loaded.returncode == 0, loaded.stdout + loaded.stderr
    assert loaded.stdout.count(f"OK compressed-tensors {version}") == len(checkpoints), loaded.stdout


def own_logits(checkpoint, scratch):
    """Ids, and the logits of calipress' own forward in fp32, which rounds inputs as its evaluation does (files)."""
    from transformers import AutoTokenizer
    ids_file, out = scratch / f"{Path(checkpoint).name}-ids.npy", scratch / f"{Path(checkpoint).name}-logits.npy"
    text = json.loads(HELDOUT.read_text().splitlines()[0])["text"]
    np.save(ids_file, np.array([AutoTokenizer.from_pretrained(MODEL)(text).input_ids[:200]], dtype=np.int64))
    done = subprocess.run([str(BIN / "calipress-test-logits"), str(checkpoint), str(ids_file), str(out), "f32"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return ids_file, out
