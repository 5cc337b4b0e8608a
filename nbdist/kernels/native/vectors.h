// Pairs of the machine's vectors: two independent chains of operations hide each other's latency.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX512F__) || (defined(__AVX2__) && defined(__clang__))
#include <immintrin.h>
#elif defined(__AVX2__)
// What is used here of <immintrin.h>, as it has it: to read all of that takes g++ a quarter of the time that a kernel takes.
typedef float __m256 __attribute__((vector_size(32), may_alias));
typedef double __m256d __attribute__((vector_size(32), may_alias));
typedef int __m256i __attribute__((vector_size(32), may_alias));
typedef int __m128i __attribute__((vector_size(16), may_alias));
#define INTRINSIC static inline __attribute__((always_inline))
INTRINSIC int _mm256_movemask_ps(__m256 x) { return __builtin_ia32_movmskps256(x); }
INTRINSIC int _mm256_movemask_pd(__m256d x) { return __builtin_ia32_movmskpd256(x); }
INTRINSIC __m256 _mm256_i32gather_ps(const float* from, __m256i index, const int scale) {
  __m256 zero = {}, every = __builtin_ia32_cmpps256(zero, zero, 0);
  return __builtin_ia32_gathersiv8sf(zero, from, index, every, scale);
}
INTRINSIC __m256d _mm256_i32gather_pd(const double* from, __m128i index, const int scale) {
  __m256d zero = {}, every = __builtin_ia32_cmppd256(zero, zero, 0), undefined = undefined;
  return __builtin_ia32_gathersiv4df(undefined, from, index, every, scale);
}
#undef INTRINSIC
#define _mm256_round_ps __builtin_ia32_roundps256
#define _mm256_round_pd __builtin_ia32_roundpd256
#define _MM_FROUND_TO_NEAREST_INT 0
#define _MM_FROUND_NO_EXC 8
#endif

#include "machine.h"

typedef REAL real;
constexpr bool SINGLE = sizeof(real) == 4;
constexpr int HALF = MACHINE_BYTES / sizeof(real), LANES = 2 * HALF, BYTES = 2 * MACHINE_BYTES;
typedef real half __attribute__((vector_size(MACHINE_BYTES)));
typedef decltype(half{} < half{}) half_bits;  // integers as wide as `real`: all bits set where a comparison holds
typedef int32_t half_index __attribute__((vector_size(HALF * 4)));
typedef real four __attribute__((vector_size(4 * sizeof(real))));
constexpr double PI = 3.14159265358979323846;

struct vec {
  half a, b;
  vec() = default;
  vec(half a, half b) : a(a), b(b) {}
  vec(real x) : a(half{} + x), b(half{} + x) {}
};

struct mask {
  half_bits a, b;
};

struct index_vec {
  half_index a, b;
};

#define OPERATOR(o)                                                                \
  static inline vec operator o(vec x, vec y) { return {x.a o y.a, x.b o y.b}; }    \
  static inline vec operator o(vec x, real y) { return {x.a o y, x.b o y}; }       \
  static inline vec operator o(real x, vec y) { return {x o y.a, x o y.b}; }
OPERATOR(+)
OPERATOR(-)
OPERATOR(*)
OPERATOR(/)
#undef OPERATOR
#define COMPARISON(o)                                                            \
  static inline mask operator o(vec x, vec y) { return {x.a o y.a, x.b o y.b}; } \
  static inline mask operator o(vec x, real y) { return x o vec(y); }
COMPARISON(<)
COMPARISON(>)
COMPARISON(<=)
COMPARISON(>=)
COMPARISON(!=)
#undef COMPARISON

static inline vec select(mask where, vec x, vec y) { return {where.a ? x.a : y.a, where.b ? x.b : y.b}; }
static inline vec least(vec x, vec y) { return select(x < y, x, y); }
static inline vec largest(vec x, vec y) { return select(x > y, x, y); }

static inline vec load(const real* from) {
  vec value;
  memcpy(&value.a, from, sizeof value.a);
  memcpy(&value.b, from + HALF, sizeof value.b);
  return value;
}

static inline void store(real* to, vec value) {
  memcpy(to, &value.a, sizeof value.a);
  memcpy(to + HALF, &value.b, sizeof value.b);
}

static inline uint32_t bits(half_bits where) {  // one of every lane
#if defined(__AVX512F__)
  if constexpr (SINGLE)
    return _mm512_cmplt_epi32_mask((__m512i)where, _mm512_setzero_si512());
  else
    return _mm512_cmplt_epi64_mask((__m512i)where, _mm512_setzero_si512());
#elif defined(__AVX2__)
  if constexpr (SINGLE)
    return _mm256_movemask_ps((__m256)where);
  else
    return _mm256_movemask_pd((__m256d)where);
#else
  uint32_t found = 0;
  for (int l = 0; l < HALF; l++) found |= (uint32_t)(where[l] & 1) << l;
  return found;
#endif
}

static inline uint32_t bits(mask where) { return bits(where.a) | bits(where.b) << HALF; }

static inline index_vec whole_numbers(vec x) {
  return {__builtin_convertvector(x.a, half_index), __builtin_convertvector(x.b, half_index)};
}

