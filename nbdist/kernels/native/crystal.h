// The sum over orientations of a vector of pixels: orientation_sum.py, shapes.py and amplitudes.py say what it is.

#pragma once

#include <algorithm>

#include "vectors.h"

constexpr int RUN = 16;   // terms that are added up in `real` before they go to a double
constexpr int WIDE = RUN > LANES ? RUN : LANES;
constexpr int STRIP = 8;  // vectors of pixels that take an orientation in turn: enough independent work for a processor to look ahead

struct Run {  // RUN orientations, what orientation_sum.orientation_part gives of each; h, k, l less the block's own whole numbers
  alignas(BYTES) real turn[3][3][WIDE], coarse[3][WIDE], rest[3][WIDE];
};

struct PixelPart {  // what orientation_sum.pixel_part gives
  alignas(BYTES) real q[3][LANES], coarse[3][LANES], rest[3][LANES];
};

struct Table {  // seen from a block's own whole numbers
  const real *start, *here;  // of its low corner, of the block's reflection
  real low[3], high[3], stride[3];
  int32_t step[3];
};

struct Crystal {
  real N_cells[3], least_cells[3], fudge, count;
  real skew[3];  // for an isotropic crystal N_cells is the diagonal of shape_root, and this its elements 01, 02, 12
  real limit;  // where fudge r^2 is not below this, a term is 0: scene/spots.py
};

// 3 (sin x / x - cos x)/x^2 in x^2
constexpr double SPHERE[] = {1.0,
                             -1.0 / 10,
                             1.0 / 280,
                             -1.0 / 15120,
                             1.0 / 1330560,
                             -1.0 / 172972800,
                             1.0 / 31135104000.0,
                             -1.0 / 7410154752000.0,
                             1.0 / 2252687044608000.0};

#if SHAPE == 0
// F_latt, up to its sign, from the distances to the nearest reflection and `phase` (N_cells times that, less whole numbers).
static inline vec lattice_factor(const vec* distance, const vec* phase, const Crystal& crystal) {
  constexpr real tiny = SINGLE ? 1e-12 : 1e-60;
  vec above = (real)1, below = (real)1;
#pragma GCC unroll 3
  for (int a = 0; a < 3; a++) {
    above = above * sin_pi(phase[a], crystal.N_cells[a] * tiny);
    below = below * sin_pi(distance[a], tiny);
  }
  return above / below;
}
#else
// fudge r^2
static inline vec spot_radius2(const vec* distance, const Crystal& crystal) {
  vec r2 = (real)0;
  for (int a = 0; a < 3; a++) {
    vec scaled = distance[a] * crystal.N_cells[a];
#if SHAPE == 4
    for (int b = a + 1; b < 3; b++) scaled = distance[b] * crystal.skew[a + b - 1] + scaled;
#endif
    r2 = scaled * scaled + r2;
  }
  return r2 * crystal.fudge;
}

// F_latt
static inline vec lattice_factor(vec r2, const Crystal& crystal) {
#if SHAPE == 1
  vec squared = r2 * (real)(PI * PI), safe = largest(squared, (real)1);
  vec near = polynomial(squared, SPHERE);  // below x = 1 the difference of sin x / x and cos x cancels
  vec half_turns = square_root(safe) * (real)(1 / PI), over = half_turns - nearest(half_turns);
  vec far = (sin_pi(over, 0) / (half_turns * (real)PI) - cos_pi(over)) * (real)3 / safe;
  return select(squared < 1, near, far) * (crystal.count * (real)0.723601254558268);
#elif SHAPE == 2 || SHAPE == 4
  return exp_negative(r2 * (real)(-1 / 0.63)) * crystal.count;
#else
  return select(r2 < (real)0.3969, crystal.count, (real)0);
#endif
}
#endif

