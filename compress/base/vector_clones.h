#pragma once

// A function with CALIPRESS_CLONES is compiled for several instruction sets, one chosen when the program is loaded; what
// it calls is inline. A file of such functions is compiled without fused multiply-adds where results must not depend
// on the processor.
#if defined(__x86_64__)
#define CALIPRESS_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CALIPRESS_CLONES
#endif
