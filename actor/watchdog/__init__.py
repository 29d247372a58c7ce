"""The thread that watches environments which hang or hold the interpreter."""
