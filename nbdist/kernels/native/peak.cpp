// What a core's arithmetic can do: fused multiply-adds at the widest vectors, in chains enough to hide their latency.

#include <cstdint>

#include "machine.h"

template <class real>
static double chains(int64_t turns) {
  typedef real vec __attribute__((vector_size(MACHINE_BYTES)));
  vec x = vec{} + (real)0.999999, y = vec{} + (real)1e-6;
  vec a = y, b = a + y, c = b + y, d = c + y, e = d + y, f = e + y, g = f + y, h = g + y, i = h + y, j = i + y;
  for (int64_t turn = 0; turn < turns; turn++) {
    a = a * x + y, b = b * x + y, c = c * x + y, d = d * x + y, e = e * x + y;
    f = f * x + y, g = g * x + y, h = h * x + y, i = i * x + y, j = j * x + y;
#if defined(__x86_64__)  // keeps the chains in registers, and the compiler from seeing through them
    asm volatile("" : "+x"(a), "+x"(b), "+x"(c), "+x"(d), "+x"(e), "+x"(f), "+x"(g), "+x"(h), "+x"(i), "+x"(j));
#elif defined(__aarch64__)
    asm volatile("" : "+w"(a), "+w"(b), "+w"(c), "+w"(d), "+w"(e), "+w"(f), "+w"(g), "+w"(h), "+w"(i), "+w"(j));
#endif
  }
  vec sum = a + b + c + d + e + f + g + h + i + j;
  double total = 0;
  for (unsigned lane = 0; lane < sizeof(vec) / sizeof(real); lane++) total += sum[lane];
  return total;
}

constexpr int64_t CHAINS = 10;

// Runs `turns` turns and returns the vector instructions they took; `sum` keeps the result alive.
extern "C" int64_t nbdist_fma_float32(int64_t turns, double* sum) {
  *sum = chains<float>(turns);
  return turns * CHAINS;
}

extern "C" int64_t nbdist_fma_float64(int64_t turns, double* sum) {
  *sum = chains<double>(turns);
  return turns * CHAINS;
}

extern "C" int64_t nbdist_vector_bytes() { return MACHINE_BYTES; }
