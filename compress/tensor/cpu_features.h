#pragma once

namespace calipress::tensor {

// What this processor and its operating system can run, asked once.
bool CpuHasAmxBf16();
bool CpuHasAvx512Bf16();  // with AVX-512 F, BW and VL
bool CpuHasAvx512Fp16();  // likewise
bool CpuHasAvx512();      // F, BW, DQ, VL and FMA
bool CpuHasAvx2();        // with FMA

}  // namespace calipress::tensor
