"""The process of the `nbdist` command, also as `python -m nbdist`: it hears signals before it loads anything that takes time."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback

from nbdist.cli.stopping import EXIT_WRONG, leave, listen, status_of


def main() -> None:
    """Run the command that the arguments name and exit with its status; the entry point of the console script."""
    listen()
    try:
        from nbdist.cli.main import run

        run()
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else EXIT_WRONG
    except BaseException as error:
        interrupted = status_of(error)
        said = traceback.format_exc() if interrupted is None else "nbdist: interrupted\n"
        with contextlib.suppress(OSError):
            os.write(2, said.encode(errors="backslashreplace"))
        status = interrupted or EXIT_WRONG
    leave(status)
    sys.exit(status)


if __name__ == "__main__":
    main()
