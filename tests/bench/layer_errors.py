"""layer_errors.py ORIGINAL IDS.npy CHECKPOINT...: what each checkpoint does to the outputs of the linears.

For every linear of the blocks tr(dW S dW') / tr(W S W'), S the second moment of its inputs in the original model over
the ids (the first 32 sequences); prints a JSON line of means over the linears, one per checkpoint. Checkpoints are read
by transformers, quantized ones decompressed.
"""

import json
import sys

import numpy as np
import torch
from transformers import AutoModelForCausalLM, CompressedTensorsConfig


def linears(model):
    return {name: module for name, module in model.named_modules() if name.endswith("_proj")}


def dense(folder):
    quantized = "quantization_config" in json.load(open(f"{folder}/config.json"))
    more = {"quantization_config": CompressedTensorsConfig(run_compressed=False)} if quantized else {}
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **more)


def moments(model, ids):
    sums = {}

    def hook(name):
        def note(_module, inputs):
            rows = inputs[0].reshape(-1, inputs[0].shape[-1])
            sums[name] = sums.get(name, 0) + rows.T @ rows

        return note

    hooks = [module.register_forward_pre_hook(hook(name)) for name, module in linears(model).items()]
    with torch.no_grad():
        for row in ids:
            model(row[None])
    for one in hooks:
        one.remove()
    return sums


def main():
    torch.set_num_threads(2)
    source, ids_file, checkpoints = sys.argv[1], sys.argv[2], sys.argv[3:]
    model = dense(source)
    sums = moments(model, torch.from_numpy(np.load(ids_file))[:32].long())
    original = {name: module.weight.detach() for name, module in linears(model).items()}
    told = {}
    for checkpoint in checkpoints:
        errors = []
        for name, module in linears(dense(checkpoint)).items():
            weight, change = original[name], module.weight.detach() - original[name]
            errors.append(float(((change @ sums[name]) * change).sum() / ((weight @ sums[name]) * weight).sum()))
        told[checkpoint] = sum(errors) / len(errors)
    print(json.dumps({"layer_errors": told}))


main()
