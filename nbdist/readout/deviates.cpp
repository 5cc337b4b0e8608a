// Deviates of counters: what deviates.py says, bit for bit. Compiled without contraction, so that every operation rounds by itself.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "exponential.h"
#include "machine.h"

constexpr int LANES = MACHINE_BYTES / 8;     // of 64 bits
constexpr int GROUP = 4;                     // vectors at once: independent chains of operations hide each other's latency
constexpr int AT_ONCE = GROUP * LANES;       // blocks
constexpr int64_t CHUNK = 4096;              // pixels whose queue stays in a core's nearest cache
typedef uint64_t words __attribute__((vector_size(MACHINE_BYTES)));
typedef int64_t whole __attribute__((vector_size(MACHINE_BYTES)));
typedef double real __attribute__((vector_size(MACHINE_BYTES)));
typedef int32_t short_whole __attribute__((vector_size(MACHINE_BYTES)));
typedef float short_real __attribute__((vector_size(MACHINE_BYTES)));
typedef int32_t half_whole __attribute__((vector_size(MACHINE_BYTES / 2)));
typedef float half_real __attribute__((vector_size(MACHINE_BYTES / 2)));
constexpr uint64_t LOW = 0xFFFFFFFF;

// ---- words

struct Key {  // of each round
  uint64_t first[10], second[10];
};

struct Counter {  // but its lowest word
  uint32_t frame, sample, stage;
};

struct Blocks {
  words a[GROUP], b[GROUP], c[GROUP], d[GROUP];  // 32 bits each; what is above them is of no meaning
};

static Key key_of(uint64_t seed) {
  Key key;
  uint32_t first = (uint32_t)seed, second = (uint32_t)(seed >> 32);
  for (int round = 0; round < 10; round++, first += 0x9E3779B9, second += 0xBB67AE85) key.first[round] = first, key.second[round] = second;
  return key;
}

static inline words product(words x, uint64_t y) {  // of the lower halves
#if defined(__AVX512F__)
  return (words)_mm512_mul_epu32((__m512i)x, _mm512_set1_epi64((int64_t)y));
#elif defined(__AVX2__)
  return (words)_mm256_mul_epu32((__m256i)x, _mm256_set1_epi64x((int64_t)y));
#else
  return (x & LOW) * y;
#endif
}

static inline Blocks philox(const Key& key, const words (&number)[GROUP], Counter counter) {
  Blocks x;
  for (int g = 0; g < GROUP; g++)
    x.a[g] = number[g], x.b[g] = words{} + counter.frame, x.c[g] = words{} + counter.sample, x.d[g] = words{} + counter.stage;
#pragma GCC unroll 10
  for (int round = 0; round < 10; round++) {
    const words first = words{} + key.first[round], second = words{} + key.second[round];
#pragma GCC unroll 4
    for (int g = 0; g < GROUP; g++) {
      words left = product(x.a[g], 0xD2511F53), right = product(x.c[g], 0xCD9E8D57);
      x.a[g] = (right >> 32) ^ x.b[g] ^ first, x.c[g] = (left >> 32) ^ x.d[g] ^ second;
      x.b[g] = right, x.d[g] = left;
    }
  }
  return x;
}

static inline words joined(words high, words low) { return high << 32 | (low & LOW); }

static inline real middle(words x) { return (real)(x >> 12 | 0x3FF0000000000000) - 1.0 + 0x1p-53; }

static inline words from(uint64_t first) {
  words x;
  for (int l = 0; l < LANES; l++) x[l] = first + l;
  return x;
}

// ---- vectors

static inline bool any(whole where) {
#if defined(__AVX512F__)
  return _mm512_test_epi64_mask((__m512i)where, (__m512i)where) != 0;
#elif defined(__AVX__)
  return !_mm256_testz_si256((__m256i)where, (__m256i)where);
#else
  int64_t found = 0;
  for (int l = 0; l < LANES; l++) found |= where[l];
  return found != 0;
#endif
}

static inline whole looked_up(const int64_t* table, whole index) {
#if defined(__AVX512F__)
  return (whole)_mm512_i64gather_epi64((__m512i)index, (const long long*)table, 8);
#elif defined(__AVX2__)
  return (whole)_mm256_i64gather_epi64((const long long*)table, (__m256i)index, 8);
#else
  whole found;
  for (int l = 0; l < LANES; l++) found[l] = table[index[l]];
  return found;
#endif
}

