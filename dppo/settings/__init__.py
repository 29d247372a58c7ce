"""Settings of every command: names, types, layers (defaults < preset < file < environment < flags) and help pages."""
