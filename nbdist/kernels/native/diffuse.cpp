// Diffuse scattering on a CPU: what diffuse.py of the reference specifies. REAL is float or double, of what is made of h, k, l.

#include "blocks.h"

struct Diffuse {  // mirrored by diffuse.Request
  int64_t turns, places, beside;  // nodes of phi and of a pixel; whether those are the middles of the pixel and its neighbours
  const double* real;             // (turns, 3, 3) rows a, b, c, Angstrom
  const double* turn_weight;      // (turns)
  const double* shift;            // (places, 2) slow and fast in a pixel
  const double* place_weight;     // (places)
  const void* far;  // of REAL: what all other reflections add at each, or null where nothing is correlated
  double displacement[9], halo[9], between[64], correction[27];
  double peak, scale;  // of a halo; of all
};

struct Corners {  // of one cell of the reciprocal lattice
  double key = -1;
  real near[8], far[8];  // halos' peaks; coefficients of 1, z, y, yz, x, xz, xy, xyz
};

constexpr int KEPT = 64;  // cells that a thread keeps at hand

struct Scattered : Placed {
  const Diffuse* request = nullptr;
  Points points;
  std::vector<double> below[3], key, total;
  std::vector<real> index[3], fraction[3];
  Corners kept[KEPT];

  using Placed::Placed;

  void add(const Diffuse& asked) {
    request = &asked;
    for (Corners& one : kept) one.key = -1;
    const int64_t edge = asked.beside ? 1 : 0, rows = height + 2 * edge, columns = width + 2 * edge;
    for (int64_t place = 0; place < (asked.beside ? 1 : asked.places); place++) {
      points.look(work, row + asked.shift[2 * place], column + asked.shift[2 * place + 1], -edge, -edge, rows, columns);
      if (place == 0) total.assign(points.n, 0.0);
      const double weight = asked.scale * (asked.beside ? 1 : asked.place_weight[place]);
      for (int64_t turn = 0; turn < asked.turns; turn++) {
        locate(asked.real + 9 * turn);
        for (int64_t p = 0; p < points.n; p += LANES) add_vector(p, weight * asked.turn_weight[turn]);
      }
    }
    const double own = asked.beside ? asked.place_weight[0] : 1, other = asked.beside ? asked.place_weight[1] : 0;
    for (int64_t r = 0; r < height; r++) {
      const double *scale = scaling(r), *from = &total[(r + edge) * columns + edge];
      double* to = out(r);
      if (asked.beside)
        for (int64_t c = 0; c < width; c++)
          to[c] += scale[c] * (own * from[c] + other * ((from[c - columns] + from[c + columns]) + (from[c - 1] + from[c + 1])));
      else
        for (int64_t c = 0; c < width; c++) to[c] += scale[c] * from[c];
    }
  }

 private:
  // h, k, l of the points, the whole numbers below them, and a number for each cell of the reciprocal lattice.
  void locate(const double* axes) {
    const double *x = points.d[0].data(), *y = points.d[1].data(), *z = points.d[2].data(), inverse = 1 / work.wavelength[0];
    const double* s = work.incident;
    key.assign(points.n, 0.0);
    for (int a = 0; a < 3; a++) {
      index[a].resize(points.n), fraction[a].resize(points.n), below[a].resize(points.n);
      real *__restrict h = index[a].data(), *__restrict f = fraction[a].data();
      double *__restrict whole = below[a].data(), *__restrict number = key.data();
      const double A = axes[3 * a] * inverse, B = axes[3 * a + 1] * inverse, C = axes[3 * a + 2] * inverse;
      const double low = (double)work.low[a] - 1, high = (double)work.high[a] + 1, step = high - low + 1;
      const double u = s[0], v = s[1], w = s[2];
      for (int64_t p = 0; p < points.n; p++) {
        const double place = (x[p] - u) * A + (y[p] - v) * B + (z[p] - w) * C, floor = std::floor(place);
        whole[p] = floor, h[p] = (real)place, f[p] = (real)(place - floor);
        double held = floor > low ? floor : low;  // beyond the table all cells are alike
        held = held < high ? held : high;
        number[p] = number[p] * step + (held - low);
      }
    }
  }

  void add_vector(int64_t p, double weight) {
    vec place[3], exponent = (real)0, h[3];
    for (int a = 0; a < 3; a++) place[a] = load(&fraction[a][p]), h[a] = load(&index[a][p]);
    for (int a = 0; a < 3; a++) {
      vec along = (real)0;
      for (int b = 0; b < 3; b++) along = h[b] * (real)request->displacement[3 * a + b] + along;
      exponent = along * along + exponent;
    }
    const vec factor = displaced(exponent);
    vec coefficient[16];
    gather_corners(p, coefficient);
    alignas(BYTES) real values[LANES];
    store(values, intensity(place, coefficient) * factor);
    double* to = &total[p];
    for (int l = 0; l < LANES; l++) to[l] += weight * values[l];
  }

