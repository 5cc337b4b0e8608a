"""One frame from its pieces: partial intensities become photons, and photons the products that a store holds.

`renderer` adds up what `nbdist.kernels` computes, `products` is the table of what is made of a frame, by `nbdist.readout` for instance, and
`trace` takes one pixel's chain of factors apart. Where frames are kept is `nbdist.store`'s, who renders them `nbdist.run`'s.
"""
