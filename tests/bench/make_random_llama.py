"""make_random_llama.py MODEL IDS.npy: a random-weight Llama in bf16 and random calibration ids, for timing alone."""

import sys

import numpy as np
import torch
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

model, ids = sys.argv[1:3]
vocabulary = 8192
torch.manual_seed(0)
LlamaForCausalLM(LlamaConfig(hidden_size=1024, intermediate_size=2816, num_hidden_layers=8, num_attention_heads=16,
                             num_key_value_heads=8, vocab_size=vocabulary, max_position_embeddings=2048,
                             tie_word_embeddings=False)).to(torch.bfloat16).save_pretrained(model)
np.save(ids, np.random.default_rng(0).integers(0, vocabulary, (32, 512)))
# A peer's processor wants a tokenizer; its words do not matter.
words = Tokenizer(models.BPE(vocab={"<s>": 0, **{chr(33 + i): i + 1 for i in range(90)}}, merges=[]))
PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>").save_pretrained(model)
