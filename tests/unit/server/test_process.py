"""The server as it runs in a pod: a process with an environment, signals and last words."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.http.aio import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from tests.unit.server import artifacts
from tests.unit.server.client import ask, get
from tests.unit.server.process import ServerProcess, eventually_status, metrics

INFER = "/v2/models/reviews/infer"


def texts(*values: str) -> dict[str, object]:
    entry = {"name": "text", "datatype": "BYTES", "shape": [len(values)], "data": list(values)}
    return {"inputs": [entry]}


async def test_from_start_to_answer_to_end(tmp_path: Path) -> None:
    directory = tmp_path / "artifact"
    manifest = artifacts.text_artifact(directory)
    variables = {"MODEL_DIGEST": manifest.digest, "MODEL_VERSION": "3"}
    async with ServerProcess(directory, **variables) as server:
        port = await server.ready()
        response = await ask(port, INFER, texts("good good film", "so bad"))
        assert response.status == 200
        outputs = {output["name"]: output for output in response.json()["outputs"]}
        assert outputs["label"]["data"] == ["positive", "negative"]
        assert outputs["probabilities"]["shape"] == [2, 2]

        series = await metrics(port)
        labels = f'digest="{manifest.digest}",model="reviews",version="3"'
        assert series[f"torchyard_server_model_info{{{labels}}}"] == 1
        assert series["torchyard_server_ready"] == 1
        assert series['torchyard_server_requests_total{code="200"}'] == 1
        assert series["torchyard_server_request_seconds_count"] == 1
        assert series["torchyard_server_batch_size_sum"] == 2

        server.terminate()
        assert await server.exit_code() == 0
        messages = [line["message"] for line in server.logs]
        assert messages == [
            "listening",
            "the model is ready",
            "draining",
            "all requests have been answered",
        ]
        assert not server.termination_log.exists()


async def test_nothing_is_reported_to_anybody(tmp_path: Path) -> None:
    directory = tmp_path / "artifact"
    artifacts.text_artifact(directory)
    async with ServerProcess(directory) as server:
        port = await server.ready()
        assert (await ask(port, INFER, texts("good"))).status == 200
        # onnxruntime collects its reports in a database.
        assert [path for path in server.open_files() if path.endswith(".db")] == []


async def test_the_client_of_another_server_understands_it(tmp_path: Path) -> None:
    artifacts.text_artifact(tmp_path)
    async with ServerProcess(tmp_path, MODEL_VERSION="3") as server, AsyncExitStack() as stack:
        client: Any = InferenceServerClient(f"127.0.0.1:{await server.ready()}")
        stack.push_async_callback(client.close)
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("reviews")
        assert await client.is_model_ready("reviews", "3")
        assert not await client.is_model_ready("other")
        assert (await client.get_server_metadata())["name"] == "torchyard"
        metadata = await client.get_model_metadata("reviews", "3")
        assert metadata["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]

        values = np.array(["good", "bäd bad"], np.object_)
        given = InferInput("text", [2], "BYTES")
        given.set_data_from_numpy(values, binary_data=False)
        wanted = [
            InferRequestedOutput("label", binary_data=False),
            InferRequestedOutput("probabilities", binary_data=False),
        ]
        result = await client.infer("reviews", [given], "3", wanted, request_id="7")
        assert result.get_response()["id"] == "7"
        assert result.as_numpy("label").tolist() == ["positive", "negative"]
        probabilities = result.as_numpy("probabilities")
        assert probabilities.dtype == np.float32
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
        # Without a word about outputs the client asks for binary ones, and takes JSON as well.
        assert (await client.infer("reviews", [given])).as_numpy("label").shape == (2,)

        given.set_data_from_numpy(values, binary_data=True)
        with pytest.raises(InferenceServerException, match="send data as JSON"):
            await client.infer("reviews", [given])
        wrong = InferInput("text", [2, 1], "BYTES")
        wrong.set_data_from_numpy(values.reshape(2, 1), binary_data=False)
        with pytest.raises(InferenceServerException, match=r"'text': shape \[2, 1\] has 2 axes"):
            await client.infer("reviews", [wrong])


async def test_one_altered_byte_is_never_served(tmp_path: Path) -> None:
    directory = tmp_path / "artifact"
    manifest = artifacts.text_artifact(directory)
    content = bytearray((directory / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (directory / "model.onnx").write_bytes(content)
    async with ServerProcess(directory, MODEL_DIGEST=manifest.digest) as server:
        assert await server.exit_code() == 65
    words = server.last_words()
    assert words.pop("message").startswith("model.onnx: sha256 is ")
    assert words == {
        "contractVersion": 1,
        "outcome": "ArtifactCorrupt",
        "file": "model.onnx",
        "exitCode": 65,
    }
    assert server.logs[-1]["level"] == "error"


async def test_an_artifact_of_another_digest_is_never_served(tmp_path: Path) -> None:
    directory = tmp_path / "artifact"
    artifacts.text_artifact(directory)
    async with ServerProcess(directory, MODEL_DIGEST="sha256:" + "0" * 64) as server:
        assert await server.exit_code() == 65
    assert server.last_words()["file"] == "manifest.json"


async def test_an_artifact_that_is_not_there(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path / "nowhere") as server:
        assert await server.exit_code() == 65
    assert server.last_words()["outcome"] == "ArtifactCorrupt"
    assert "mount the artifact there" in server.last_words()["message"]


async def test_a_model_that_cannot_be_loaded(tmp_path: Path) -> None:
    directory = tmp_path / "artifact"
    artifacts.write(directory, b"no protobuf", artifacts.NUMERIC_SIGNATURE)
    async with ServerProcess(directory) as server:
        assert await server.exit_code() == 70
    assert server.last_words()["outcome"] == "LoadFailed"
    assert server.last_words()["file"] == "model.onnx"


async def test_a_wrong_environment(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path / "artifact", PORT="tcp://10.0.0.1:80") as server:
        assert await server.exit_code() == 78
    assert server.last_words()["outcome"] == "ConfigInvalid"
    assert "TORCHYARD_PORT" in server.last_words()["message"]


async def test_a_port_that_is_taken(tmp_path: Path) -> None:
    directory = tmp_path / "artifact"
    artifacts.text_artifact(directory)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with ServerProcess(directory, PORT=taken.getsockname()[1]) as server:
            assert await server.exit_code() == 78
    assert "cannot be opened" in server.last_words()["message"]


async def test_last_words_that_cannot_be_written_change_nothing(tmp_path: Path) -> None:
    log = tmp_path / "no" / "such" / "place"
    async with ServerProcess(tmp_path / "nowhere", TERMINATION_LOG=log) as server:
        assert await server.exit_code() == 65


async def test_the_socket_is_open_and_live_before_the_model_is_loaded(tmp_path: Path) -> None:
    directory = tmp_path / "artifact"
    artifacts.text_artifact(directory)
    async with ServerProcess(directory) as server:
        port = await server.port()
        assert (await get(port, "/v2/health/live")).status == 200
        assert (await get(port, "/v2/health/ready")).status in (200, 503)
        await server.ready()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_told_to_stop_before_it_is_ready(tmp_path: Path, number: int) -> None:
    directory = tmp_path / "artifact"
    artifacts.text_artifact(directory)
    with (directory / "model.safetensors").open("r+b") as file:
        file.truncate(2**33)  # sparse, and of another size: refused at once
    manifest = (directory / "manifest.json").read_text()
    assert '"size":7' in manifest
    (directory / "manifest.json").write_text(manifest.replace('"size":7', f'"size":{2**33}'))
    async with ServerProcess(directory, DRAIN_SECONDS="60") as server:
        port = await server.port()
        assert (await get(port, "/v2/health/ready")).status == 503
        server.terminate(number)
        assert await server.exit_code() == 0  # without hashing 8 GiB first, or waiting a minute


async def test_told_to_stop_while_it_imports(tmp_path: Path) -> None:
    (tmp_path / "uvloop.py").write_text("import time\nprint(flush=True)\ntime.sleep(60)\n")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "torchyard_server", env={"PYTHONPATH": path}, stdout=PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        await process.stdout.readline()
        process.terminate()
        assert await process.wait() == 0


async def test_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    artifacts.text_artifact(tmp_path)
    async with ServerProcess(tmp_path, DRAIN_SECONDS="60") as server:
        await server.ready()
        server.terminate(signal.SIGINT)
        assert await server.exit_code() == 0


async def test_a_second_signal_does_no_harm(tmp_path: Path) -> None:
    artifacts.text_artifact(tmp_path)
    async with ServerProcess(tmp_path, DRAIN_SECONDS="0.5") as server:
        port = await server.ready()
        server.terminate()
        await eventually_status(port, "/v2/health/ready", 503)
        server.terminate()
        server.terminate(signal.SIGINT)
        assert (await ask(port, INFER, texts("good"))).status == 200
        assert await server.exit_code() == 0
