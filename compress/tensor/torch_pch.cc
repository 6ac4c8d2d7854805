// Owns the precompiled header of compress/tensor/torch_headers.h.
