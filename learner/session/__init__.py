"""The learner's side of the protocol without I/O: messages and clock readings in, actions out."""
