// The sum over orientations for shapes whose terms are 0 but near reflections: only where one may be more than 0 is it worked out.
//
// A term of shape gauss or tophat is exactly 0 where fudge r^2 is not below a limit (scene/spots.py: outside the top hat; so far
// out that F_cell^2 F_latt^2 rounds to 0 in `real`). A sum does not change by it, in no bit, so it is left out.
//
// Which terms these are is decided for patches of pixels, large ones and then the small ones in them, and the orientations of a run at
// once. Let r(p) be the least of |N (h - n)| over all whole n, for the index h of a pixel p, with N = diag(N_a, N_b, N_c), or a diagonal
// `least_cells` that makes it no larger where the metric of a spot has none; the nearest n of each axis gives it. For another pixel c |N (h_p - n)| >= |N (h_c - n)| - |N (h_p - h_c)| for every n, so that
//
//     r(p) >= r(c) - |N (h_p - h_c)|
//
// and where r(c), c the middle of a patch, is above the limit's r plus the patch's `spread`, all terms of the patch are 0. The spread
// bounds |N A (d_p - d_c)|/lambda, A the orientation's real vectors as rows, d the unit vectors to the pixels:
//
//   - On a plane d_p - d_c is J (x_p - x_c), J = (1 - d d^T)/R at the block's middle, and what J changes by in the block. Along a line
//     |d''| <= 2/sqrt(3) |x'|^2/|x|^2 (with x' = s across and p along x: |x'' | = s sqrt(4 p^2 + s^2)/|x|^2), and a symmetric bilinear form
//     is nowhere larger than on its diagonal; so that change is below 2/sqrt(3) |x_p - x_c| D/rho^2, for D the block's radius and
//     rho = R - D its smallest distance. |N A J (x_p - x_c)| is largest at a corner.
//   - On a sphere, |d_p - d_c| <= |x_p - x_c|/rho.
//   - Another orientation than the group's reference adds |N (A - A_0)| |x_p - x_c|/rho.
//
// Rounding: in `real`, with its unit u, an index of a pixel or of a middle is a sum of parts that are no larger than the slab's reach,
// some ten operations; so an r is off by less than 16 u |N reach|, and two of them by twice that. The geometry is in double, and its
// indices, up to |a|/lambda, are off by a few of its units. r^2 itself is a sum of squares, good to a few u, for which the limit is
// widened by 1e-5.

#pragma once

#include "slabs.h"

constexpr int SMALL_ROWS = LANES >= 16 ? 4 : 2, SMALL_COLUMNS = LANES / SMALL_ROWS;  // a small patch fills a vector
constexpr int LARGE = 8;                                                              // rows and columns of a large patch
constexpr int DOWN = LARGE / SMALL_ROWS, ACROSS = LARGE / SMALL_COLUMNS, SMALLS = DOWN * ACROSS;
constexpr int FEW = SMALLS < LANES ? SMALLS : LANES;  // middles of small patches that are worked out together

struct Patches : Slabs {
  using Slabs::Slabs;

  // Adds to `out`.
  void partial() {
    large_columns = (width + LARGE - 1) / LARGE, larges = (height + LARGE - 1) / LARGE * large_columns;
    middles.resize(larges + 1), middles_known.assign(larges + 1, NOTHING);
    smalls.resize(larges * SMALLS), known.assign(larges * SMALLS, NOTHING), touched.clear();
    for (int64_t source = 0; source < work.sources; source++)
      if (work.weight[source] != 0) add_source(source);
    for (int64_t number : touched) {
      const Small& small = smalls[number];
      const double* from = small.total;
      for (int64_t r = small.top; r < small.top + small.rows; r++)
        for (int64_t c = small.left; c < small.left + small.columns; c++) out(r)[c] += scaling(r)[c] * *from++;
    }
  }

 private:
  enum Known : uint8_t { NOTHING, POINTS, OWN, PART };  // each with those before it

