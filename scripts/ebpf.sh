#!/usr/bin/env bash
# The eBPF objects in ebpf/prebuilt.
#
#   check     the objects are those of SHA256SUMS, and were built from these sources
#   setup     installs compiler and linker: Debian packages, and bpf-linker into .tools/ebpf
#   build     builds the objects into TARGET/ebpf/objects
#   install   build, and put the objects with their sums and BUILDINFO into ebpf/prebuilt
#   verify    build, and compare: with the toolchain of BUILDINFO the bytes must be the same; with another one the
#             fresh objects must pass the tests that load them
#
# Exit status 77: what is needed cannot be had here; the last line says why.
set -euo pipefail
cd "$(dirname "$0")/.."

root=$PWD
prebuilt=$root/ebpf/prebuilt
tools=$root/.tools/ebpf
target=${CARGO_TARGET_DIR:-$root/target}
objects=(steer guard telemetry retransmit)
linker_version=0.13.0
# Debian's build of rustc has the standard library for BPF beside it; rustup's has not.
rustc=/usr/bin/rustc
log=$target/ebpf/log

say() { echo "ebpf: $*"; }
skip() {
  if [[ -s $log ]]; then tail -n 5 "$log"; fi
  echo "$*"
  exit 77
}

# Digest of everything that the objects are made of.
sources() {
  (cd ebpf && find programs common -name target -prune -o \
    \( -name '*.rs' -o -name Cargo.toml -o -path programs/Cargo.lock \) -print0 |
    LC_ALL=C sort -z | xargs -0 sha256sum) | sha256sum | cut -d ' ' -f 1
}

buildinfo() {
  echo "rustc: $($rustc -V)"
  echo "llvm: $($rustc -vV | sed -n 's/^LLVM version: //p')"
  echo "bpf-linker: $linker_version"
}

check() {
  (cd "$prebuilt" && sha256sum --check --strict --quiet SHA256SUMS)
  local name
  for name in "${objects[@]}"; do grep -q " $name\.bpf\.o\$" "$prebuilt/SHA256SUMS"; done
  local recorded
  recorded=$(sed -n 's/^sources: //p' "$prebuilt/BUILDINFO")
  if [[ $recorded != "$(sources)" ]]; then
    say "the sources have changed since the objects were built: make ebpf"
    return 1
  fi
  say "the objects are those of SHA256SUMS and of these sources"
}