template <class vector>
static inline vector square_root(vector x) {
  constexpr int lanes = sizeof(vector) / sizeof(x[0]);
  alignas(sizeof(vector)) decltype(x[0] + x[0]) values[lanes];  // in memory the compiler sees a loop of one instruction
  memcpy(values, &x, sizeof x);
  for (int l = 0; l < lanes; l++) values[l] = std::sqrt(values[l]);
  memcpy(&x, values, sizeof x);
  return x;
}

static inline real least(real x, real y) { return x < y ? x : y; }
static inline real largest(real x, real y) { return x > y ? x : y; }

static inline real floor_of(real x) {  // below 2^51; beyond, what is no longer a count is given back
  constexpr double shift = 0x1.8p52;
  real near = (x + shift) - shift;
  near = near > x ? near - 1.0 : near;
  return x < 0x1p51 && x > -0x1p51 ? near : x;
}

template <class vector, class scalar, int n>
static inline void polynomials(const vector (&x)[GROUP], const scalar (&coefficients)[n], vector (&value)[GROUP]) {
  for (int g = 0; g < GROUP; g++) value[g] = x[g] * coefficients[n - 1] + coefficients[n - 2];
#pragma GCC unroll 16
  for (int i = n - 3; i >= 0; i--)
#pragma GCC unroll 4
    for (int g = 0; g < GROUP; g++) value[g] = value[g] * x[g] + coefficients[i];
}

// ---- Poisson

constexpr double ATANH[] = {2.0,
                            0.66666666666667646308,
                            0.39999999999301940255,
                            0.28571428760731872062,
                            0.22222197047088983399,
                            0.18183632204378251579,
                            0.15312514111923801299,
                            0.14809857144897001342};
constexpr double STIRLING[] = {1.0 / 12, -1.0 / 360, 1.0 / 1260, -1.0 / 1680};
constexpr double TWO_PI = 6.283185307179586477;
constexpr double LARGEST_MEAN = 0x1p32, LARGEST_COUNT = 2147483647;
constexpr int TABLE_MEANS = 32, TABLE_COUNTS = 128, MOST_OF_THE_REST = 18, SURE_ROUNDS = 3;

static inline real log_of(real t, real y) {
  constexpr int64_t root_half = 0x3FE6A09E667F3BCD, shift = 0x4338000000000000;  // bits of 1.5 2^52: whole numbers in the lowest
  whole bits = (whole)y, exponent = (bits - root_half) >> 52;
  t = exponent == 0 ? t : (real)(bits - (exponent << 52)) - 1.0;
  real s = t / (2.0 + t);
  return ((real)(exponent + shift) - 0x1.8p52) * LOG_2 + s * polynomial(s * s, ATANH);
}

struct Undecided {  // attempts that are compared with the density
  int32_t index[CHUNK + AT_ONCE];
  double k[CHUNK + AT_ONCE], v[CHUNK + AT_ONCE], distance[CHUNK + AT_ONCE];
};

struct Poisson {
  Key key;
  Counter counter;
  const int64_t* table;
  const double* rests;  // of Stirling's formula below 16

  static real mean_of(const float* means) {
    half_real given;
    memcpy(&given, means, sizeof given);
    real mean = __builtin_convertvector(given, real);
    return least(mean > 0.0 ? mean : real{}, real{} + LARGEST_MEAN);
  }