  struct Middles {  // of patches that lie side by side
    Points points;
    std::vector<PixelPart> parts;
  };

  struct Small {
    int64_t top, left, rows, columns;  // in the block's part
    Points points;
    PixelPart part;
    alignas(BYTES) double own[LANES], sums[LANES], total[LANES];
  };

  std::vector<Middles> middles;  // of the small patches of each large one, and of the large ones
  std::vector<Small> smalls;
  std::vector<uint8_t> middles_known, known;  // of each of them
  std::vector<int64_t> touched;               // the small patches of which anything is known
  int64_t large_columns = 0, larges = 0;

  void forget(uint8_t most) {
    for (auto& one : middles_known) one = std::min(one, most);
    for (auto& one : known) one = std::min(one, most);
  }

  void add_source(int64_t source) {
    forget(POINTS);
    turn_to(source);
    for (int64_t group = 0; group < work.groups; group++) {
      forget(OWN);
      for (int64_t first = 0; first < work.group_size[group]; first += SLAB) {
        take(group, first);
        if (inside)
          add_slab<true>(source);
        else
          add_slab<false>(source);
      }
      const double F2 = amplitude2();
      for (int64_t number : touched)
        if (known[number] == PART) {
          Small& small = smalls[number];
          for (int l = 0; l < LANES; l++) small.total[l] += small.own[l] * F2 * small.sums[l];
        }
    }
  }

  template <bool inside>
  void add_slab(int64_t source) {
    const real large_limit = limit(LARGE, LARGE), small_limit = limit(SMALL_ROWS, SMALL_COLUMNS);
    for (int64_t start = 0; start < count; start += RUN) {
      const Run& run = runs[start / RUN];
      const uint32_t all = (1u << std::min<int64_t>(RUN, count - start)) - 1;
      for (int64_t large = 0; large < larges; large++) {
        uint32_t found = all & near(middles_of(larges), large, run, large_limit);
        for (int s = 0; found && s < SMALLS; s++) {
          int64_t top = large / large_columns * LARGE + s / ACROSS * SMALL_ROWS;
          int64_t left = large % large_columns * LARGE + s % ACROSS * SMALL_COLUMNS;
          if (top >= height || left >= width) continue;
          if (uint32_t here = found & near(middles_of(large), s, run, small_limit))
            add_run<inside>(known_small(large * SMALLS + s, top, left, source), run, here);
        }
      }
    }
  }

  // Adds those orientations of a run whose bits are set.
  template <bool inside>
  void add_run(Small& small, const Run& run, uint32_t which) {
    vec sum = (real)0;
    for (; which; which &= which - 1) add_term<inside>(sum, small.part, run, __builtin_ctz(which), table, crystal);
    alignas(BYTES) real added[LANES];
    store(added, sum);
    for (int l = 0; l < LANES; l++) small.sums[l] += added[l];
  }

  // r^2 of the middle of a patch of so many pixels, from where on all its terms are 0 in every orientation of the slab.
  real limit(int rows, int columns) const {
    double rounding = 0, norm2 = 0, turn2 = 0;
    for (int a = 0; a < 3; a++) {
      const double *r = a_0 + 3 * a, N = work.least_cells[a];
      norm2 += N * N * dot(r, r), turn2 += N * N * turned[a];
      rounding += N * (reach[a] * (SINGLE ? 0x1p-24 : 0x1p-53) + std::sqrt(dot(r, r)) * inverse * 0x1p-53);
    }
    const double A = 0.5 * (rows - 1), B = 0.5 * (columns - 1), distance = reference.distance[0], rho = distance - radius, angle = across(A, B) / rho;
    double spread = (std::sqrt(norm2) + std::sqrt(turn2)) * angle;
    if (!work.curved) {
      double corner2 = 0;
      for (double side : {-1.0, 1.0}) {
        double x[3], moved2 = 0;
        for (int i = 0; i < 3; i++) x[i] = work.pixel / distance * (A * work.slow[i] + side * B * work.fast[i]);
        double along = dot(x, d_reference);
        for (int i = 0; i < 3; i++) x[i] -= along * d_reference[i];
        for (int a = 0; a < 3; a++) moved2 += std::pow(work.least_cells[a] * dot(a_0 + 3 * a, x), 2);
        corner2 = std::max(corner2, moved2);
      }
      spread = std::sqrt(corner2) + (std::sqrt(norm2) * (2 / std::sqrt(3.0)) * radius / rho + std::sqrt(turn2)) * angle;
    }
    if (!(rho > work.smallest_distance)) spread = INFINITY;
    double r = (std::sqrt(work.limit / work.fudge) + spread * inverse + 32 * rounding) * (1 + 1e-5);
    return (real)(r * r);
  }

