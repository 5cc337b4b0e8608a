// The coefficients of a spot of the integrated method, in double: integrated.py of the reference says what they are. Its seven variables
// are taken together here: w with its covariance, the wavelength, two angles of the beam, and phi.

#pragma once

#include <algorithm>
#include <array>
#include <cmath>

#include "detector.h"

struct Vector {
  double x[3];
  double& operator[](int i) { return x[i]; }
  double operator[](int i) const { return x[i]; }
};

static inline Vector operator+(Vector a, Vector b) { return {a[0] + b[0], a[1] + b[1], a[2] + b[2]}; }
static inline Vector operator-(Vector a, Vector b) { return {a[0] - b[0], a[1] - b[1], a[2] - b[2]}; }
static inline Vector operator*(double s, Vector a) { return {s * a[0], s * a[1], s * a[2]}; }
static inline double dot(Vector a, Vector b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }
static inline Vector cross(Vector a, Vector b) {
  return {a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]};
}

struct Matrix {
  Vector row[3];
  Vector& operator[](int i) { return row[i]; }
  const Vector& operator[](int i) const { return row[i]; }
};

static inline Vector operator*(const Matrix& m, Vector a) { return {dot(m[0], a), dot(m[1], a), dot(m[2], a)}; }
static inline Matrix outer(double s, Vector a, Vector b) { return {{s * a[0] * b, s * a[1] * b, s * a[2] * b}}; }
static inline Matrix operator+(const Matrix& a, const Matrix& b) { return {{a[0] + b[0], a[1] + b[1], a[2] + b[2]}}; }
static inline double trace(const Matrix& m) { return m[0][0] + m[1][1] + m[2][2]; }
static inline Vector column(const Matrix& m, int j) { return {m[0][j], m[1][j], m[2][j]}; }

// R M R^T
static inline Matrix turned(const Matrix& rotation, const Matrix& m) {
  Matrix half, whole;
  for (int i = 0; i < 3; i++)
    for (int j = 0; j < 3; j++) half[i][j] = dot(rotation[i], column(m, j));
  for (int i = 0; i < 3; i++)
    for (int j = 0; j < 3; j++) whole[i][j] = dot(half[i], rotation[j]);
  return whole;
}

static inline Matrix inverse(const Matrix& m) {  // of a symmetric matrix
  Vector a = cross(m[1], m[2]), b = cross(m[2], m[0]), c = cross(m[0], m[1]);
  double s = 1 / dot(m[0], a);
  return {{s * a, s * b, s * c}};
}

// Vectors whose outer products add up to a symmetric matrix that is nowhere negative, as many as its rank: by its largest diagonal first.
template <int COUNT>
static inline std::array<Vector, COUNT> roots(Matrix m) {
  std::array<Vector, COUNT> parts = {};
  for (Vector& part : parts) {
    const int largest = m[0][0] > m[1][1] ? (m[0][0] > m[2][2] ? 0 : 2) : (m[1][1] > m[2][2] ? 1 : 2);
    const double pivot = m[largest][largest];
    if (!(pivot > 0)) break;
    part = (1 / std::sqrt(pivot)) * m[largest];
    m = m + outer(-1, part, part);
  }
  return parts;
}

static inline Matrix rotation_about(Vector u, double angle) {
  double c = std::cos(angle), s = std::sin(angle);
  Matrix m = outer(1 - c, u, u);
  for (int i = 0; i < 3; i++) m[i][i] += c;
  m[0][1] -= s * u[2], m[0][2] += s * u[1], m[1][0] += s * u[2], m[1][2] -= s * u[0], m[2][0] -= s * u[1], m[2][1] += s * u[0];
  return m;
}

constexpr double CONFINED = 10;  // see integrated.py
constexpr int KNOWN = 4;         // what is known of a point: D, and the phi that fits

struct Linear {  // in what is known
  double x[KNOWN];
  double& operator[](int i) { return x[i]; }
  double operator[](int i) const { return x[i]; }
};

struct Linear3 {
  Linear row[3];
  Linear& operator[](int i) { return row[i]; }
  const Linear& operator[](int i) const { return row[i]; }
};

static inline Linear along(Vector a, const Linear3& m) {  // a . m
  Linear value;
  for (int k = 0; k < KNOWN; k++) value[k] = a[0] * m[0][k] + a[1] * m[1][k] + a[2] * m[2][k];
  return value;
}