  // Counts of means below the table's end; the others are noted in the queue.
  void small(uint64_t pixel, const float* means, int32_t* counts, int32_t first, int32_t* queue, int& queued) const {
    int beyond = 0;
    for (int l = 0; l < AT_ONCE; l++) beyond += means[l] >= (float)TABLE_MEANS;
    for (int l = 0; l < AT_ONCE && beyond; l++) {
      queue[queued] = first + l;
      queued += means[l] >= (float)TABLE_MEANS;
    }
    if (beyond == AT_ONCE) return;
    words number[GROUP];
    for (int g = 0; g < GROUP; g++) number[g] = from(pixel + g * LANES);
    const Blocks drawn = philox(key, number, counter);
    real rest[GROUP], u[GROUP], probability[GROUP], below[GROUP];
    whole count[GROUP], active[GROUP];
    for (int g = 0; g < GROUP; g++) {
      const real mean = mean_of(means + g * LANES);
      const half_whole entire = __builtin_convertvector(least(mean, real{} + (double)(TABLE_MEANS - 1)), half_whole);
      rest[g] = least(mean - __builtin_convertvector(entire, real), real{} + 1.0);
      const words word = joined(drawn.a[g], drawn.b[g]);
      const whole column = (whole)(word & 127);
      const whole entry = looked_up(table, __builtin_convertvector(entire, whole) * TABLE_COUNTS + column);
      count[g] = (whole)(word >> 1 | 127) < entry ? column : entry & 127;
      u[g] = middle(joined(drawn.c[g], drawn.d[g]));
    }
    polynomials(rest, EXP, probability);
    for (int g = 0; g < GROUP; g++) {
      below[g] = probability[g] = 1.0 - rest[g] * probability[g];
      active[g] = u[g] >= below[g];
    }
    auto round = [&](int n) {
      for (int g = 0; g < GROUP; g++) {
        count[g] -= active[g];  // all bits set are -1
        probability[g] = probability[g] * rest[g] * (1.0 / n);
        const real further = below[g] + probability[g];
        active[g] &= (u[g] >= further) & (further > below[g]);
        below[g] = further;
      }
    };
#pragma GCC unroll 3
    for (int n = 1; n <= SURE_ROUNDS; n++) round(n);
    for (int n = SURE_ROUNDS + 1; n < MOST_OF_THE_REST; n++) {
      whole left = active[0];
      for (int g = 1; g < GROUP; g++) left |= active[g];
      if (!any(left)) break;
      round(n);
    }
    for (int g = 0; g < GROUP; g++) {
      const half_whole shorter = __builtin_convertvector(count[g], half_whole);
      memcpy(counts + g * LANES, &shorter, sizeof shorter);
    }
  }

  // One attempt of those in the queue, which keeps the rejected ones. Most are accepted at once, and few need the density.
  void large(uint64_t pixel, const float* means, int32_t* counts, int32_t* queue, int& queued, uint32_t attempt, Undecided& open) const {
    const Counter its = {counter.frame, counter.sample, counter.stage | attempt};
    int kept = 0, undecided = 0;
    for (int start = 0; start < queued; start += AT_ONCE) {
      int32_t index[AT_ONCE];
      float mean[AT_ONCE];
      words number[GROUP];
      const int here = std::min(AT_ONCE, queued - start);
      for (int l = 0; l < AT_ONCE; l++) {
        index[l] = queue[start + std::min(l, here - 1)];
        mean[l] = means[index[l]];
        number[l / LANES][l % LANES] = pixel + index[l];
      }
      const Blocks drawn = philox(key, number, its);
      alignas(MACHINE_BYTES) double candidate[AT_ONCE], height[AT_ONCE], edge[AT_ONCE];
      alignas(MACHINE_BYTES) int64_t sure[AT_ONCE], possible[AT_ONCE];
      for (int g = 0; g < GROUP; g++) {
        const real m = mean_of(mean + g * LANES), u = middle(joined(drawn.a[g], drawn.b[g])), v = middle(joined(drawn.c[g], drawn.d[g]));
        const real b = 0.931 + 2.53 * square_root(m), a = -0.059 + 0.02483 * b, centred = u - 0.5;
        const real distance = 0.5 - (centred < 0.0 ? -centred : centred);
        const real k = floor_of((2.0 * a / distance + b) * centred + m + 0.43);
        const whole quick = (distance >= 0.07) & (v <= 0.9277 - 3.6224 / (b - 2.0));
        const whole maybe = (k >= 0.0) & ((distance >= 0.013) | (v <= distance));
        memcpy(candidate + g * LANES, &k, sizeof k), memcpy(sure + g * LANES, &quick, sizeof quick);
        memcpy(possible + g * LANES, &maybe, sizeof maybe);
        memcpy(height + g * LANES, &v, sizeof v), memcpy(edge + g * LANES, &distance, sizeof distance);
      }
      for (int l = 0; l < here; l++) {
        counts[index[l]] = (int32_t)std::min(std::max(candidate[l], 0.0), LARGEST_COUNT);  // of a rejected one it is written over
        open.index[undecided] = index[l], open.k[undecided] = candidate[l];
        open.v[undecided] = height[l], open.distance[undecided] = edge[l];
        undecided += !sure[l] & !!possible[l];
        queue[kept] = index[l];
        kept += !sure[l] & !possible[l];
      }
    }
    for (int start = 0; start < undecided; start += AT_ONCE) {
      const int here = std::min(AT_ONCE, undecided - start);
      for (int l = here; l < AT_ONCE; l++) {  // the last once more
        const int last = start + here - 1;
        open.index[start + l] = open.index[last], open.k[start + l] = open.k[last];
        open.v[start + l] = open.v[last], open.distance[start + l] = open.distance[last];
      }
      for (int g = 0; g < AT_ONCE; g += LANES) {
        float mean[LANES];
        real k, v, distance;
        for (int l = 0; l < LANES; l++) mean[l] = means[open.index[start + g + l]];
        memcpy(&k, open.k + start + g, sizeof k), memcpy(&v, open.v + start + g, sizeof v);
        memcpy(&distance, open.distance + start + g, sizeof distance);
        const whole good = below_density(mean_of(mean), k, v, distance);
        for (int l = 0; l < std::min(LANES, here - g); l++) {
          queue[kept] = open.index[start + g + l];
          kept += !good[l];
        }
      }
    }
    queued = kept;
  }

