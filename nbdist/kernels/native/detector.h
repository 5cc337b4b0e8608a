// Pixels in space and the factors that multiply an orientation sum, in double: reference/pixels.py and factors.py say what they are.

#pragma once

#include <algorithm>
#include <vector>

#include "vectors.h"

enum Factor { OMEGA = 1, POLAR = 2, CAPTURE = 4, LIMIT = 8 };

struct Work {  // mirrored by backend.Work; every member takes eight bytes
  int64_t first_row, last_row, first_column, last_column;  // the area, in pixels of the panel
  int64_t rows, columns, side;                             // the panel, and its fixed blocks
  double row_shift, column_shift, layer, layer_thickness;  // the subpixel; the layer of the sensor, and metres
  double origin[3], fast[3], slow[3], normal[3], beam[3];
  double pixel, close_distance, curvature, smallest_distance;
  int64_t curved, point_pixels;
  double polarization[3], kahn_factor, attenuation, d_min;
  int64_t factors;  // the bits of Factor
  int64_t sources;
  const double *incident, *wavelength, *weight;  // (sources, 3); Angstrom; relative
  int64_t groups;
  const int64_t* group_size;   // (groups) orientations
  const double* reference;     // a_0 (groups, 3, 3), Angstrom
  const double* const* cells;  // (groups) a_m of each (orientations, 3, 3), Angstrom
  double N_cells[3], skew[3], least_cells[3];  // see crystal.h and patches.h
  double fudge;
  double limit;                // see crystal.h
  const void* table;           // of REAL: the amplitudes of all tables
  const int64_t* table_start;  // (sources) where the table of each begins
  int64_t low[3], high[3], step[3];  // Miller indices of the table's corners, border included; elements from one to the next
  const double* scale;               // (area) what multiplies every pixel, or null
  double* out;                       // (area)
  int64_t scale_stride, out_stride;
  int64_t add;                       // to what `out` holds, or write
  int64_t threads;
};

