# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# How software is built from the distribution's source packages, and kept: guest/build and
# scripts/cross-libraries. A script sources this file, sets the variables below, and calls
# open_cache, fetch_sources and then component for each thing that it wants built.
#
# Every component is built once and kept in a cache outside the checkout, in a directory named after
# a hash of all it is made from: the version of the source package, the compiler's version, our
# files, and the recipe itself, the script's function build_NAME. To change how a component is
# built, change its function: it is built anew, and so is whatever contains it.
set -euo pipefail
shopt -s nullglob
umask 022

cache_root=${PERFVISOR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/perfvisor}
kept_per_component=2
title=           # what messages begin with
toolchain=       # the versions of what everything is compiled with
how_to_install=  # a sentence, for where something is missing
refresh=no       # "yes": look whether there are newer source packages
source_packages=()

say() {
    printf '%s: [%4ds] %s\n' "$title" "$SECONDS" "$*"
}

die() {
    printf '%s: %s\n' "$title" "$*" >&2
    exit 1
}

# --- Steps: long commands that show how far they are ---------------------------------------------

# step WHAT COMMAND... runs an external command with its output in $log. On a terminal a line
# rewritten twice a second shows that it lives, otherwise a line every 20 seconds.
step_pid=
step() {
    local what=$1 begun=$SECONDS first next=20 status=0
    shift
    say "$what"
    first=$(wc -l <"$log")
    # A session of its own, so that an interrupt can end the command and all it started.
    setsid "$@" >>"$log" 2>&1 </dev/null &
    step_pid=$!
    while kill -0 "$step_pid" 2>/dev/null; do
        sleep 0.3
        if [[ -t 1 ]]; then
            printf '\r        %4ds  %d lines of output ' \
                $((SECONDS - begun)) $(($(wc -l <"$log") - first))
        elif ((SECONDS - begun >= next)); then
            printf '        %4ds  %d lines of output\n' \
                $((SECONDS - begun)) $(($(wc -l <"$log") - first))
            next=$((next + 20))
        fi
    done
    [[ ! -t 1 ]] || printf '\r%50s\r' ''
    wait "$step_pid" || status=$?
    step_pid=
    ((status == 0)) || failed "$what"
}

# Keeps the log of what went wrong, shows its end, and ends.
failed() {
    local kept=$cache/failed.log
    cp "$log" "$kept"
    tail -n 30 "$kept" >&2
    die "failed: $1 (the whole log: $kept)"
}

work=
clean_up() {
    if [[ -n $step_pid ]]; then
        kill -TERM -- "-$step_pid" 2>/dev/null || true
        wait "$step_pid" 2>/dev/null || true
    fi
    [[ ! -d $work/linux ]] || say "removing the build trees"
    [[ -z $work ]] || rm -rf "$work"
}

# --- The cache -----------------------------------------------------------------------------------

# open_cache NAME: what the script builds is kept in $cache from now on, one build at a time. Steps
# inherit the lock, so that one that outlives a killed build keeps others out until it has ended;
# what such a build leaves behind is removed by the next.
open_cache() {
    cache=$cache_root/$1
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    mkdir -p "$cache" 2>/dev/null || die "cannot make the directory $cache"
    exec {lock}>"$cache/lock"
    if ! flock --nonblock "$lock"; then
        say "another build is at work in $cache: waiting for it"
        flock "$lock"
    fi
    rm -rf "$cache"/work.*
    work=$(mktemp -d "$cache/work.XXXXXX")
    log=$work/log
    : >"$log"
}

# A hash of the recipe, the compiler and everything given.
key() {
    local name=$1
    shift
    { declare -f "build_$name" && printf '%s\n' "$toolchain" "$@"; } | sha256sum | cut -c 1-16
}

# component NAME WHAT INGREDIENT... has NAME built where it is not in the cache: build_NAME fills
# $dest. Its directory is then built[NAME] and its hash hash[NAME].
# shellcheck disable=SC2034  # for the scripts
declare -A built=() hash=()
component() {
    local name=$1 what=$2 directory
    shift 2
    hash[$name]=$(key "$name" "$@")
    directory=$cache/$name/${hash[$name]}
    # shellcheck disable=SC2034
    built[$name]=$directory
    if [[ -d $directory ]]; then
        say "$what: in the cache"
    else
        dest=$work/$name.dest
        mkdir -p "$dest" "$cache/$name"
        "build_$name"
        mv -T "$dest" "$directory" 2>/dev/null || [[ -d $directory ]]
    fi
    touch "$directory"
    forget_old "$name"
}

