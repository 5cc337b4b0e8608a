"""The recipe that `nbdist init --recipe` writes: stills of random crystals, with the distributions there are in comments."""

TEMPLATE = """\
# A recipe for nbdist: an experiment whose values may be distributions. See what it draws with `nbdist check --draw 5`.
# Any field of an experiment may be drawn but scan.frames, labels, noise, readout.integers, sampling.method and precision.
title: stills of random crystals

recipe:
  seed: 1                         # of all that is drawn, photon noise among it; another seed is another data set
  license: CC0-1.0                # of the data set
  splits: {train: 0.8, validation: 0.1, test: 0.1}
  # split_by: sample              # crystal: all samples of a crystal are in one split; or a field, as let.group

let:                              # values that others refer to, drawn once a sample
  group: {choice: [P 21 21 21, P 43 21 2, P 61 2 2, C 1 2 1], weights: [4, 2, 1, 2]}
  cell: {random_cell: {space_group: = let.group, volume_A3: {log_uniform: [5.0e+4, 3.0e+5]}}}
  # model: {file_of: "models/*.pdb"}     # for structure_factors.file: = let.model

beam:
  wavelength_A: {choice: [0.9795, 1.0332, {uniform: [0.9, 1.2]}], weights: [2, 1, 1]}
  fluence_photons_per_m2: {log_uniform: [3.0e+18, 1.0e+20]}
  polarization_factor: 0.99

crystals:
  repeat: {choice: [1, 2, 3], weights: [8, 2, 1]}      # lattices in a sample; or {integer: [1, 3]}
  of:
    cell: = let.cell
    space_group: = let.group
    misset_deg: {rotation: uniform}                    # or {rotation: {within_deg: 5, about_deg: [10, 20, 30]}}
    size_um: {log_uniform: [10, 40]}
    shape: gauss
    mosaicity: {sigma_deg: {uniform: [0.02, 0.4]}}     # its seed is drawn, too

scan: {frames: 1, osc_range_deg: 0.2}

detector:
  convention: xds
  panels:
    - spixels: 1024
      fpixels: 1024
      pixel_size_mm: 0.15
      distance_mm: {uniform: [120, 250]}
      near_point_pixels: [{normal: [512.5, 3], within: [500, 525]}, {normal: [512.5, 3], within: [500, 525]}]

structure_factors:
  kind: wilson
  d_min_A: {uniform: [2.0, 3.5]}
  mean_F2: 2.0e+5
  B_factor_A2: "= 8 * structure_factors.d_min_A ** 2"
  seed: {integer: [1, 100]}

sampling: {method: integrated}

background:
  water_um: {uniform: [0, 150]}
  air: {before_mm: 2, after_mm: 20, width_um: 30}

noise: {photon_noise: true}       # its seed is the recipe's

labels: {spots: true, spot: true}
"""
