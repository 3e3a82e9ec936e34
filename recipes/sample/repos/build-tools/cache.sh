# shellcheck shell=bash
# The cache of downloads, which is kept between builds: sourced after common.sh.
#
# It is STX_BUILDS_CACHE, by default stx-builds in the user's cache directory.
# shellcheck disable=SC2034 # for the tools that source this
cache=${STX_BUILDS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/stx-builds}

# intact DIR: succeeds if the files in DIR have the recorded checksums.
intact() {
    [[ -f $1/SHA256SUMS ]] && (cd "$1" && sha256sum --check --quiet --strict SHA256SUMS)
}
