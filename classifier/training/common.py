"""Where things lie, and what every script shares."""

import hashlib
import os
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
CACHE = pathlib.Path(os.environ.get("PINTLE_TRAINING_CACHE", REPOSITORY / "target" / "training"))
UNPACKED = CACHE / "packages"
OWN = HERE / "data"
MODEL = HERE.parent / "models" / "embedded.pcm"
SEED = 20261121


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def package(name):
    """The folder into which `fetch.py` unpacked a package."""
    path = UNPACKED / name
    if not path.is_dir():
        raise SystemExit(f"{path} is missing: run fetch.py")
    return path


def stable(text):
    """A number that depends on the text alone: for splits and samples that stay as they are when data grow."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