  whole below_density(real m, real k, real v, real distance) const {
    const real b = 0.931 + 2.53 * square_root(m), a = -0.059 + 0.02483 * b, inverse_alpha = 1.1239 + 1.1328 / (b - 3.4);
    const real hat = v * inverse_alpha / (a / (distance * distance) + b), root = square_root(TWO_PI * largest(k, real{} + 0.5));
    const real t = (k - m) / m, deviance = k * log_of(t, 1.0 + t) - (k - m);
    const real inverse = 1.0 / largest(k, real{} + 1.0);
    real rest = inverse * polynomial(inverse * inverse, STIRLING);
    if (any(k < 16.0))
      for (int l = 0; l < LANES; l++)
        if (k[l] < 16.0) rest[l] = rests[(int)k[l]];
    return log_of(hat * root - 1.0, hat * root) <= -deviance - rest;
  }

  void draw(uint64_t pixel, int64_t number, const float* means, int32_t* counts) const {
    int32_t queue[CHUNK + AT_ONCE];
    Undecided open;
    for (int64_t start = 0; start < number; start += CHUNK) {
      const int64_t size = std::min(CHUNK, number - start), full = size / AT_ONCE * AT_ONCE;
      const float* its = means + start;
      int32_t* out = counts + start;
      int queued = 0;
      for (int64_t i = 0; i < full; i += AT_ONCE) small(pixel + start + i, its + i, out + i, (int32_t)i, queue, queued);
      if (full < size) {
        float mean[AT_ONCE] = {};
        int32_t count[AT_ONCE];
        memcpy(mean, its + full, (size - full) * sizeof *mean);
        small(pixel + start + full, mean, count, (int32_t)full, queue, queued);
        memcpy(out + full, count, (size - full) * sizeof *count);
      }
      for (uint32_t attempt = 0; queued; attempt++) large(pixel + start, its, out, queue, queued, attempt, open);
    }
  }
};

// ---- normal and uniform deviates: two a block, whose words lie in the order of the numbers when they are put side by side

constexpr float LOG_SINGLE[] = {0.9999999741f, -0.4999999638f, 0.3333419329f, -0.2500135219f, 0.1995593336f,
                                -0.165779929f, 0.1497740128f,  -0.1426925821f, 0.08533313083f};
constexpr float MIDDLE[] = {2.12331348f,      0.3488020277f,    -0.005907725659f, -0.001771622653f, 0.0003087926634f,
                            -7.032063363e-6f, -4.898814945e-6f, 6.620377014e-7f,  3.30020413e-8f,   -1.263165085e-8f};
