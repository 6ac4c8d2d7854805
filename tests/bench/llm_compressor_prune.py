"""llm_compressor_prune.py METHOD MODEL IDS.npy OUT [SPARSITY [N:M]]: llm-compressor's pruning on the same ids.

METHOD is wanda or sparsegpt; SPARSITY 0.5 and unstructured unless given. THREADS=2.
"""

import json
import os
import sys
import time

import numpy as np
import torch

torch.set_num_threads(int(os.environ.get("THREADS", "2")))
from llmcompressor import oneshot  # noqa: E402
from llmcompressor.modifiers import pruning  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

method, source, ids_file, out = sys.argv[1:5]
options = {"sparsity": float(sys.argv[5]) if len(sys.argv) > 5 else 0.5, "targets": ["Linear"], "ignore": ["lm_head"]}
if len(sys.argv) > 6:
    options["mask_structure"] = sys.argv[6]
modifier = {"wanda": pruning.WandaPruningModifier, "sparsegpt": pruning.SparseGPTModifier}[method](**options)
model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
ids = torch.from_numpy(np.load(ids_file))
rows = torch.utils.data.DataLoader([{"input_ids": row, "attention_mask": torch.ones_like(row)} for row in ids],
                                   batch_size=1)
begin = time.time()
oneshot(model=model, dataset=rows, recipe=modifier, processor=source, max_seq_length=ids.shape[1],
        num_calibration_samples=ids.shape[0], output_dir=None)
middle = time.time()
model.save_pretrained(out)
print(json.dumps({"oneshot": middle - begin, "save": time.time() - middle}))
