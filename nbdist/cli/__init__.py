"""The `nbdist` command, one module a subcommand: it reads options, calls the library, and prints; nothing else prints.

Loading it takes neither numpy nor anything larger: a subcommand imports what it needs when it runs. It may import every other package,
and none imports it. `main` gathers the subcommands and says errors in one line, `stopping` and `streams` see that a command ends in order.
"""