constexpr float TAIL[] = {1.343938127f, -0.2629211166f, 0.237063127f, 0.9747797937f, 3.078103009f,
                          17.82401689f, -32.05470505f,  -406.2575315f, 98.36288879f, 4444.842657f};

static inline void write(const Blocks& x, float* out) {
  constexpr int32_t root_half = 0x3F3504F3, sign = INT32_MIN;
  short_whole high[GROUP], exponent[GROUP], tail = short_whole{};
  short_real p[GROUP], t[GROUP], w[GROUP], f[GROUP];
  for (int g = 0; g < GROUP; g++) {
    high[g] = (short_whole)((x.a[g] & LOW) | x.c[g] << 32);
    const short_whole low = (short_whole)((x.b[g] & LOW) | x.d[g] << 32);
    const short_real far = __builtin_convertvector(high[g] & 0x7FFFFFFF, short_real);
    const short_real near = __builtin_convertvector((low >> 1) & 0x7FFFFFFF, short_real);
    p[g] = (far + (near + 0.5f) * 0x1p-31f) * 0x1p-32f;
    const short_real y = 4.0f * p[g] * (1.0f - p[g]);
    exponent[g] = ((short_whole)y - root_half) >> 23;
    t[g] = (short_real)((short_whole)y - (exponent[g] << 23)) - 1.0f;
  }
  polynomials(t, LOG_SINGLE, f);
  for (int g = 0; g < GROUP; g++) {
    w[g] = __builtin_convertvector(exponent[g], short_real) * (float)-LOG_2 - t[g] * f[g];
    t[g] = w[g] - 2.5f;
    tail |= w[g] >= 5.0f;
  }
  polynomials(t, MIDDLE, f);
  if (any((whole)tail))
    for (int g = 0; g < GROUP; g++) {
      const short_real root = square_root(w[g] > 5.0f ? w[g] : short_real{} + 5.0f);
      f[g] = w[g] < 5.0f ? f[g] : root * polynomial(1.0f / root - 0.3f, TAIL);
    }
  for (int g = 0; g < GROUP; g++) {
    const short_whole z = (short_whole)((1.0f - 2.0f * p[g]) * f[g]) ^ (high[g] & sign);
    memcpy(out + 2 * g * LANES, &z, sizeof z);
  }
}

static inline void write(const Blocks& x, double* out) {
  for (int g = 0; g < GROUP; g++) {
    const real even = middle(joined(x.a[g], x.b[g])), odd = middle(joined(x.c[g], x.d[g]));
    for (int l = 0; l < LANES; l++) out[2 * (g * LANES + l)] = even[l], out[2 * (g * LANES + l) + 1] = odd[l];
  }
}

template <class scalar>
static void pairs(const Key& key, Counter counter, uint64_t first, int64_t number, scalar* out) {
  constexpr int64_t STEP = 2 * AT_ONCE;
  auto step = [&](uint64_t block, scalar* to) {
    words numbers[GROUP];
    for (int g = 0; g < GROUP; g++) numbers[g] = from(block + g * LANES);
    write(philox(key, numbers, counter), to);
  };
  scalar some[STEP];
  int64_t done = 0;
  if (first % 2 && number > 0) step(first / 2, some), out[done++] = some[1];
  for (; done + STEP <= number; done += STEP) step((first + done) / 2, out + done);
  if (done < number) step((first + done) / 2, some), memcpy(out + done, some, (number - done) * sizeof *some);
}

// ---- entries

extern "C" void nbdist_poisson(uint64_t seed, uint32_t frame, uint32_t sample, uint32_t stage, uint64_t first, int64_t number,
                               const float* means, int32_t* counts, const int64_t* table, const double* rests) {
  Poisson{key_of(seed), {frame, sample, stage}, table, rests}.draw(first, number, means, counts);
}

extern "C" void nbdist_normals(uint64_t seed, uint32_t frame, uint32_t sample, uint32_t stage, uint64_t first, int64_t number, float* out) {
  pairs(key_of(seed), {frame, sample, stage}, first, number, out);
}

extern "C" void nbdist_uniforms(uint64_t seed, uint32_t frame, uint32_t sample, uint32_t stage, uint64_t first, int64_t number,
                                double* out) {
  pairs(key_of(seed), {frame, sample, stage}, first, number, out);
}