# Removes all but the components used last.
forget_old() {
    local old
    find "$cache/$1" -mindepth 1 -maxdepth 1 -printf '%T@ %p\n' | sort -rn | cut -d ' ' -f 2- |
        tail -n +$((kept_per_component + 1)) | while IFS= read -r old; do rm -rf "$old"; done
}

# A build sees nothing of the caller's environment but this: a stray CFLAGS, ARCH or MAKEFLAGS would
# otherwise end up in a cache that says it is made of something else.
# shellcheck disable=SC2034  # for the scripts
clean=(env -i PATH="$PATH" HOME=/nonexistent LC_ALL=C)

# --- Sources -------------------------------------------------------------------------------------

# What source_packages names is fetched with apt from the machine's own package sources, read as
# sources of source packages in a private copy: the machine's apt configuration stays as it is. It
# stays as it was fetched first until `refresh` is "yes".
fetch_sources() {
    local id lock_sources
    # shellcheck source=/dev/null
    id=$(. /etc/os-release && echo "$ID-${VERSION_ID:-rolling}")
    sources=$cache_root/sources/$id
    mkdir -p "$cache_root/sources"
    exec {lock_sources}>"$cache_root/sources/lock"
    flock "$lock_sources"
    local package
    local -a wanted=()
    for package in "${source_packages[@]}"; do
        if [[ $refresh == yes ]] || ! compgen -G "$sources/${package}_*.dsc" >/dev/null; then
            wanted+=("$package")
        fi
    done
    if ((${#wanted[@]} > 0)); then
        local apt=$work/apt file
        mkdir -p "$apt"/{parts,lists/partial,cache,got} "$sources"
        for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
            [[ ! -e $file ]] || sed -nE 's/^deb([[:space:]])/deb-src\1/p' "$file" \
                >"$apt/parts/${file##*/}"
        done
        for file in /etc/apt/sources.list.d/*.sources; do
            sed -E 's/^Types:.*/Types: deb-src/I' "$file" >"$apt/parts/${file##*/}"
        done
        local -a apt_get=(env -C "$apt/got" LC_ALL=C apt-get -q
            -o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$apt/parts"
            -o "Dir::State::Lists=$apt/lists" -o "Dir::Cache=$apt/cache"
            -o APT::Sandbox::User=root)
        step "looking for source packages" "${apt_get[@]}" update
        # apt calls it a success where it reached nothing.
        compgen -G "$apt/lists/*_Sources*" >/dev/null ||
            failed "looking for source packages: none of this machine's package sources answers"
        step "fetching the sources of ${wanted[*]}" \
            "${apt_get[@]}" source --download-only --only-source "${wanted[@]}"
        for package in "${wanted[@]}"; do
            rm -f "$sources/${package}"_*
            # The description last: it stands for all of the package's files.
            mv "$apt/got/${package}"_*.tar.* "$sources"
            mv "$apt/got/${package}"_* "$sources"
        done
    fi
    exec {lock_sources}>&-
}

source_version() {
    local -a description=("$sources/$1"_*.dsc)
    ((${#description[@]} == 1)) || die "the source of $1 is not in $sources: try --refresh"
    local version=${description[0]##*/"$1"_}
    echo "${version%.dsc}"
}

# unpack PACKAGE puts its source, with the distribution's patches, into $work/PACKAGE.
unpack() {
    step "unpacking $1" dpkg-source --extract "$sources/$1"_*.dsc "$work/$1"
}

# The kernel's source: the package linux-source-6.1 where the distribution has it, otherwise its
# newest (Ubuntu). Sets linux_tarball and linux_version.
find_linux() {
    local -a found=(/usr/src/linux-source-6.1.tar.xz)
    if [[ ! -e ${found[0]} ]]; then
        mapfile -t found < <(printf '%s\n' /usr/src/linux-source-*.tar.* | sort -rV)
        [[ -n ${found[0]} ]] || die "there is no kernel source in /usr/src: $how_to_install"
    fi
    linux_tarball=${found[0]}
    local name=${linux_tarball##*/}
    name=${name%.tar.*}
    # shellcheck disable=SC2034  # for the scripts
    linux_version="$name $(dpkg-query --show --showformat='${Version}' "$name")"
}
