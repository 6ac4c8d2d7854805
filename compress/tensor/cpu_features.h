#pragma once

namespace calipress::tensor {

// What this processor and its operating system can run, asked once.
bool CpuHasAmxBf16();
bool CpuHasAvx512Bf16();  // with AVX-512 F, BW and VL
// Whether bf16 products by vdpbf16ps are faster than fp32 ones: on AMD's processors they are; on Intel's, where AMX is
// off, a thread was seen to do 75 to 85 GF/s by them and 130 to 160 in fp32 (docs/benchmarks.md).
bool CpuHasFastAvx512Bf16();
bool CpuHasAvx512Fp16();  // likewise
bool CpuHasAvx512();      // F, BW, DQ, VL and FMA
bool CpuHasAvx2();        // with FMA

}  // namespace calipress::tensor
