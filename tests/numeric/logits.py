"""Logits by calipress's forward and by transformers', from the same files."""

import os
import subprocess
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM

ROOT = Path(__file__).resolve().parents[2]
BIN_FOLDER = Path(os.environ.get("CALIPRESS_BIN", ROOT / "build" / "release" / "bin"))
PROGRAM = BIN_FOLDER / "calipress-test-logits"


def ours(model_dir, ids, scratch, dtype="f32"):
    """fp32 [n, length, vocabulary]; raises CalledProcessError with the program's words."""
    np.save(scratch / "ids.npy", np.asarray(ids, dtype=np.int64))
    out = scratch / "logits.npy"
    out.unlink(missing_ok=True)
    result = subprocess.run([PROGRAM, model_dir, scratch / "ids.npy", out, dtype], capture_output=True, text=True,
                            timeout=600)
    assert result.returncode == 0, result.stderr
    return np.load(out)


def theirs(model_dir, ids, dtype=torch.float32, batch=8):
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=dtype, attn_implementation="sdpa").eval()
    ids = torch.as_tensor(np.asarray(ids))
    with torch.no_grad():
        return torch.cat([model(part, use_cache=False).logits.float() for part in ids.split(batch)]).numpy()


def perplexity(logits, ids):
    """exp of the mean over windows of the mean over positions 1.."""
    losses = torch.nn.functional.cross_entropy(
        torch.as_tensor(logits[:, :-1]).flatten(0, 1), torch.as_tensor(np.asarray(ids)[:, 1:]).flatten())
    return float(losses.exp())
