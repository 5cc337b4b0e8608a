"""`python -m nbdist` is the `nbdist` command."""

from nbdist.cli.main import run

if __name__ == "__main__":
    run()