struct Beam {  // of one source
  Vector incident, tilt[2];
  double wavelength, band, tilt_variance[2];
};

struct SpotModel {
  Vector G;
  Matrix flat;
  Vector along, shift, straight;
  double curvature, fit[KNOWN], second[3][KNOWN][KNOWN], slope[KNOWN], arc, peak, low, high;

  // G, its shape's covariance and the roots of that of its rotations are those at the phi of the expansion
  SpotModel(Vector G, const Matrix& shape, const std::array<Vector, 3>& turns, Vector u, const Beam& beam, double low, double high)
      : G(G), low(low), high(high) {
    const Vector inward = (1 / beam.wavelength) * beam.incident, v = cross(u, G);
    const bool tilted[2] = {beam.tilt_variance[0] > 0, beam.tilt_variance[1] > 0};
    // Each part of C = S + [G]x M [G]x^T + ... by itself: of a spot that is long in one way, the determinant of the sum would lose all digits
    Matrix P = inverse(shape), mosaic = {};
    double wider = 1;  // |C| / |S|
    auto widen = [&](double variance, Vector way) {
      const Vector pull = P * way;
      const double gain = 1 + variance * dot(way, pull);
      P = P + outer(-variance / gain, pull, pull), wider *= gain;
    };
    for (const Vector& turn : turns) mosaic = mosaic + outer(1, turn, turn), widen(1, cross(turn, G));
    if (beam.band > 0) widen(beam.band, G);
    for (int t = 0; t < 2; t++)
      if (tilted[t]) widen(beam.tilt_variance[t], beam.tilt[t]);
    Matrix gm;  // [G]x M
    for (int j = 0; j < 3; j++) {
      Vector c = cross(G, column(mosaic, j));
      for (int i = 0; i < 3; i++) gm[i][j] = c[i];
    }
    along = P * v;
    curvature = dot(along, v);
    flat = P + outer(-1 / curvature, along, along);
    peak = 1 / std::sqrt(wider);

    double width = high - low, uniform = width * width / 12;
    double spread = uniform * (1 + 12 / (CONFINED * CONFINED) * uniform * curvature), held = 1 + spread * curvature;
    for (int i = 0; i < 3; i++) fit[i] = along[i] * spread / held;
    fit[3] = 0.5 * (low + high) / held;

    // the means of the variables, from what is known
    Linear3 y, w = {}, turn;
    for (int i = 0; i < 3; i++) {
      for (int k = 0; k < 3; k++) y[i][k] = P[i][k];
      y[i][3] = -along[i];
    }
    for (int k = 0; k < KNOWN; k++) {
      Vector g = cross(G, {y[0][k], y[1][k], y[2][k]}), m = mosaic * g;
      for (int i = 0; i < 3; i++) w[i][k] = m[i];
    }
    turn = w;
    for (int i = 0; i < 3; i++) turn[i][3] += u[i];
    Linear band = {}, tilt[2] = {};
    if (beam.band > 0) {
      band = ::along(G, y);
      for (double& value : band.x) value *= beam.band;
    }
    for (int t = 0; t < 2; t++)
      if (tilted[t]) {
        tilt[t] = ::along(beam.tilt[t], y);
        for (double& value : tilt[t].x) value *= beam.tilt_variance[t];
      }

    // terms of second order
    for (auto& plane : second)
      for (auto& row : plane)
        for (double& value : row) value = 0;
    auto add = [&](int i, double scale, const Linear& a, const Linear& b) {
      for (int k = 0; k < KNOWN; k++)
        for (int l = 0; l < KNOWN; l++) second[i][k][l] += scale * a[k] * b[l];
    };
    const Vector bulge = dot(u, G) * u - G;  // u x (u x G)
    const Linear w_along = ::along(G, w);
    for (int i = 0; i < 3; i++) {
      int j = (i + 1) % 3, k = (i + 2) % 3;
      for (int l = 0; l < KNOWN; l++) second[i][l][k] -= turn[j][l], second[i][l][j] += turn[k][l];  // -turn x D
      add(i, 0.5, w[i], w_along);
      for (int l = 0; l < 3; l++) add(i, -0.5 * G[i], w[l], w[l]);
      second[i][3][3] += 0.5 * bulge[i];
      for (int l = 0; l < KNOWN; l++) second[i][l][3] += w[j][l] * v[k] - w[k][l] * v[j];  // w x v
      if (beam.band > 0) {
        for (int l = 0; l < KNOWN; l++) second[i][l][i] -= band[l];
        Linear crossed;
        for (int l = 0; l < KNOWN; l++) crossed[l] = turn[j][l] * G[k] - turn[k][l] * G[j] + band[l] * G[i];
        add(i, 1, band, crossed);
      }
      for (int t = 0; t < 2; t++)
        if (tilted[t]) {
          Vector move = beam.tilt[t];
          Linear crossed;
          for (int l = 0; l < KNOWN; l++)
            crossed[l] = turn[j][l] * move[k] - turn[k][l] * move[j] + band[l] * move[i] + 0.5 * tilt[t][l] * inward[i];
          add(i, 1, tilt[t], crossed);
        }
      for (int a = 0; a < KNOWN; a++)
        for (int b = 0; b < a; b++) second[i][a][b] = second[i][b][a] = 0.5 * (second[i][a][b] + second[i][b][a]);
    }

    // the covariance about the means, and what the slope's change adds
    const double kept = spread / held;  // variance of phi
    const Matrix Q = P + outer(-kept, along, along);
    const double length2 = dot(G, G);
    straight = (1 / std::sqrt(length2)) * G;
    double stays = -dot(straight, shape * (Q * straight));
    for (int i = 0; i < 3; i++) stays += dot(shape[i], column(Q, i));
    arc = (1 - 0.5 * stays) / (3 * length2);
    Matrix W;  // M [G]x Q, of which gm^T is -M [G]x
    for (int i = 0; i < 3; i++)
      for (int j = 0; j < 3; j++) W[i][j] = -(gm[0][i] * Q[0][j] + gm[1][i] * Q[1][j] + gm[2][i] * Q[2][j]);
    Matrix about = mosaic;  // M - W [G]x^T M
    for (int i = 0; i < 3; i++)
      for (int j = 0; j < 3; j++) about[i][j] += dot(W[i], column(gm, j));
    shift = 0.5 * (about * G - trace(about) * G) + (0.5 * kept) * bulge;
    const Vector phi_row = kept * along;
    shift = shift - cross(W * (spread * v), v);
    const Vector axial = {W[1][2] - W[2][1], W[2][0] - W[0][2], W[0][1] - W[1][0]};
    Vector of_D = axial - cross(phi_row, u), of_w = 0.5 * (trace(W) * G - W * G - cross(G, axial)) + cross(v, phi_row);
    double of_phi = -dot(axial, v) + dot(phi_row, bulge), of_band = 0, of_tilt[2] = {0, 0};
    Vector band_row = {0, 0, 0};
    if (beam.band > 0) {
      band_row = beam.band * (Q * G);
      shift = shift + beam.band * (1 - dot(band_row, G)) * G - beam.band * cross(W * G, G) - spread * dot(v, band_row) * v;
      of_D = of_D - band_row;
      of_w = of_w + cross(G, band_row);
      of_phi += dot(band_row, v);
      of_band = -dot(axial, G) + dot(phi_row, v) + 2 * dot(band_row, G);
    }
    for (int t = 0; t < 2; t++)
      if (tilted[t]) {
        const Vector move = beam.tilt[t], row = beam.tilt_variance[t] * (Q * move), turning = cross(u, move);
        shift = shift + (0.5 * beam.tilt_variance[t] * (1 - dot(row, move))) * inward - beam.tilt_variance[t] * cross(W * move, move) -
                spread * dot(v, row) * turning - (beam.band * dot(G, row)) * move;
        of_w = of_w + cross(move, row);
        of_phi += dot(row, turning);
        of_band += dot(row, move);
        of_tilt[t] = -dot(axial, move) + dot(phi_row, turning) + dot(band_row, move) + dot(row, inward);
      }
    const Linear from_w = ::along(of_w, w);
    for (int k = 0; k < KNOWN; k++) {
      slope[k] = from_w[k] + of_band * band[k] + of_tilt[0] * tilt[0][k] + of_tilt[1] * tilt[1][k];
      slope[k] += k < 3 ? of_D[k] : of_phi;
    }
  }
};
