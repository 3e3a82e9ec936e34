# shellcheck shell=bash
# A function that builds RPMs: sourced after common.sh and the call of enter_build.

# rpm_build TOPDIR PHASE SPEC [DEFINITION...]: builds the source RPM of SPEC in
# TOPDIR/SRPMS and then its binary RPMs in TOPDIR/RPMS; a definition is "NAME VALUE" of a
# macro.
#
# The packages do not depend on the time, the place or the user of the build. A source
# RPM contains its spec file with all macros expanded, so it is made with directories
# that are all called "."; binary RPMs contain no directory of the build. rpmbuild does
# not check BuildRequires, because a Debian host has no RPM database: build-pkgs does.
# Definitions whose names begin with host_ apply to the binary RPMs only.
rpm_build() {
    local top=$1 phase=$2 spec=$3 definition
    shift 3
    local common=(
        --nodeps
        --define "_rpmfilename %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm"
        --define "_srcrpmdir $top/SRPMS"
        --define "_rpmdir $top/RPMS"
        --define "_tmppath $work"
        --define "_buildshell /bin/bash"
        --define "build_type $phase"
        --define "dist .el7"
        --define "vendor StarlingX"
        --define "_buildhost stx"
        --define "_srcdefattr (-,root,root)"
        --define "use_source_date_epoch_as_buildtime 1"
        --define "clamp_mtime_to_source_date_epoch 1"
        --define "optflags -O2 -Wall -Wextra -fstack-protector-strong"
        --define "debug_package %{nil}"
        --define "_build_id_links none"
        --define "_binary_payload w6.gzdio"
        --define "_source_payload w6.gzdio"
    )
    local host=(--define "_topdir $top")
    for definition in "$@"; do
        if [[ $definition == host_* ]]; then
            host+=(--define "$definition")
        else
            common+=(--define "$definition")
        fi
    done

    mkdir -p "$top"/{SOURCES,SRPMS,RPMS}
    (cd "$top/SOURCES" && rpmbuild -bs "${common[@]}" --define "_topdir ." --define "_sourcedir ." \
        --define "_specdir ." --define "_builddir ." --define "_buildrootdir ." "$spec") &&
        rpmbuild -bb "${common[@]}" "${host[@]}" "$spec"
}
