// How wide this machine's vectors are.

#pragma once

#if defined(__AVX512F__)
#define MACHINE_BYTES 64
#elif defined(__AVX__)
#define MACHINE_BYTES 32
#else
#define MACHINE_BYTES 16
#endif
