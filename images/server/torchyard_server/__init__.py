"""The inference server: Open Inference Protocol v2 over the ONNX file of an artifact.

    connection ─▶ app ─▶ body ─▶ protocol.rest ─▶ batching ─▶ model ─▶ steps, runtimes.onnx
                   │                                             ▲
                   └── lifecycle ◀── server (socket, signals) ──▶ loading (verify, load, warm up)

The event loop reads and writes; one runner thread computes. Nothing here imports torch.
"""
