"""A fitted model as one ONNX file: made, checked against PyTorch, and served without it."""
