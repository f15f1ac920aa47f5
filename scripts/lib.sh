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

# Runs FILL in a new folder that then takes the place of PLACE, unless PLACE was filled for the same VERSION before.
# What was cut off is not taken for whole. FILL is given the version; what it says is kept beside.
keep_whole() { # PLACE VERSION FILL
    local place=$1 version=$2 fill=$3
    if [ "$(cat "$place/.version" 2>/dev/null)" = "$version" ]; then return 0; fi
    rm -rf "$place" "$place.new"
    mkdir -p "$place.new"
    say "installing $version"
    if (cd "$place.new" && "$fill" "$version" >"$place.log" 2>&1) && printf '%s\n' "$version" >"$place.new/.version"; then
        mv "$place.new" "$place"
    else
        say "could not install $version: $(tail -n 3 "$place.log" 2>/dev/null | tr '\n' ' ')"
        return 1
    fi
}

# Where Debian's machines keep the keys that its packages are signed with.
debian_keys=/usr/share/keyrings/debian-archive-keyring.gpg

# Makes a view, in FOLDER, of other suites of the mirrors that this machine already uses, and sets `apt` to the options
# that apt takes to look through it. The system's own lists stay as they are.
debian_view() { # FOLDER SUITE...
    local folder=$1 suite sites codename mirror security site
    shift
    [ -e "$debian_keys" ] || return 1
    # shellcheck disable=SC2016 # the variables are apt's
    sites=$(apt-get indextargets --format '$(SITE) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' | sort -u) || return 1
    codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME%%/*}")
    mirror=$(awk -v c="$codename" '$3=="main" && ($2==c || $2 ~ /^(stable|testing|unstable|sid)$/) {print $1; exit}' <<<"$sites")
    security=$(awk '$3=="main" && $2 ~ /-security$/ {print $1; exit}' <<<"$sites")
    [ -n "$mirror" ] || return 1
    mkdir -p "$folder"/{lists/partial,cache/archives/partial}
    for suite in "$@"; do
        if [[ $suite == *-security ]]; then site=$security; else site=$mirror; fi
        [ -z "$site" ] || printf 'deb [signed-by=%s] %s %s main\n' "$debian_keys" "$site" "$suite"
    done >"$folder/sources.list"
    apt=(-o "Dir::State::Lists=$folder/lists" -o "Dir::Cache=$folder/cache" -o "Dir::Etc::sourcelist=$folder/sources.list"
        -o Dir::Etc::sourceparts=/dev/null -o APT::Sandbox::User=root -o Acquire::Languages=none)
    # A mirror may lack one of the suites; what the others have is enough.
    apt-get "${apt[@]}" -qq update >&2 || say "not every suite could be read; going on with the others"
}
