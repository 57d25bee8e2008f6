"""Plan files: YAML text -> `Plan`, or every problem with its place. Knows no cloud."""
