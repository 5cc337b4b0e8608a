"""The `nbdist` command, one module a subcommand."""
