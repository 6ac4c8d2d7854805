"""llm_compressor_peer.py METHOD MODEL IDS.npy OUT: llm-compressor's METHOD on the same ids; THREADS=2.

METHOD is a key of MODIFIERS. Prints a JSON line with the seconds of oneshot and of the save.
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import torch

torch.set_num_threads(int(os.environ.get("THREADS", "2")))
from llmcompressor import oneshot  # noqa: E402
from llmcompressor.modifiers.pruning import SparseGPTModifier, WandaPruningModifier  # noqa: E402
from llmcompressor.modifiers.quantization import GPTQModifier, QuantizationModifier  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

LINEARS = {"targets": ["Linear"], "ignore": ["lm_head"]}
# The pruning modifiers append a dot to the name of a module that is itself a target: a plain "lm_head" would not be
# ignored, and its weights be pruned too.
PRUNED = {"targets": ["Linear"], "ignore": ["re:.*lm_head"]}


def awq():
    from llmcompressor.modifiers.awq import AWQModifier

    if not torch.cuda.is_available():
        # It pins what it keeps of the activations, and stops where there is nothing to pin for.
        torch.Tensor.pin_memory = lambda self, *_: self
    return AWQModifier(scheme="W4A16_ASYM", **LINEARS)


def smoothquant():
    from llmcompressor.modifiers.smoothquant import SmoothQuantModifier

    return [SmoothQuantModifier(smoothing_strength=0.5), GPTQModifier(scheme="W8A8", **LINEARS)]


MODIFIERS = {
    "rtn": lambda: QuantizationModifier(scheme="W4A16", **LINEARS),
    "gptq": lambda: GPTQModifier(scheme="W4A16", **LINEARS),
    "gptq-asym": lambda: GPTQModifier(scheme="W4A16_ASYM", **LINEARS),
    "awq": awq,
    "smoothquant": smoothquant,
    "fp8-dynamic": lambda: QuantizationModifier(scheme="FP8_DYNAMIC", **LINEARS),
    "wanda": lambda: WandaPruningModifier(sparsity=0.5, **PRUNED),
    "wanda-2of4": lambda: WandaPruningModifier(sparsity=0.5, mask_structure="2:4", **PRUNED),
    "wanda-60": lambda: WandaPruningModifier(sparsity=0.6, **PRUNED),
    "wanda-70": lambda: WandaPruningModifier(sparsity=0.7, **PRUNED),
    "owl-wanda-70": lambda: WandaPruningModifier(sparsity=0.7, sparsity_profile="owl", owl_m=5, owl_lmbda=0.08,
                                                 **PRUNED),
    "sparsegpt": lambda: SparseGPTModifier(sparsity=0.5, **PRUNED),
    "sparsegpt-2of4": lambda: SparseGPTModifier(sparsity=0.5, mask_structure="2:4", **PRUNED),
}


def main():
    method, source, ids_file, out = sys.argv[1:5]
    model = AutoModelForCausalLM.from_pretrained(source, dtype=getattr(torch, os.environ.get("DTYPE", "bfloat16")))
    ids = torch.from_numpy(np.load(ids_file))
    rows = torch.utils.data.DataLoader([{"input_ids": row, "attention_mask": torch.ones_like(row)} for row in ids],
                                       batch_size=1)
    begin = time.time()
    oneshot(model=model, dataset=rows, recipe=MODIFIERS[method](), processor=source, max_seq_length=ids.shape[1],
            num_calibration_samples=ids.shape[0], output_dir=None)
    middle = time.time()
    model.save_pretrained(out, save_compressed=True)
    print(json.dumps({"oneshot": middle - begin, "save": time.time() - middle}))
    # The tokenizer belongs to the checkpoint.
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        if (Path(source) / name).exists():
            shutil.copy(Path(source) / name, out)


main()
