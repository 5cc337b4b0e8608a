// The response of a panel, row by row: what response.py and point_spread.py say of each pixel, in one pass. Compiled without contraction,
// so that every operation rounds by itself, as numpy's do.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "exponential.h"

// Writes normal deviates for numbers from `first` on.
typedef void Normals(uint64_t seed, uint32_t frame, uint32_t sample, uint32_t stage, uint64_t first, int64_t number, float* out);

struct Reading {  // as in compiled_response.py
  int64_t rows, columns;
  const int32_t* counts;  // photons that arrived: these or the next
  const float* light;
  double dead_time;
  int64_t paralysable;
  const float* taps;  // none where light does not spread along the axes
  int64_t reach;
  const float* calibration;  // none where all are 1
  double electrons_per_photon, read_noise_electrons, adu_per_electron, offset_adu, hot_pixel_adu;
  const int64_t *dead, *hot;
  int64_t deads, hots;
  double saturation;
  int64_t rolls_over;
  const uint8_t* usable;
  Normals* normals;
  uint64_t seed;
  uint32_t frame, sample, stage;
  uint64_t first_pixel;
};

// A kernel along each axis, on rows that come one after the other; those beyond the image are dark.
class Spread {
  const int64_t columns, reach, kept;
  const float* taps;
  std::vector<float> row, ring, light;
  int64_t next = 0;

  float* slot(int64_t at) { return ring.data() + (at % kept) * columns; }

  void along(float* out) const {
    const float* middle = row.data() + reach;
    for (int64_t j = 0; j < columns; j++) out[j] = taps[0] * middle[j];
    for (int64_t k = 1; k <= reach; k++) {
      const float tap = taps[k], *left = middle - k, *right = middle + k;
      for (int64_t j = 0; j < columns; j++) out[j] += tap * (left[j] + right[j]);
    }
  }

 public:
  Spread(int64_t columns, const float* taps, int64_t reach)
      : columns(columns), reach(reach), kept(2 * reach + 1), taps(taps), row(columns + 2 * reach), ring(kept * columns), light(columns) {}

  // Light of row r, of whose neighbours `fetch(row, to)` gives the photons; asked for in order.
  template <class Fetch>
  const float* operator()(int64_t r, int64_t rows, Fetch fetch) {
    for (; next <= std::min(r + reach, rows - 1); next++) {
      fetch(next, row.data() + reach);
      along(slot(next));
    }
    float* out = light.data();
    const float* own = slot(r);
    for (int64_t j = 0; j < columns; j++) out[j] = taps[0] * own[j];
    for (int64_t k = 1; k <= reach; k++) {
      const float tap = taps[k], *above = r >= k ? slot(r - k) : nullptr, *below = r + k < rows ? slot(r + k) : nullptr;
      if (above && below)
        for (int64_t j = 0; j < columns; j++) out[j] += tap * (above[j] + below[j]);
      else if (const float* only = above ? above : below)
        for (int64_t j = 0; j < columns; j++) out[j] += tap * only[j];
    }
    return out;
  }
};

template <class Integer>
static void read(const Reading& its, Integer* out) {
  const int64_t columns = its.columns;
  std::vector<double> adu(columns);
  std::vector<float> noise(columns);
  Spread spread(its.taps ? columns : 0, its.taps, its.taps ? its.reach : 0);
  const int64_t *dead = its.dead, *hot = its.hot, *last_dead = dead + its.deads, *last_hot = hot + its.hots;

  auto arrived = [&](int64_t row, auto* to) {
    if (its.counts)
      for (int64_t j = 0; j < columns; j++) to[j] = its.counts[row * columns + j];
    else
      for (int64_t j = 0; j < columns; j++) to[j] = its.light[row * columns + j];
  };
  auto counted = [&](int64_t row, double* to) {
    arrived(row, to);
    const double t = its.dead_time;
    if (t > 0 && its.paralysable)
      for (int64_t j = 0; j < columns; j++) to[j] = to[j] * exp_of_minus(t * to[j]);
    else if (t > 0)
      for (int64_t j = 0; j < columns; j++) to[j] = to[j] / (1.0 + t * to[j]);
  };
  auto fetch = [&](int64_t row, float* to) {
    if (its.dead_time > 0) {
      counted(row, adu.data());
      for (int64_t j = 0; j < columns; j++) to[j] = adu[j];
    } else {
      arrived(row, to);
    }
  };

  for (int64_t r = 0; r < its.rows; r++) {
    double* value = adu.data();
    const double electrons = its.electrons_per_photon, gain = its.adu_per_electron, offset = its.offset_adu;
    if (its.taps) {
      const float* light = spread(r, its.rows, fetch);
      for (int64_t j = 0; j < columns; j++) value[j] = light[j] * electrons;
    } else {
      counted(r, value);
      for (int64_t j = 0; j < columns; j++) value[j] = value[j] * electrons;
    }
    if (const float* calibration = its.calibration ? its.calibration + r * columns : nullptr)
      for (int64_t j = 0; j < columns; j++) value[j] = value[j] * calibration[j];
    if (its.read_noise_electrons > 0) {
      its.normals(its.seed, its.frame, its.sample, its.stage, its.first_pixel + r * columns, columns, noise.data());
      const double sigma = its.read_noise_electrons;
      for (int64_t j = 0; j < columns; j++) value[j] = (value[j] + sigma * noise[j]) * gain + offset;
    } else {
      for (int64_t j = 0; j < columns; j++) value[j] = value[j] * gain + offset;
    }
    for (; hot < last_hot && *hot < (r + 1) * columns; hot++) value[*hot - r * columns] += its.hot_pixel_adu;
    for (; dead < last_dead && *dead < (r + 1) * columns; dead++) value[*dead - r * columns] = 0.0;
    const double saturation = its.saturation, turn = saturation + 1.0;
    if (its.rolls_over)
      for (int64_t j = 0; j < columns; j++) {
        const double whole = std::max(std::nearbyint(value[j]), 0.0);
        value[j] = whole - std::floor(whole / turn) * turn;
      }
    else
      for (int64_t j = 0; j < columns; j++) value[j] = std::min(std::max(std::nearbyint(value[j]), 0.0), saturation);
    // readings are whole numbers of 32 bits: with a sign where the type has one or is shorter
    typedef typename std::conditional<std::is_same<Integer, uint32_t>::value, int64_t, int32_t>::type whole;
    Integer* to = out + r * columns;
    const uint8_t* usable = its.usable + r * columns;
    for (int64_t j = 0; j < columns; j++) to[j] = usable[j] ? (Integer)(whole)value[j] : (Integer)-1;
  }
}

extern "C" void nbdist_read(const Reading* its, int32_t* out) { read(*its, out); }
extern "C" void nbdist_read_uint16(const Reading* its, uint16_t* out) { read(*its, out); }
extern "C" void nbdist_read_uint32(const Reading* its, uint32_t* out) { read(*its, out); }

extern "C" void nbdist_spread(const float* image, int64_t rows, int64_t columns, const float* taps, int64_t reach, float* out) {
  Spread spread(columns, taps, reach);
  for (int64_t r = 0; r < rows; r++)
    memcpy(out + r * columns, spread(r, rows, [&](int64_t row, float* to) { memcpy(to, image + row * columns, columns * sizeof *to); }),
           columns * sizeof *out);
}
