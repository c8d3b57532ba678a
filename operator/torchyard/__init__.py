"""Torchyard: train PyTorch models on Kubernetes and serve them."""

__version__ = "0.1.0"
