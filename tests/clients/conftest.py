"""Pintle and two stand-in models, as processes, for clients that people use."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import time
import urllib.request

import pytest

PATIENCE_SECONDS = 90.0


def pintle_binary() -> str:
    path = os.environ.get("PINTLE_BIN", "")
    assert path and os.path.isfile(path), "PINTLE_BIN must name the binary (make test sets it)"
    return path


def free_ports(count: int) -> list[int]:
    """Ports that differ: all are held until the last one is known."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def get_json(url: str):
    with urllib.request.urlopen(url, timeout=60) as response:
        return json.load(response)


def wait_for(url: str, process: subprocess.Popen, log: pathlib.Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        assert process.poll() is None, f"the process ended early:\n{log.read_text()}"
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                if response.status == 200:
                    return
        except OSError:
            pass
        assert time.monotonic() < deadline, f"{url} does not answer:\n{log.read_text()}"
        time.sleep(0.02)


class Gateway:
    """A running gateway and its stand-ins."""

    def __init__(self, port: int, models: dict[str, int]):
        self.port = port
        self.base_url = f"http://127.0.0.1:{port}/v1"
        self.origin = f"http://127.0.0.1:{port}"
        self._models = models

    def stats(self, model: str) -> dict:
        return get_json(f"http://127.0.0.1:{self._models[model]}/stand-in/stats")

    def violations(self) -> int:
        return sum(self.stats(model)["violations"] for model in self._models)


def decision(name: str, priority: int, rules: str, models: list[str]) -> str:
    refs = "".join(f"        - model: {model}\n" for model in models)
    return (
        f"    - name: {name}\n      description: {name}\n      priority: {priority}\n      rules: {rules}\n"
        f"      modelRefs:\n{refs}      algorithm:\n        type: session_aware\n        session_aware:\n"
        f"          base_method: static\n          min_turns_before_switch: 0\n"
    )


def configuration(port: int, admin: int, state: pathlib.Path, models: dict[str, int]) -> str:
    """Everyday turns to the small model, hard ones and (but for the lock) tool results to the large one."""
    providers = "".join(
        f"    - name: {name}\n      provider_model_id: {name}\n      backend_refs:\n"
        f"        - name: only\n          endpoint: 127.0.0.1:{models[name]}\n"
        for name in models
    )
    cards = "".join(f"    - name: {name}\n      context_window_size: 131072\n" for name in models)
    return (
        f"version: v0.3\nlisteners:\n  - name: main\n    address: 127.0.0.1\n    port: {port}\n"
        f"providers:\n  defaults:\n    default_model: small\n  models:\n{providers}"
        f"routing:\n  modelCards:\n{cards}  signals:\n    keywords:\n      - name: hard\n        operator: OR\n"
        "        keywords: [prove, derive]\n    conversation:\n      - name: results\n        feature:\n"
        "          type: count\n          source: {type: assistant_tool_cycle}\n        predicate: {gte: 1}\n"
        "  decisions:\n"
        + decision("results", 300, "{operator: AND, conditions: [{type: conversation, name: results}]}", ["large"])
        + decision("hard", 200, "{operator: OR, conditions: [{type: keyword, name: hard}]}", ["large", "small"])
        + decision("everyday", 100, "{operator: AND, conditions: []}", ["small", "large"])
        + f"global:\n  pintle:\n    workers: 2\n    session: {{capacity: 4096}}\n    timeouts: {{connect_ms: 20000}}\n    state_dir: {state}\n    admin:\n"
        f"      listen: 127.0.0.1:{admin}\n      socket: {state}.sock\n"
    )


@pytest.fixture(scope="session")
def gateway(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pintle")
    processes = []

    def start(name: str, url: str, *arguments: str) -> None:
        log = folder / f"{name}.log"
        with log.open("wb") as out:
            process = subprocess.Popen([pintle_binary(), *arguments], stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        processes.append(process)
        wait_for(url, process, log)

    small, large, port, admin = free_ports(4)
    models = {"small": small, "large": large}
    try:
        for name, model_port in models.items():
            listen = f"127.0.0.1:{model_port}"
            start(name, f"http://{listen}/health", "stand-in-model", "--listen", listen, "--model", name)
        config = folder / "config.yaml"
        config.write_text(configuration(port, admin, folder / "state", models))
        state = str(folder / "state")
        start("pintle", f"http://127.0.0.1:{port}/ready", "serve", "--config", str(config), "--state-dir", state)
        yield Gateway(port, models)
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in reversed(processes):
            try:
                process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