  // What the cells of a vector's points have; pixels of a row lie in one for a while.
  void gather_corners(int64_t p, vec* coefficient) {
    const double* cell = &key[p];
    int same = 1;
    for (int l = 0; l < LANES; l++) same &= cell[l] == cell[0];
    const Corners* its = &corners(p);
    if (same) {
      for (int k = 0; k < 8; k++) coefficient[k] = its->near[k], coefficient[8 + k] = its->far[k];
      return;
    }
    alignas(BYTES) real lanes[16][LANES];
    for (int l = 0; l < LANES; l++) {
      if (l && cell[l] != cell[l - 1]) its = &corners(p + l);
      for (int k = 0; k < 8; k++) lanes[k][l] = its->near[k], lanes[8 + k][l] = its->far[k];
    }
    for (int k = 0; k < 16; k++) coefficient[k] = load(lanes[k]);
  }

  // exp(-2W) 2W, or 1 - exp(-2W).
  vec displaced(vec exponent) const {
    if (request->far) return exp_negative(exponent * (real)-1) * exponent;
    constexpr double SERIES[] = {1.0, -1.0 / 2, 1.0 / 6, -1.0 / 24, 1.0 / 120, -1.0 / 720, 1.0 / 5040, -1.0 / 40320, 1.0 / 362880, -1.0 / 3628800};
    return select(exponent < (real)0.1, polynomial(exponent, SERIES) * exponent, vec((real)1) - exp_negative(exponent * (real)-1));
  }

  vec intensity(const vec* fraction, const vec* near) const {
    const vec x = fraction[0], y = fraction[1], z = fraction[2];
    const vec* f = near + 8;
    vec sum = (z * f[1] + f[0]) + y * (z * f[3] + f[2]) + x * ((z * f[5] + f[4]) + y * (z * f[7] + f[6]));
    if (!request->far) return sum;
    vec correction = (real)0, place[3];
    for (int i = 2; i >= 0; i--) {
      vec inner = (real)0;
      for (int j = 2; j >= 0; j--) {
        const double* c = request->correction + 9 * i + 3 * j;
        inner = inner * y + ((z * (real)c[2] + (real)c[1]) * z + (real)c[0]);
      }
      correction = correction * x + inner;
    }
    sum = sum * correction;
    const double* P = request->halo;
    for (int a = 0; a < 3; a++) place[a] = x * (real)P[3 * a] + (y * (real)P[3 * a + 1] + z * (real)P[3 * a + 2]);
#pragma GCC unroll 4
    for (int c = 0; c < 8; c += 2) {  // a division for two
      vec above = (real)1, beyond = (real)1;
      for (int a = 0; a < 3; a++) {
        const vec apart = place[a] - (real)((c >> 2) * P[3 * a] + (c >> 1 & 1) * P[3 * a + 1]), next = apart - (real)P[3 * a + 2];
        above = apart * apart + above, beyond = next * next + beyond;
      }
      above = above * above, beyond = beyond * beyond;
      sum = sum + (beyond * near[c] + above * near[c + 1]) / (above * beyond);
    }
    return sum;
  }

  // The cell that a point lies in.
  const Corners& corners(int64_t p) {
    Corners& cell = kept[(uint64_t)key[p] % KEPT];
    if (cell.key == key[p]) return cell;
    cell.key = key[p];
    const real *table = (const real*)work.table + work.table_start[0], *far = (const real*)request->far;
    double F2[8], others[8];
    for (int c = 0; c < 8; c++) {
      int64_t at = 0;
      for (int a = 0; a < 3; a++) {
        const double corner = below[a][p] + (c >> (2 - a) & 1);
        at += (int64_t)(std::min(std::max(corner, (double)work.low[a]), (double)work.high[a]) - work.low[a]) * work.step[a];
      }
      F2[c] = (double)table[at] * (double)table[at];
      others[c] = far ? (double)far[work.table_start[0] + at] : F2[c];
    }
    for (int c = 0; c < 8; c++) {
      cell.near[c] = (real)(F2[c] * request->peak);
      if (!far) continue;
      for (int b = 0; b < 8; b++) others[c] -= request->between[8 * c + b] * F2[b];
      others[c] = std::max(others[c], 0.0);
    }
    for (int axis = 1; axis < 8; axis *= 2)
      for (int c = 0; c < 8; c++)
        if (c & axis) others[c] -= others[c ^ axis];
    for (int c = 0; c < 8; c++) cell.far[c] = (real)others[c];
    return cell;
  }
};

// Adds to `out` the mean diffuse intensity of an area for one source and layer, times `scale`.
extern "C" int nbdist_diffuse(const Work* work, const Diffuse* request) {
  return for_blocks<Scattered>(*work, [request](Scattered& block) { block.add(*request); });
}
