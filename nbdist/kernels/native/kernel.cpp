// Partial intensities on a CPU: what orientation_sum.py, shapes.py, amplitudes.py, pixels.py and factors.py of the reference specify,
// in the same symbols, as one pass over the detector that stores nothing per orientation and pixel.
//
// Compiled for the machine it runs on, once for each variant:
//   REAL           float or double, of the sum over orientations (geometry is double)
//   SHAPE          0 square, 1 round, 2 gauss, 3 tophat, 4 isotropic (gauss of one size in all directions)
//   INTERPOLATE    1: tricubic interpolation of the amplitudes, 0: nearest reflection
//   SHARP          1: so many cells that the rounding of a distance would show in its sine
//   UNIFORM        1: one amplitude for all reflections

#if SHAPE >= 2
#include "patches.h"
using Block = Patches;
#else
#include "strips.h"
using Block = Strips;
#endif

// Writes or adds to `out` the un-normalised partial intensity of an area, one subpixel and layer, all sources and orientations, times
// `scale`.
extern "C" int nbdist_partial(const Work* work) {
#if SHAPE >= 2
  for (int64_t r = 0; r < work->last_row - work->first_row && !work->add; r++)
    std::fill_n(work->out + r * work->out_stride, work->last_column - work->first_column, 0.0);
#endif
  return for_blocks<Block>(*work, [](Block& block) { block.partial(); });
}