template <class Index>  // a template, so that only the branch of this `real` is looked at
static inline half gather(const real* table, Index index) {
#if defined(__AVX512F__)
  if constexpr (SINGLE)
    return (half)_mm512_i32gather_ps((__m512i)index, table, 4);
  else
    return (half)_mm512_i32gather_pd((__m256i)index, table, 8);
#elif defined(__AVX2__)
  if constexpr (SINGLE)
    return (half)_mm256_i32gather_ps((const float*)table, (__m256i)index, 4);
  else
    return (half)_mm256_i32gather_pd((const double*)table, (__m128i)index, 8);
#else
  half values;
  for (int l = 0; l < HALF; l++) values[l] = table[index[l]];
  return values;
#endif
}

static inline vec gather_pair(const real* table, index_vec index) { return {gather(table, index.a), gather(table, index.b)}; }

static inline half nearest(half x) {
#if defined(__AVX512F__)
  if constexpr (SINGLE)
    return (half)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT);
  else
    return (half)_mm512_roundscale_pd((__m512d)x, _MM_FROUND_TO_NEAREST_INT);
#elif defined(__AVX2__)
  if constexpr (SINGLE)
    return (half)_mm256_round_ps((__m256)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  else
    return (half)_mm256_round_pd((__m256d)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
  constexpr real shift = SINGLE ? 12582912.0 : 6755399441055744.0;  // whole numbers below 2^22 (float), 2^51 (double)
  return (x + shift) - shift;
#endif
}

static inline vec nearest(vec x) { return {nearest(x.a), nearest(x.b)}; }

template <class vector, int n>
static inline vector polynomial(vector x, const double (&coefficients)[n]) {
  vector value = x * (real)coefficients[n - 1] + (real)coefficients[n - 2];
#pragma GCC unroll 16
  for (int i = n - 3; i >= 0; i--) value = value * x + (real)coefficients[i];
  return value;
}

// sin(pi x)/x in x^2, cos(pi x) in x^2, 2^x: least maximal error on |x| <= 1/2
constexpr double SIN_PI_SINGLE[] = {3.1415926368954115, -5.167709684799477, 2.5500697263299961, -0.5982421263420937, 0.07756038679079722};
constexpr double SIN_PI_DOUBLE[] = {3.1415926535897932,     -5.1677127800499695,    2.5501640398772939,
                                    -0.59926452931873826,   0.082145886569893039,   -0.0073704304787646296,
                                    0.00046629968877916673, -2.190318542954864e-05, 7.6947273844559142e-07};
constexpr double COS_PI_SINGLE[] = {0.999999999779154032, -4.93480213692894564, 4.05870915476313425,
                                    -1.33521194939055034, 0.23493706859508651,  -0.0243959320975504445};
constexpr double COS_PI_DOUBLE[] = {1.0,
                                    -4.9348022005446793,
                                    4.05871212641676754,
                                    -1.33526276885455496,
                                    0.23533063035799502,
                                    -0.025806891376592964,
                                    0.00192957418728123483,
                                    -0.000104637416817521383,
                                    4.30072417273483693e-6,
                                    -1.34352129509532007e-7};
constexpr double EXP2_SINGLE[] = {1.0000000005541483,     0.693147205737176546, 0.240226468908067217,
                                  0.0555032877716165622,  0.00961848893757904,  0.00133999311633451444,
                                  0.000153458172256382638};
constexpr double EXP2_DOUBLE[] = {1.0,
                                  0.69314718055994533,
                                  0.240226506959101562,
                                  0.0555041086648199216,
                                  0.00961812910758833534,
                                  0.0013333558146789925,
                                  0.000154035304625143175,
                                  0.0000152527334899844576,
                                  1.3215433089731072e-6,
                                  1.01781980236048852e-7,
                                  7.07410560482893094e-9,
                                  4.43528239851589376e-10};

static inline vec sin_pi(vec x, real offset) {  // sin(pi x) + offset, |x| <= 1/2
  vec squared = x * x;
  vec value = SINGLE ? polynomial(squared, SIN_PI_SINGLE) : polynomial(squared, SIN_PI_DOUBLE);
  return value * x + offset;
}

static inline vec cos_pi(vec x) {
  vec squared = x * x;
  return SINGLE ? polynomial(squared, COS_PI_SINGLE) : polynomial(squared, COS_PI_DOUBLE);
}

static inline vec square_root(vec x) {
  alignas(BYTES) real lanes[LANES];
  store(lanes, x);
  for (int l = 0; l < LANES; l++) lanes[l] = std::sqrt(lanes[l]);
  return load(lanes);
}

static inline half exp_negative(half x) {  // exp(x), x <= 0; 0 where that is no normal number
  constexpr int mantissa = SINGLE ? 23 : 52;
  constexpr real shift = SINGLE ? 12582912.0 : 6755399441055744.0, lowest = SINGLE ? -126 : -1022;
  half y = x * (real)1.4426950408889634074, floor = half{} + lowest;
  half kept = y < lowest ? floor : y, shifted = kept + shift, rest = kept - (shifted - shift);
  half value = SINGLE ? polynomial(rest, EXP2_SINGLE) : polynomial(rest, EXP2_DOUBLE);
  // the low bits of `shifted` are the whole number: added to the exponent
  value = (half)((half_bits)value + ((half_bits)shifted << mantissa));
  return y < lowest ? half{} : value;
}

static inline vec exp_negative(vec x) { return {exp_negative(x.a), exp_negative(x.b)}; }
