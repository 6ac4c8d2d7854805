"""generate_peer.py MODEL SEQUENCES TOKENS: seconds of transformers' generate, sampling, all sequences in one batch.

From the first token alone, to TOKENS tokens, in fp32 and in bf16; the model is loaded before the clock starts. Prints a
line of JSON.
"""

import json
import os
import sys
import time

import torch
from transformers import AutoModelForCausalLM


def main():
    torch.set_num_threads(int(os.environ.get("THREADS", "2")))
    model_dir, sequences, length = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    told = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=dtype, attn_implementation="sdpa").eval()
        prompts = torch.ones((sequences, 1), dtype=torch.long)
        options = dict(attention_mask=torch.ones_like(prompts), do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
                       eos_token_id=None, pad_token_id=0)
        with torch.inference_mode():
            model.generate(prompts, max_length=4, min_length=4, **options)
            begin = time.monotonic()
            out = model.generate(prompts, max_length=length, min_length=length, **options)
            told[name] = time.monotonic() - begin
        assert out.shape == (sequences, length)
    print(json.dumps({"generate": told}))


if __name__ == "__main__":
    main()
