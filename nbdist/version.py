"""The version of nbdist, said here alone: the distribution, the command, stores and the documentation have it from here."""

__version__ = "0.1.0"
