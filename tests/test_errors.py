"""Errors are said in one line."""

from nbdist.errors import one_line


def test_an_error_of_hdf5_is_one_line():
    error = OSError(28 + 1000, "can't write (file = 'a.h5',\n  errno = 5)\n", "a.h5")
    assert one_line(error) == "can't write (file = 'a.h5', errno = 5): a.h5"
