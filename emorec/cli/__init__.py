"""The `emorec` command: one short absl app a subcommand."""
