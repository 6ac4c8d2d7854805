"""Writes configs/*.json and expected.json, beside this file, with transformers 5.17 as the oracle.

Each case is a config.json (as transformers saves it, or as older releases did) with what transformers makes of it: the
configuration object's values, and the names and shapes of the model's tensors (built on the meta device).
"""
import json
import pathlib

import torch
import transformers

HERE = pathlib.Path(__file__).parent
SMALL = dict(vocab_size=96, hidden_size=64, intermediate_size=80, num_hidden_layers=3, num_attention_heads=4)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=64, rope_theta=500000.0)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=32, rope_theta=1000000.0)

# Saved by transformers 5.17.
SAVED = {
    "llama": transformers.LlamaConfig(**SMALL, num_key_value_heads=2, dtype="bfloat16"),
    "llama_bias_llama3": transformers.LlamaConfig(
        **SMALL, num_key_value_heads=2, head_dim=32, attention_bias=True, mlp_bias=True, hidden_act="gelu_pytorch_tanh",
        max_position_embeddings=512, rope_parameters=LLAMA3, tie_word_embeddings=True, dtype="float16"),
    "mistral": transformers.MistralConfig(**SMALL, num_key_value_heads=2, dtype="float32"),
    "mistral_no_window_yarn": transformers.MistralConfig(
        **SMALL, num_key_value_heads=1, head_dim=24, sliding_window=None, max_position_embeddings=128,
        rope_parameters=YARN, hidden_act="gelu", dtype="bfloat16"),
    "qwen2": transformers.Qwen2Config(**SMALL, num_key_value_heads=2, dtype="bfloat16"),
    "qwen2_window": transformers.Qwen2Config(
        **SMALL, num_key_value_heads=2, use_sliding_window=True, sliding_window=17, max_window_layers=1,
        tie_word_embeddings=True, rope_parameters=dict(rope_type="linear", factor=2.5, rope_theta=1000000.0)),
    "qwen3": transformers.Qwen3Config(**SMALL, num_key_value_heads=2, dtype="bfloat16"),
    "qwen3_layer_types": transformers.Qwen3Config(
        **SMALL, num_key_value_heads=4, head_dim=16, attention_bias=True, use_sliding_window=True, sliding_window=9,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        rope_parameters=dict(rope_type="dynamic", factor=3.0, rope_theta=10000.0)),
}
# Field names and omissions of older releases and of hand-made files.
WRITTEN = {
    "old_llama31": {**SMALL, "model_type": "llama", "num_key_value_heads": 2, "rope_theta": 500000.0,
                    "max_position_embeddings": 1024, "torch_dtype": "bfloat16",
                    "rope_scaling": {k: v for k, v in LLAMA3.items() if k != "rope_theta"}},
    "old_llama_linear_type": {**SMALL, "model_type": "llama", "rope_scaling": {"type": "linear", "factor": 2.0},
                              "torch_dtype": "float16", "num_key_value_heads": None, "head_dim": None},
    "old_qwen2_yarn": {**SMALL, "model_type": "qwen2", "num_key_value_heads": 2, "rope_theta": 1000000.0,
                       "max_position_embeddings": 256, "sliding_window": 128, "use_sliding_window": False,
                       "max_window_layers": 1, "torch_dtype": "bfloat16",
                       "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64,
                                        "beta_fast": 16, "beta_slow": 0, "truncate": False}},
    "old_qwen2_head_dim": {**SMALL, "model_type": "qwen2", "num_key_value_heads": 4, "head_dim": 8},
    "yarn_without_length": {**SMALL, "model_type": "llama", "max_position_embeddings": 333,
                            "rope_scaling": {"rope_type": "yarn", "factor": 2, "mscale": 0.7, "mscale_all_dim": 1.1,
                                             "attention_factor": 1.25}},
    "yarn_outer_length": {**SMALL, "model_type": "llama", "max_position_embeddings": 333,
                          "original_max_position_embeddings": 55,
                          "rope_scaling": {"rope_type": "yarn", "factor": None, "original_max_position_embeddings": 66}},
    "old_rope_wins": {**SMALL, "model_type": "llama", "rope_theta": 123.0,
                      "rope_scaling": {"rope_type": "linear", "factor": 3.0},
                      "rope_parameters": {"rope_type": "linear", "factor": 9.0, "rope_theta": 7.0}},
    "empty_old_rope": {**SMALL, "model_type": "llama", "rope_theta": 123.0, "rope_scaling": {},
                       "rope_parameters": {"rope_type": "linear", "factor": 9.0, "rope_theta": 7.0}},
    "defaults_llama": {"model_type": "llama"},
    "defaults_mistral": {"model_type": "mistral"},
    "defaults_qwen2": {"model_type": "qwen2"},
    "defaults_qwen3": {"model_type": "qwen3"},
}


def expected(folder):
    config = transformers.AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    tensors = {name: list(value.shape) for name, value in model.state_dict().items()}
    if config.tie_word_embeddings:
        tensors.pop("lm_head.weight")
    # The first and the last block say all; keep the file small.
    last = config.num_hidden_layers - 1
    tensors = {name: shape for name, shape in tensors.items()
               if not name.startswith("model.layers.") or int(name.split(".")[2]) in (0, last)}
    attention = model.model.layers[0].self_attn
    if config.model_type == "mistral":
        windows = [config.sliding_window or 0] * config.num_hidden_layers
    else:
        windows = [getattr(layer.self_attn, "sliding_window", None) or 0 for layer in model.model.layers]
    activation = type(model.model.layers[0].mlp.act_fn).__name__
    return {
        "model_type": config.model_type,
        "hidden": config.hidden_size,
        "intermediate": config.intermediate_size,
        "blocks": config.num_hidden_layers,
        "heads": config.num_attention_heads,
        "kv_heads": config.num_key_value_heads,
        "head_dim": attention.head_dim,
        "vocabulary": config.vocab_size,
        "max_positions": config.max_position_embeddings,
        "norm_eps": config.rms_norm_eps,
        "activation": {"SiLUActivation": "silu", "GELUActivation": "gelu", "GELUTanh": "gelu_tanh"}[activation],
        "tied": config.tie_word_embeddings,
        "dtype": str(config.dtype or torch.float32).removeprefix("torch."),
        "sliding_window": windows,
        "rope": config.rope_parameters,
        "tensors": tensors,
    }


(HERE / "configs").mkdir(exist_ok=True)
cases = {}
for name, config in {**SAVED, **WRITTEN}.items():
    path = HERE / "configs" / f"{name}.json"
    if isinstance(config, dict):
        path.write_text(json.dumps(config, indent=1) + "\n")
    else:
        config.architectures = [type(config).__name__.replace("Config", "ForCausalLM")]
        path.write_text(config.to_json_string())
    cases[name] = expected(path)
rows = ",\n".join(f'"{name}": {json.dumps(case, separators=(",", ":"))}' for name, case in sorted(cases.items()))
(HERE / "expected.json").write_text("{\n" + rows + "\n}\n")
