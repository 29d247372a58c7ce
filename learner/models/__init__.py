"""Networks, their distributions, and the ONNX graph that actors run. Imports no room above."""
