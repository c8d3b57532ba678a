"""The finished model as files: written, checked against the model on real samples, published."""
