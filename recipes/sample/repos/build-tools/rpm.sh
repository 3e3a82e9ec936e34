# shellcheck shell=bash
# How RPMs are built: sourced after common.sh, once enter_build was called.

# rpm_build TOPDIR PHASE SPEC [DEFINITION...]: the source RPM of SPEC in TOPDIR/SRPMS
# and then its binary RPMs in TOPDIR/RPMS; a definition is "NAME VALUE" of a macro.
#
# Nothing in them depends on when, where or by whom they are built. A source RPM holds
# its spec file with all macros expanded, so it is made with directories that are all
# called "."; the binary RPMs hold no directory of the build. BuildRequires are not
# looked up in an RPM database, which a Debian host does not have: build-pkgs sees to
# them. Definitions whose name begins with host_ are for the binary RPMs only.
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
