"""The gang: meeting, talking, and how the model is spread over its processes."""
