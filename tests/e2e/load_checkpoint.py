"""load_checkpoint.py CHECKPOINT SOURCE [IDS.npy LOGITS.npy]: loads a result with transformers and compressed-tensors as
a user would.

Fails on any missing, unexpected or mismatched key, on a dequantized weight that differs in one bit from an independent
reader's, and on logits that differ from a dense twin's. A twin rounds no inputs: where logits are given, a model in fp32
with the same weights is compared with them. (Rounded inputs make much of bf16's own noise.) Run once per compressed-tensors version (PYTHONPATH picks it).
"""

import sys

import compressed_tensors
import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

sys.path.insert(0, __file__.rsplit("/", 1)[0])
from checkpoint_bytes import dequantized, tensors  # noqa: E402

checkpoint, source, *given = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(checkpoint)
ids = tokenizer("Once upon a time there was a little girl named Lily.", return_tensors="pt").input_ids
if given:
    ids = torch.from_numpy(np.load(given[0])).long()

model, info = AutoModelForCausalLM.from_pretrained(checkpoint, output_loading_info=True, dtype=torch.bfloat16)
problems = {key: value for key, value in info.items() if value}
assert not problems, f"keys that do not fit: {problems}"

dense = dequantized(checkpoint)
assert dense, "nothing is quantized"
twin = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
own = twin.state_dict()
with torch.no_grad():
    # Norms and biases, which methods may change too.
    for name, tensor in tensors(checkpoint).items():
        if name in own:
            own[name].copy_(tensor)
    for module, weight in dense.items():
        twin.get_submodule(module).weight.copy_(weight)
    ours = model(ids).logits.float()
    theirs = twin(ids).logits.float()

for module, weight in dense.items():
    loaded = model.get_submodule(module)
    assert hasattr(loaded, "weight"), f"{module} has no dense weight after a forward"
    assert torch.equal(loaded.weight, weight), f"{module}: loaded weight differs from the stored codes"

if given:
    exact = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    with torch.no_grad():
        exact(ids)  # decompresses the weights
        for module, weight in dense.items():
            exact.get_submodule(module).weight.copy_(weight)
        ours, theirs = exact(ids).logits, torch.from_numpy(np.load(given[1]))

cosine = torch.nn.functional.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0).item()
assert cosine > 0.9999, f"cosine of logits {cosine}"
print(f"OK compressed-tensors {compressed_tensors.__version__}: {len(dense)} linears equal, cosine {cosine:.7f}")
