from __future__ import annotations

import subprocess
import sys


def test_the_server_imports_neither_torch_nor_pydantic_nor_kubernetes() -> None:
    program = (
        "import pkgutil, importlib, sys, torchyard_server as package\n"
        "for module in pkgutil.walk_packages(package.__path__, 'torchyard_server.'):\n"
        "    importlib.import_module(module.name)\n"
        "heavy = {'torch', 'pydantic', 'kubernetes', 'kopf', 'fastapi', 'starlette', 'onnx'}\n"
        "print(*sorted(heavy & sys.modules.keys()), sep=',')\n"
        "print(*sorted(n for n in sys.modules if n.startswith('torchyard.')), sep=',')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    heavy, own = done.stdout.splitlines()
    assert heavy == ""
    assert all(name.startswith("torchyard.artifact") for name in own.split(","))