template <bool inside>
static inline vec nearest_amplitude(const vec* whole, const Table& table) {
  if (inside) {  // the index is a whole number that `real` holds
    vec element = whole[0] * table.stride[0] + (whole[1] * table.stride[1] + whole[2]);
    if (SHAPE >= 2 && !bits(element != element.a[0])) return table.here[(int32_t)element.a[0]];  // a patch lies in one spot, mostly
    return gather_pair(table.here, whole_numbers(element));
  }
  index_vec index = {};
  for (int a = 0; a < 3; a++) {
    vec kept = least(largest(whole[a], table.low[a]), table.high[a]);
    index_vec steps = whole_numbers(kept - table.low[a]);
    index.a += steps.a * table.step[a];
    index.b += steps.b * table.step[a];
  }
  return gather_pair(table.start, index);
}

#if INTERPOLATE
static inline vec interpolated_amplitude(const vec* whole, const vec* distance, const Table& table) {
  alignas(BYTES) real weight[3][4][LANES], corner[3][LANES], fits[LANES], value[LANES];
  vec safe = (real)1, zero = (real)0;
  for (int a = 0; a < 3; a++) {
    vec down = select(distance[a] < 0, (real)1, zero);
    vec first = whole[a] - down - (real)1, x = distance[a] + down, below = x + (real)1, above = x - (real)1, beyond = x - (real)2;
    store(weight[a][0], x * above * beyond * (real)(-1.0 / 6));
    store(weight[a][1], below * above * beyond * (real)0.5);
    store(weight[a][2], below * x * beyond * (real)-0.5);
    store(weight[a][3], below * x * above * (real)(1.0 / 6));
    // the table is the listed box and a border of one; nanoBragg leaves the box's outermost layer alone, too
    safe = select(first >= table.low[a] + 2, safe, zero);
    safe = select(first + (real)3 <= table.high[a] - 2, safe, zero);
    store(corner[a], first - table.low[a]);
  }
  store(fits, safe);
  store(value, nearest_amplitude<false>(whole, table));
  for (int l = 0; l < LANES; l++) {
    if (fits[l] == 0) continue;
    const real* from = table.start + (int32_t)corner[0][l] * table.step[0] + (int32_t)corner[1][l] * table.step[1] + (int32_t)corner[2][l];
    four sum = {};
    for (int i = 0; i < 4; i++) {
      four plane = {};
      for (int j = 0; j < 4; j++) {
        four row;
        memcpy(&row, from + i * table.step[0] + j * table.step[1], sizeof row);
        plane += row * weight[1][j][l];
      }
      sum += plane * weight[0][i][l];
    }
    value[l] = sum[0] * weight[2][0][l] + sum[1] * weight[2][1][l] + sum[2] * weight[2][2][l] + sum[3] * weight[2][3][l];
  }
  return load(value);
}
#endif

// Adds F_cell^2 F_latt^2 of an orientation of a run to `sum`.
template <bool inside>
static inline void add_term(
    vec& sum, const PixelPart& pixels, const Run& run, int m, [[maybe_unused]] const Table& table, const Crystal& crystal) {
  vec whole[3], distance[3];
  [[maybe_unused]] vec phase[3];
#pragma GCC unroll 3
  for (int a = 0; a < 3; a++) {
    vec rest = load(pixels.rest[a]) + run.rest[a][m];
    for (int b = 0; b < 3; b++) rest = load(pixels.q[b]) * run.turn[a][b][m] + rest;
    vec coarse = load(pixels.coarse[a]) + run.coarse[a][m];
    whole[a] = nearest(coarse + rest);
    coarse = coarse - whole[a];
    distance[a] = coarse + rest;
    vec cells = distance[a] * crystal.N_cells[a];
#if SHARP  // `coarse` has few bits: nothing is lost before the last sum
    phase[a] = rest * crystal.N_cells[a] + (coarse * crystal.N_cells[a] - nearest(cells));
#else
    phase[a] = cells - nearest(cells);
#endif
  }
#if SHAPE == 0
  vec amplitude = lattice_factor(distance, phase, crystal);
#else
  vec r2 = spot_radius2(distance, crystal);
  if (SHAPE != 1 && !bits(r2 < crystal.limit)) return;
  vec amplitude = lattice_factor(r2, crystal);
#endif
#if INTERPOLATE
  amplitude = amplitude * interpolated_amplitude(whole, distance, table);
#elif !UNIFORM
  amplitude = amplitude * nearest_amplitude<inside>(whole, table);
#endif
  sum = sum + amplitude * amplitude;
}