  // The orientations of a run in which a point may be so near to a reflection, as bits; those that the run lacks are any.
  uint32_t near(const Middles& which, int64_t number, const Run& run, real limit) const {
    const PixelPart& part = which.parts[number / LANES];
    const int64_t l = number % LANES;
    uint32_t found = 0;
    for (int start = 0; start < RUN; start += LANES) {
      vec r2 = (real)0;
      for (int a = 0; a < 3; a++) {
        vec rest = load(run.rest[a] + start) + part.rest[a][l];
        for (int b = 0; b < 3; b++) rest = load(run.turn[a][b] + start) * part.q[b][l] + rest;
        vec coarse = load(run.coarse[a] + start) + part.coarse[a][l];
        vec scaled = ((coarse - nearest(coarse + rest)) + rest) * crystal.least_cells[a];
        r2 = scaled * scaled + r2;
      }
      found |= bits(r2 < limit) << start;
    }
    return found;
  }

  // Of the small patches of a large one, or (number `larges`) of the large ones.
  const Middles& middles_of(int64_t number) {
    Middles& one = middles[number];
    if (middles_known[number] == PART) return one;
    if (middles_known[number] == NOTHING) {
      bool large = number == larges;
      int64_t rows = large ? larges / large_columns : DOWN, columns = large ? large_columns : ACROSS;
      double high = large ? LARGE : SMALL_ROWS, wide = large ? LARGE : SMALL_COLUMNS;
      double top = large ? 0 : number / large_columns * LARGE, left = large ? 0 : number % large_columns * LARGE;
      one.points.look(
          work,
          row + work.row_shift + top + 0.5 * (high - 1),
          column + work.column_shift + left + 0.5 * (wide - 1),
          0,
          0,
          rows,
          columns,
          high,
          wide,
          large ? LANES : FEW);
    }
    one.parts.resize((one.points.n + LANES - 1) / LANES);
    if (one.points.n < LANES)
      prepare<FEW>(one.parts[0], one.points, 0);
    else
      for (int64_t p = 0; p < one.points.n; p += LANES) prepare(one.parts[p / LANES], one.points, p);
    middles_known[number] = PART;
    return one;
  }

  // A small patch with all it needs of its source and group; the sums of a group begin here.
  Small& known_small(int64_t number, int64_t top, int64_t left, int64_t source) {
    Small& small = smalls[number];
    if (known[number] == PART) return small;
    if (known[number] == NOTHING) {
      touched.push_back(number);
      small.top = top, small.rows = std::min<int64_t>(SMALL_ROWS, height - top);
      small.left = left, small.columns = std::min<int64_t>(SMALL_COLUMNS, width - left);
      look(small.points, top, left, small.rows, small.columns);
      std::fill_n(small.total, LANES, 0.0);
      for (int64_t r = top; r < top + small.rows; r++)  // needed last
        __builtin_prefetch(scaling(r) + left), __builtin_prefetch(out(r) + left, 1);
    }
    if (known[number] <= POINTS) weigh(small.points, source, small.own);
    prepare(small.part, small.points, 0);
    std::fill_n(small.sums, LANES, 0.0);
    known[number] = PART;
    return small;
  }
};
