#!/usr/bin/env bash
# The house's rules, held against what cargo says of the workspace and against the sources. See
# ARCHITECTURE.md. Says every breach, and fails if there is one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

breaches=0
breach() { echo "layers: $*"; breaches=$((breaches + 1)); }

# Which room may use which, of our own. A room that is missing here may not exist.
declare -A may_use=(
    [model]=""
    [policy]="model"
    [validation]="model"
    [keys]="model"
    [store]="model"
    [connectors]="model"
    [runtime]="model"
    [rotation]="model policy"
    [agents]="model policy validation keys store connectors runtime rotation"
    [api]="model policy agents"
    [app]="model policy validation keys store connectors runtime rotation agents api"
)
declare -A floor=(
    [model]=0 [policy]=1 [validation]=1 [keys]=1 [store]=1 [connectors]=1 [runtime]=1
    [rotation]=2 [agents]=3 [api]=4 [app]=5
)

package() { if [[ $1 == app ]]; then echo pentad; else echo "pentad-$1"; fi; }
room() { case $1 in pentad) echo app ;; *) echo "${1#pentad-}" ;; esac; }

# Names of the packages that a room depends on: KIND is cargo tree's `normal,build` or `dev`. Asked
# beforehand, because a failure inside a pipe would look like "depends on nothing".
trees=$(mktemp -d)
trap 'rm -rf "$trees"' EXIT
ask_cargo() { # ROOM FILE ARGUMENT...
    local name=$1 file=$2
    shift 2
    cargo tree --locked --quiet -p "$(package "$name")" --all-features --prefix none \
        --format '{p}' "$@" >"$trees/$name.$file" ||
        { echo "layers: cargo can't say what $name depends on"; exit 1; }
}
for directory in crates/*/; do
    name=$(basename "$directory")
    ask_cargo "$name" direct -e normal,build --depth 1
    ask_cargo "$name" dev -e dev --depth 1
    ask_cargo "$name" all -e normal,build
done
ours() { awk '{ print $1 }' "$trees/$1" | grep -E '^pentad(-|$)' | sort -u; }

# Sources of a room without its tests: whole test files, and test modules at the end of a file.
sources() { # ROOM
    find "crates/$1/src" -name '*.rs' -not -path '*/tests/*' -not -name 'tests.rs' -not -name 'testing.rs'
}
search() { # PATTERN ROOM...
    local pattern=$1 one file
    shift
    for one in "$@"; do
        while read -r file; do
            awk -v pattern="$pattern" -v file="$file" '
                /^#\[cfg\(test\)\]/ { gate = NR }
                gate && NR <= gate + 1 && /^(pub )?mod .*\{/ { exit }
                $0 ~ pattern && $0 !~ /^[ \t]*\/\// { printf "%s:%d: %s\n", file, NR, $0 }
            ' "$file"
        done < <(sources "$one")
    done
}
forbid() { # RULE PATTERN ROOM...
    local rule=$1 found
    shift
    found=$(search "$@")
    [[ -z $found ]] || breach "$rule:"$'\n'"$found"
}

# ---- who uses whom --------------------------------------------------------------------------

for directory in crates/*/; do
    name=$(basename "$directory")
    [[ -v may_use[$name] ]] || { breach "crates/$name is no room of the house; see ARCHITECTURE.md"; continue; }
    while read -r used; do
        [[ $(room "$used") == "$name" ]] && continue
        [[ " ${may_use[$name]} " == *" $(room "$used") "* ]] ||
            breach "$name uses $(room "$used"); it may use: ${may_use[$name]:-nothing of ours}"
    done < <(ours "$name.direct")
    # Tests may reach sideways no further than their own floor allows: never upwards.
    while read -r used; do
        other=$(room "$used")
        [[ $other == "$name" || ${floor[$other]} -lt ${floor[$name]} ]] ||
            breach "the tests of $name use $other, which is not below it"
    done < <(ours "$name.dev")
done

# ---- what a room must not be able to do -----------------------------------------------------

cannot() { # ROOM WHAT PACKAGE...
    local name=$1 what=$2 found package
    shift 2
    found=$(awk '{ print $1 }' "$trees/$name.all" | sort -u)
    for package in "$@"; do
        ! grep -qx "$package" <<<"$found" || breach "$name can $what: it depends on $package"
    done
}
databases=(rusqlite libsqlite3-sys pentad-store)
network=(tokio mio socket2 hyper reqwest tokio-postgres mysql_async redis rustls)

cannot store "open secrets" pentad-keys argon2 scrypt
cannot rotation "reach out or open secrets" pentad-keys pentad-store pentad-connectors tokio
cannot connectors "touch the store" "${databases[@]}" pentad-keys
for pure in model policy validation; do
    cannot "$pure" "do I/O" "${network[@]}" "${databases[@]}"
done

forbid "policy, validation and rotation do no I/O and have no threads" \
    'std::(net|fs|process|thread)|tokio::' policy validation rotation
forbid "policy, validation and rotation have no clock of their own" \
    'SystemTime|Instant::now|Timestamp::now\\(' policy validation rotation
found=$(search 'SystemTime::now|Zoned::now|Timestamp::now\\(|Utc::now' "${!may_use[@]}" | grep -v '^crates/model/src/clock.rs:' || true)
[[ -z $found ]] || breach "only model/src/clock.rs asks for the time of day; take a Clock:"$'\n'"$found"
forbid "queues are bounded and push back" 'unbounded_channel|mpsc::unbounded|std::sync::mpsc::channel' "${!may_use[@]}"
below_app=(model policy validation keys store connectors runtime rotation agents api)
forbid "only app reads the environment" 'std::env::|[^a-z_]env::(var|vars|args|current_dir)' "${below_app[@]}"

# ---- unsafe ---------------------------------------------------------------------------------

for directory in crates/*/; do
    grep -A1 '^\[lints\]' "$directory/Cargo.toml" | grep -q '^workspace = true' ||
        breach "$directory does not take the workspace's lints"
done
found=$(grep -rnE 'unsafe_code|unsafe (fn|impl|trait|\{|extern)|#\[unsafe' crates --include='*.rs' | grep -vE '^crates/app/src/hardening(\.rs|/)|^[^:]+:[0-9]+: *//' || true)
[[ -z $found ]] || breach "unsafe outside crates/app/src/hardening.rs:"$'\n'"$found"

if ((breaches)); then
    echo "layers: $breaches breaches"
    exit 1
fi
echo "layers: the rules hold over $(find crates -mindepth 1 -maxdepth 1 -type d | wc -l) rooms"
