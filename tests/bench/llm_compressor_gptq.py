"""llm_compressor_gptq.py MODEL IDS.npy OUT: llm-compressor's GPTQ W4A16 (group 128) on the same ids; THREADS=2."""

import json
import os
import sys
import time

import numpy as np
import torch

torch.set_num_threads(int(os.environ.get("THREADS", "2")))
from llmcompressor import oneshot  # noqa: E402
from llmcompressor.modifiers.quantization import GPTQModifier  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

source, ids_file, out = sys.argv[1:4]
model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
ids = torch.from_numpy(np.load(ids_file))
rows = torch.utils.data.DataLoader([{"input_ids": row, "attention_mask": torch.ones_like(row)} for row in ids],
                                   batch_size=1)
begin = time.time()
oneshot(model=model, dataset=rows, recipe=GPTQModifier(targets="Linear", scheme="W4A16", ignore=["lm_head"]),
        processor=source, max_seq_length=ids.shape[1], num_calibration_samples=ids.shape[0], output_dir=None)
middle = time.time()
model.save_pretrained(out, save_compressed=True)
print(json.dumps({"oneshot": middle - begin, "save": time.time() - middle}))
# The tokenizer belongs to the checkpoint.
for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
    path = os.path.join(source, name)
    if os.path.exists(path):
        with open(path, "rb") as read, open(os.path.join(out, name), "wb") as written:
            written.write(read.read())
