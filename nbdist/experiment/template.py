"""The experiment file that `nbdist init` writes: a lysozyme-like rotation series, with the choices there are in comments."""

TEMPLATE = """\
# An experiment for nbdist. Units are in the field names; a field left out has the value that its comment names.
# Check it with `nbdist check`, see its pieces with `nbdist plan`, render it with `nbdist run`.
title: tetragonal lysozyme, 30 frames of 0.1 degrees

beam:
  wavelength_A: 0.9768            # or energy_eV
  fluence_photons_per_m2: 2.7e+25 # on the crystal, a frame; or flux_photons_per_s with exposure_s and beam_size_mm
  polarization_factor: 0.99       # Kahn factor K; 0 is unpolarised; null leaves the correction out
  # flicker: {sigma: 0.02, spectrum: pink, seed: 1}   # changes of the fluence from frame to frame, rms; white or pink (1/f)
  # exposure_jitter_sigma: 0.01   # rms error of a frame's exposure
  # divergence: {horizontal_mrad: 0.2, horizontal_steps: 3, vertical_mrad: 0.1, vertical_steps: 3}
  # dispersion: {percent: 0.02, steps: 3}
  # bandwidth_sigma: 0.0003       # rms of a normal spectrum, relative to the wavelength
  # divergence_sigma_mrad: [0.1, 0.05]   # rms of a normal divergence, along the polarization and across it
  # spread_sources: 100           # for method sum: sources that stand for these two
  # source_file: sources.txt      # x y z weight wavelength (metres) a line, instead of the two grids

crystal:
  cell: [79.1, 79.1, 37.9, 90, 90, 90]   # a b c (Angstrom) alpha beta gamma (degrees); or matrix_file: A.mat; or real_vectors_A
  # space_group: P43212                  # name or number; amplitudes are symmetric by it, an asymmetric unit is completed
  # twin: [{law: "k,h,-l", fraction: 0.3}]   # domains whose h', k', l' lie on h, k, l of the rest
  misset_deg: [14, -31, 52]              # rotations of the crystal about lab x, then y, then z
  N_cells: [30, 30, 60]                  # unit cells along a, b, c; or size_mm: [0.01, 0.01, 0.01]; for shape gauss, size_um: 0.8
  shape: gauss                           # square, round, gauss or tophat; integrated takes gauss
  mosaicity: {sigma_deg: 0.1}            # normal misorientations, rms; or three, about a, c* x a, c*; for method sum, domains: 100
  # diffuse: {kind: correlated, sigma_A: 0.4, correlation_length_A: 20}   # halos of disorder like a liquid's; or {kind: rigid_body,
  #                                      # sigma_A: 0.4}; each one number, or three, as of mosaicity
  # mosaic_spread_deg: 0.2               # instead of mosaicity, for method sum: rotations within a cone, as nanoBragg has them
  # mosaic_domains: 10                   # 10 when there is a spread, else 1
  # decay: {dose_MGy_per_frame: 0.05, half_dose_MGy_per_A: 10, B_factor_A2_per_MGy: 1}   # fading with dose
# crystals:                       # instead of crystal: several, whose photons add up
#   - {cell: [79.1, 79.1, 37.9, 90, 90, 90], misset_deg: [14, -31, 52], N_cells: [10, 10, 20]}
#   - {cell: [79.1, 79.1, 37.9, 90, 90, 90], misset_deg: [18, -30, 50], N_cells: [8, 8, 10], weight: 0.3}

scan:
  frames: 30
  phi_start_deg: 0.0
  osc_range_deg: 0.1
  # phi_steps: auto               # for method sum: orientations that stand for a frame's oscillation; auto: three over a reflection
  # phi_rule: midpoint            # midpoint, or left as nanoBragg samples
  # spindle_axis: [1, 0, 0]       # the convention's

detector:
  convention: xds                 # mosflm, denzo, adxv, xds, dials, dxtbx or custom
  panels:
    - spixels: 1100
      fpixels: 1000
      pixel_size_mm: 0.172
      distance_mm: 150
      # near_point_pixels: [500.5, 550.5]   # ORGX, ORGY; the middle
      # modules: {spixels: 195, fpixels: 487, slow_gap_pixels: 17, fast_gap_pixels: 7}   # gaps between them are dead
    # more panels, each with its own size, pixel, place, mask and sensor: origin_mm is the corner of its first pixel
  # name: Eiger2 16M              # instead of panels: pixels, modules, sensor and saturation of one of `nbdist detectors`
  # distance_mm: 150              # of a detector by name; also beam_center_mm, near_point_pixels, two_theta_deg, binning
  # sensor: {thickness_um: 450, material: Si, layers: 5}   # or CdTe; or attenuation_depth_um: 350
  # mask_file: mask.npy           # bool (slow, fast), True a dead pixel, as behind a beam stop; a panel may have one of its own
  # region_of_interest: {slow: [0, 500], fast: [0, 500]}

structure_factors:
  kind: wilson                    # random amplitudes, the same for the same seed
  d_min_A: 1.5
  mean_F2: 2.0e+5                 # electrons^2, before the B factor
  B_factor_A2: 20                 # Angstrom^2
  seed: 1
  # kind: file                    # amplitudes of your own, completed by the file's space group
  # file: scaled.mtz              # or CIF; or text, `h k l F` a line (of all of P1, unless space_group is given)
  # columns: [F(+), F(-)]         # or one of F or I; recognised where none is named
  # missing: wilson               # what the file lacks to the detector's corner is drawn; or default_F: 0
  # kind: model                   # F_calc of an atomic model, whose cell and space group the crystal has, too
  # file: model.pdb               # or mmCIF
  # k_sol_e_per_A3: 0.35          # bulk solvent, with B_sol_A2: 46; B_added_A2 is added to all B factors
  # anomalous: each_wavelength    # f' and f'' of each source; mean_wavelength when left out, or none
  # anomalous_scatterers: {Se: {file: Se.efs}}   # measured ones, or f_prime_e with f_double_prime_e
  # scattering: electrons         # xrays when left out

sampling:
  method: integrated              # phi, mosaicity, spectrum and divergence in closed form; sum: a sum over counted ones, as nanoBragg's
  # tolerance: 1.0e-4             # where integrated spots are cut off, relative to their peaks
  oversample: auto                # subpixels along a pixel's side; auto: what each spot needs (sum: three over a spot)
  precision: float32              # or float64
  # d_min_A: 1.5                  # leave out scattering beyond this resolution

background:
  water_um: 0.8                   # side of a cube of water in the beam
  # amorphous:                    # other materials; files of sin(theta)/lambda (1/A) and F, or S, in electrons a line
  #   - {f_file: oil.stol, compton_file: oil.compton, thickness_um: 20, width_um: 50,
  #      density_g_per_cm3: 0.9, molecular_weight_g_per_mol: 282}
  # air: {before_mm: 10, after_mm: 30, width_um: 50}   # along the beam; after_mm: to the beam stop, or to the detector
  # powder:
  #   - {preset: ice, photons: 2.0e+5, width_deg: 0.1}   # of the strongest ring; ice, salt, silver_behenate
  #   - {rings: [{d_A: 3.0, intensity: 1}], photons: 1.0e+5, d_spread: 0.003, texture: 0.3}
  # level_photons: 0.1            # everywhere alike
  # image_file: background.npy    # photons (slow, fast), or an SMV image

# absorption:                     # of what leaves the sample's place
#   crystal: {shape: sphere, size_um: 100, attenuation_length_um: 600}   # or cylinder, along the spindle
#   capillary: {inner_radius_um: 150, wall_um: 10, attenuation_length_um: 130}

# shadows:                        # in planes across the beam; offsets along the spindle axis and beam x spindle axis
#   beam_stop: {size_mm: 1.5, distance_mm: 30, edge_mm: 0.2, holder: {width_mm: 0.5, direction_deg: 90}}   # size_mm: [2, 1], a rectangle
#   pin: {distance_mm: 20, start_mm: 15, width_mm: 3, wedge_deg: 20}

noise:
  photon_noise: false             # true: also write `counts`, drawn from a Poisson distribution
  seed: 1

# readout:                        # what the detector makes of its photons, into `counts` (see docs/how_to/readout.md)
#   point_spread: {kind: gaussian, fwhm_mm: 0.1}   # or fibre, moffat with beta, image with file and pixel_size_mm
#   electrons_per_photon: 10      # times adu_per_electron and + offset_adu: what is read
#   calibration_sigma: 0.01       # rms of the pixels' gains; read_noise_electrons, of a reading
#   saturation_adu: 65533         # rolls_over: true begins at 0 again
#   dead_pixel_fraction: 1.0e-4   # hot_pixel_fraction; both hold -2, gaps and masked pixels -1
#   charge_sharing_fraction: 0.05 # of counting detectors, as dead_time_ns
#   integers: int32               # uint16 or uint32

# labels: all                     # the truth beside the frames; or some of: {reflections: true, spots: true, bragg: true,
#                                 # background: true, spot: true, resolution: true}. spots and spot need method integrated
"""
