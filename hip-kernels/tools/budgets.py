#!/usr/bin/env python3
"""What each kernel takes on each target, from the compiler's metadata and the disassembly.

budgets.py DIR --write FILE   writes the table
budgets.py DIR --check FILE   fails if a kernel takes more registers or shared memory than the table allows, runs fewer
                              waves, spills, uses scratch memory, or has lost its matrix instructions
budgets.py DIR --markdown FILE   fails unless FILE holds the table; without FILE prints it
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

WAVES_PER_BLOCK = 4
# Vector registers per lane of a SIMD unit, their allocation granule, most waves per SIMD, shared bytes of the unit that
# a block occupies, SIMD units in it. LLVM's AMDGPU back end (AMDGPUBaseInfo) uses the same figures.
MACHINES = {
    "gfx90a": (512, 8, 8, 65536, 4),
    "gfx942": (512, 8, 8, 65536, 4),
    "gfx950": (512, 8, 8, 163840, 4),
    "gfx1100": (1536, 24, 16, 131072, 4),
    "gfx1201": (1536, 24, 16, 131072, 4),
}
MATRIX = re.compile(r"^\s+v_(?:mfma|wmma|swmmac)_")
NEEDS_MATRIX = re.compile(r"pk_(?:gemm|attention)")
FIELDS = ("vgpr", "sgpr", "lds", "waves", "matrix", "instructions")


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def metadata(path):
    """Name -> fields of the AMDGPU note, for each kernel."""
    kernels, current = {}, None
    for line in run("llvm-readelf-22", "--notes", str(path)).splitlines():
        if line.startswith("  - ."):
            current = {}
            line = "   " + line[3:]
        found = re.match(r"^ {4}\.(\w+): +(\S+)$", line)
        if current is not None and found:
            current[found[1]] = found[2]
            if found[1] == "name":
                kernels[found[2]] = current
    return kernels


def instructions(path):
    """Name -> (instructions, matrix instructions)."""
    counts, name = {}, None
    for line in run("llvm-objdump-22", "-d", "--no-show-raw-insn", str(path)).splitlines():
        if found := re.match(r"^[0-9a-f]+ <(\w+)>:", line):
            name = found[1]
            counts[name] = [0, 0]
        elif name and re.match(r"^\s+[a-z]", line) and "s_code_end" not in line:
            counts[name][0] += 1
            counts[name][1] += bool(MATRIX.match(line))
    return counts


def waves_per_simd(target, vgpr, lds):
    registers, granule, most, shared, simds = MACHINES[target]
    waves = min(most, registers // (-(-max(vgpr, 1) // granule) * granule))
    if lds:
        waves = min(waves, max(1, shared // lds * WAVES_PER_BLOCK // simds))
    return waves


def measure(directory):
    table, faults = {}, []
    for path in sorted(Path(directory).glob("*.co")):
        target = path.stem
        counts = instructions(path)
        table[target] = {}
        for name, found in sorted(metadata(path).items()):
            vgpr = int(found["vgpr_count"]) + int(found.get("agpr_count", 0))
            lds = int(found["group_segment_fixed_size"])
            total, matrix = counts[name]
            table[target][name] = dict(
                zip(FIELDS, (vgpr, int(found["sgpr_count"]), lds, waves_per_simd(target, vgpr, lds), matrix, total))
            )
            for fault in ("private_segment_fixed_size", "sgpr_spill_count", "vgpr_spill_count"):
                if int(found[fault]):
                    faults.append(f"{target} {name}: {fault} is {found[fault]}")
            if found["uses_dynamic_stack"] != "false":
                faults.append(f"{target} {name}: uses a dynamic stack")
            if NEEDS_MATRIX.match(name) and matrix == 0:
                faults.append(f"{target} {name}: no matrix instruction")
    return table, faults


def write(table, path):
    lines = [
        "# What each kernel may take: registers of a lane, shared bytes of a block, waves per SIMD unit at least, matrix",
        "# instructions in its code at least. Scratch memory and spills are never allowed. scripts/hip.sh build rewrites this.",
    ]
    for target, kernels in table.items():
        lines += ["", f"[{target}]"]
        for name, v in kernels.items():
            fields = ", ".join(f"{f} = {v[f]}" for f in FIELDS)
            lines.append(f"{name} = {{ {fields} }}")
    Path(path).write_text("\n".join(lines) + "\n")


def check(table, path):
    allowed = tomllib.loads(Path(path).read_text())
    faults = []
    if {t: set(k) for t, k in table.items()} != {t: set(k) for t, k in allowed.items()}:
        faults.append("the table lists other targets or kernels: scripts/hip.sh build")
    for target, kernels in table.items():
        for name, got in kernels.items():
            limit = allowed.get(target, {}).get(name)
            if limit is None:
                continue
            for field in ("vgpr", "sgpr", "lds"):
                if got[field] > limit[field]:
                    faults.append(f"{target} {name}: {field} {got[field]}, allowed {limit[field]}")
            for field in ("waves", "matrix"):
                if got[field] < limit[field]:
                    faults.append(f"{target} {name}: {field} {got[field]}, at least {limit[field]}")
    return faults


def markdown(table):
    lines = ["| kernel | " + " | ".join(table) + " |", "|---|" + "---|" * len(table)]
    for name in next(iter(table.values())):
        cells = [f"{k[name]['vgpr']} / {k[name]['lds']} / {k[name]['waves']}" for k in table.values()]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    if len(sys.argv) < 3 or (sys.argv[2] in ("--write", "--check") and len(sys.argv) != 4):
        sys.exit(__doc__)
    table, faults = measure(sys.argv[1])
    if not table:
        sys.exit(f"no code objects in {sys.argv[1]}")
    if sys.argv[2] == "--write":
        write(table, sys.argv[3])
    elif sys.argv[2] == "--check":
        faults += check(table, sys.argv[3])
    elif len(sys.argv) == 3:
        print(markdown(table))
    elif markdown(table) not in Path(sys.argv[3]).read_text():
        faults.append(f"{sys.argv[3]} holds other figures than budgets.py --markdown prints")
    for fault in faults:
        print(fault)
    if not faults and sys.argv[2] == "--check":
        print(f"{sum(map(len, table.values()))} kernels on {len(table)} targets are within their budgets")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