setup() {
  mkdir -p "$target/ebpf" "$tools/llvm/lib"
  : >"$log"
  if [[ ! -d /usr/lib/rustlib/bpfel-unknown-none || ! -x $rustc ]]; then
    command -v apt-get >/dev/null || skip "no Debian packages here, which the compiler for BPF comes from"
    local as_root=()
    if [[ $(id -u) != 0 ]]; then
      as_root=(sudo -n)
      sudo -n true 2>/dev/null || skip "rustc-web and libstd-rust-web-dev-bpf are not installed, and only root can"
    fi
    say "installing rustc-web and libstd-rust-web-dev-bpf (120 MB)"
    { timeout 120 "${as_root[@]}" apt-get update -qq &&
      timeout 300 "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        rustc-web libstd-rust-web-dev-bpf; } >"$log" 2>&1 ||
      skip "rustc-web and libstd-rust-web-dev-bpf cannot be installed from here"
  fi
  local major library
  major=$($rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
  library=$(find /usr/lib -name "libLLVM.so.$major*" | LC_ALL=C sort | tail -n 1)
  [[ -n $library ]] || skip "there is no libLLVM $major beside $rustc"
  ln -sf "$library" "$tools/llvm/lib/libLLVM.so"
  if [[ ! -x $tools/bin/bpf-linker || $(cat "$tools/built-for" 2>/dev/null) != "$linker_version llvm-$major" ]]; then
    cargo fetch --quiet --locked --manifest-path ebpf/programs/Cargo.toml >"$log" 2>&1 ||
      skip "crates.io cannot be reached from here"
    say "building bpf-linker $linker_version for LLVM $major into .tools (two minutes, once)"
    LLVM_PREFIX=$tools/llvm CARGO_TARGET_DIR=$target/ebpf/linker cargo install bpf-linker \
      --version "$linker_version" --locked --no-default-features --features "llvm-$major" --force --quiet \
      --root "$tools" --config 'profile.release.debug=false' >"$log" 2>&1 ||
      skip "bpf-linker $linker_version cannot be built for LLVM $major here"
    rm -rf "$target/ebpf/linker"
    echo "$linker_version llvm-$major" >"$tools/built-for"
  fi
  : >"$log"
}

build() {
  setup
  local registry unit=$'\x1f' crates="" name out=$target/ebpf/objects
  cargo fetch --quiet --locked --manifest-path ebpf/programs/Cargo.toml >"$log" 2>&1 ||
    skip "crates.io cannot be reached from here"
  # One folder for each place that crates were fetched from: by other cargos, or from a mirror.
  for registry in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do
    crates+="${unit}--remap-path-prefix=$registry=/crates"
  done
  # aya-ebpf and our own library use features of the compiler that are not stable. Paths are taken out, so that the
  # bytes depend on sources and toolchain only.
  (
    cd ebpf/programs
    PATH=$tools/bin:$PATH RUSTC=$rustc RUSTC_BOOTSTRAP=aya_ebpf,pintle_ebpf_programs \
      CARGO_TARGET_DIR=$target/ebpf/build CARGO_INCREMENTAL=0 \
      CARGO_ENCODED_RUSTFLAGS="--cfg=bpf_target_arch=\"x86_64\"${unit}-Cdebuginfo=2${unit}-Clink-arg=--btf${unit}--remap-path-prefix=$root/ebpf=/pintle/ebpf$crates" \
      cargo build --quiet --release --locked --target bpfel-unknown-none
  )
  mkdir -p "$out"
  local strip
  strip=$(command -v llvm-objcopy || find /usr/bin /usr/lib -name 'llvm-objcopy*' 2>/dev/null | head -n 1)
  [[ -n $strip ]] || skip "llvm-objcopy is missing (package llvm)"
  for name in "${objects[@]}"; do
    "$strip" --strip-debug "$target/ebpf/build/bpfel-unknown-none/release/$name" "$out/$name.bpf.o"
  done
  say "built $(ls "$out" | tr '\n' ' ')in $out"
}

install_objects() {
  build
  local name
  for name in "${objects[@]}"; do install -m 0644 "$target/ebpf/objects/$name.bpf.o" "$prebuilt/$name.bpf.o"; done
  (cd "$prebuilt" && sha256sum "${objects[@]/%/.bpf.o}" >SHA256SUMS)
  {
    buildinfo
    echo "sources: $(sources)"
  } >"$prebuilt/BUILDINFO"
  say "installed into ebpf/prebuilt"
}

verify() {
  check
  build
  local name differs=()
  for name in "${objects[@]}"; do
    cmp -s "$target/ebpf/objects/$name.bpf.o" "$prebuilt/$name.bpf.o" || differs+=("$name")
  done
  if ((${#differs[@]} == 0)); then
    say "built anew from the sources, the objects are the same, byte for byte"
    return
  fi
  if diff <(buildinfo) <(grep -v '^sources: ' "$prebuilt/BUILDINFO"); then
    say "the toolchain is that of BUILDINFO, and these objects differ: ${differs[*]}"
    return 1
  fi
  say "another toolchain than BUILDINFO's made other bytes (${differs[*]}); testing those"
  PINTLE_EBPF_OBJECTS=$target/ebpf/objects CARGO_TARGET_DIR=$target/ebpf/tests cargo test --quiet -p pintle-ebpf
}

case ${1:-} in
  check | setup | build | verify) "$1" ;;
  install) install_objects ;;
  *)
    sed -n '2,12s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
