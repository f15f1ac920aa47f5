# shellcheck shell=bash
# What the scripts share: where the repository is, how to speak, how to fail, how to call cargo undisturbed.
#
# Invariant: sourcing this file only defines things; it builds, writes and prints nothing.

# shellcheck disable=SC2034 # used by those who source this
# The repository's root, whatever the current directory and however the script was called.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

# Speaks on stderr, so that a script's stdout stays data.
say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# Says why, and ends the script.
die() {
    say "$*"
    exit 1
}

# Where things live that are dear to make and safe to delete.
cache_dir() { printf '%s\n' "${CORACLE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/coracle}"; }

# Forgets what a surrounding build (cargo test, cargo clippy, a CI job) has set for itself: our
# packages have their own flags, profile and target directory, and must come out the same everywhere.
forget_outer_cargo() {
    unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS RUSTC_BOOTSTRAP RUSTC_WORKSPACE_WRAPPER \
        CARGO_BUILD_TARGET CARGO_TARGET_DIR CARGO_BUILD_TARGET_DIR CARGO_BUILD_BUILD_DIR \
        "${!CARGO_PROFILE_@}" "${!CARGO_TARGET_WASM32_WASIP2_@}"
}

# Flags as CARGO_ENCODED_RUSTFLAGS takes them; unlike RUSTFLAGS, it survives a space in a path.
encode_flags() { (IFS=$'\x1f' && printf '%s' "$*"); }
