"""C++ for this machine: sources of any package become libraries, compiled once, kept in private folders, and loaded from nowhere else."""