static inline double dot(const double* a, const double* b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

static inline void cross(const double* a, const double* b, double* out) {
  for (int i = 0; i < 3; i++) out[i] = a[(i + 1) % 3] * b[(i + 2) % 3] - a[(i + 2) % 3] * b[(i + 1) % 3];
}

static inline void unit(double* a) {  // 0 stays 0
  double length = std::max(std::sqrt(dot(a, a)), 1e-300);
  for (int i = 0; i < 3; i++) a[i] /= length;
}

static void rotate(double* vector, const double* axis, double angle) {  // Rodrigues' formula
  double cosine = std::cos(angle), sine = std::sin(angle), along = dot(axis, vector) * (1 - cosine), turned[3];
  cross(axis, vector, turned);
  for (int i = 0; i < 3; i++) vector[i] = vector[i] * cosine + turned[i] * sine + axis[i] * along;
}

struct Points {  // n points: unit vectors from the sample, and distances in metres
  int64_t n = 0;
  std::vector<double> distance, d[3];

  // `height` x `width` points, `down` and `across` pixels apart, row by row, the first one `top` and `left` such steps from (slow, fast);
  // the last one again up to a multiple of `together`.
  void look(
      const Work& work,
      double slow,
      double fast,
      int64_t top,
      int64_t left,
      int64_t height,
      int64_t width,
      double down = 1,
      double across = 1,
      int64_t together = LANES) {
    int64_t pixels = height * width;
    n = (pixels + together - 1) / together * together;
    distance.resize(n);
    for (auto& component : d) component.resize(n);
    double *__restrict x = d[0].data(), *__restrict y = d[1].data(), *__restrict z = d[2].data(), *__restrict R = distance.data();
    const int32_t columns = (int32_t)width, from = (int32_t)left;  // 64-bit integers have no conversion to double on every machine
    for (int64_t r = 0; r < height; r++) {
      double start[3], along[3];
      for (int i = 0; i < 3; i++) {
        double corner = work.origin[i] + work.layer * work.layer_thickness * work.normal[i];
        start[i] = corner + (slow + (top + r) * down) * work.pixel * work.slow[i];
        along[i] = work.pixel * work.fast[i];
      }
      for (int32_t c = 0; c < columns; c++) {
        double along_row = fast + (from + c) * across;
        x[r * width + c] = start[0] + along_row * along[0];
        y[r * width + c] = start[1] + along_row * along[1];
        z[r * width + c] = start[2] + along_row * along[2];
      }
    }
    if (work.curved)
      for (int64_t p = 0; p < pixels; p++) wrap(work, x[p], y[p], z[p]);
    for (int64_t p = pixels; p < n; p++) x[p] = x[p - 1], y[p] = y[p - 1], z[p] = z[p - 1];
    for (int64_t p = 0; p < n; p++) {
      double length = std::sqrt(x[p] * x[p] + y[p] * y[p] + z[p] * z[p]);
      R[p] = length > work.smallest_distance ? length : work.smallest_distance;
      double inverse = 1 / R[p];
      x[p] *= inverse, y[p] *= inverse, z[p] *= inverse;
    }
  }

  static void wrap(const Work& work, double& x, double& y, double& z) {
    double spot[3], about_fast[3], about_slow[3];
    for (int i = 0; i < 3; i++) spot[i] = work.curvature * work.beam[i];
    double offset[3] = {x - spot[0], y - spot[1], z - spot[2]};
    cross(work.beam, work.fast, about_fast);
    cross(work.beam, work.slow, about_slow);
    rotate(spot, about_fast, dot(offset, work.fast) / work.curvature);
    rotate(spot, about_slow, dot(offset, work.slow) / work.curvature);
    x = spot[0], y = spot[1], z = spot[2];
  }
};

static void multiply(const Work& work, int64_t which, const Points& points, int64_t source, double* values) {
  const double *x = points.d[0].data(), *y = points.d[1].data(), *z = points.d[2].data(), *R = points.distance.data();
  const double* incident = work.incident + 3 * source;
  if (which & OMEGA)
    for (int64_t p = 0; p < points.n; p++)
      values[p] *= work.point_pixels ? 1 / (R[p] * R[p]) : work.pixel * work.pixel * work.close_distance / (R[p] * R[p] * R[p]);
  if (which & POLAR) {
    double magnetic[3], electric[3];
    cross(work.polarization, incident, magnetic);
    unit(magnetic);
    cross(incident, magnetic, electric);
    unit(electric);
    for (int64_t p = 0; p < points.n; p++) {
      double B = x[p] * magnetic[0] + y[p] * magnetic[1] + z[p] * magnetic[2];
      double E = x[p] * electric[0] + y[p] * electric[1] + z[p] * electric[2];
      double cosine = x[p] * incident[0] + y[p] * incident[1] + z[p] * incident[2], cosine2 = cosine * cosine;
      double length2 = E * E + B * B > 1e-300 ? E * E + B * B : 1e-300;
      values[p] *= 0.5 * (1 + cosine2 - work.kahn_factor * (E * E - B * B) * (1 - cosine2) / length2);
    }
  }
  if (which & CAPTURE)
    for (int64_t p = 0; p < points.n; p++) {
      double towards = x[p] * work.normal[0] + y[p] * work.normal[1] + z[p] * work.normal[2];
      double path = work.layer_thickness * work.attenuation / towards;
      values[p] *= std::exp(-work.layer * path) - std::exp(-(work.layer + 1) * path);
    }
  if (which & LIMIT)
    for (int64_t p = 0; p < points.n; p++) {
      double a = x[p] - incident[0], b = y[p] - incident[1], c = z[p] - incident[2];
      double scaled = work.d_min / work.wavelength[source];
      values[p] *= (a * a + b * b + c * c) * scaled * scaled <= 1 ? 1.0 : 0.0;
    }
}
