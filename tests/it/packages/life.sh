#!/usr/bin/env bash
# Installs a package on a server by docs/install.md, configures and starts the service, requests a build, upgrades and removes the package.
#
# Runs in the system that root.sh makes, with the package in /files and its kind in /files/kind.
set -xeuo pipefail
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
trap 'systemctl status --no-pager --full stx-builds || true; journalctl --no-pager -u stx-builds || true' ERR
kind=$(cat /files/kind)
package=$(echo /files/*."$kind")
conf=/etc/stx-builds/stx-builds.toml

fails() {
    if "$@"; then
        echo "this should fail: $*"
        return 1
    fi
}

# until_true COMMAND...: waits until COMMAND succeeds, 2 minutes at most.
until_true() {
    for _ in $(seq 600); do
        if "$@"; then return 0; fi
        sleep 0.2
    done
    echo "not in time: $*"
    return 1
}

case $kind in
deb)
    install_it() { dpkg --install "$package"; }
    upgrade_it() { dpkg --install "$package"; }
    verify_it() { dpkg --verify stx-builds; }
    remove_it() { dpkg --remove stx-builds; }
    ;;
rpm)
    # On a system without rpm packages, the database of rpm is empty: a package stands for the installed dependencies.
    if ! rpm -q --whatprovides systemd; then
        libraries=$(ldconfig -p | sed -nE 's#^.*(ld-linux|libc\.|libm\.|libgcc_s\.).* => ##p')
        mkdir /tmp/base
        {
            printf 'Name: base\nVersion: 1\nRelease: 1\nSummary: What the system has\nLicense: none\nBuildArch: %s\nAutoReqProv: no\n' "$(uname -m)"
            printf 'Provides: %s\n' /bin/sh /bin/bash bash git-core systemd 'rtld(GNU_HASH)'
            printf '%s\n' "$libraries" | /usr/lib/rpm/find-provides | sed 's/^/Provides: /'
            printf '%%description\nIt.\n%%files\n'
        } > /tmp/base/base.spec
        type -P git bash systemd-sysusers systemd-tmpfiles
        rpmbuild -bb --quiet --define "_topdir /tmp/base" /tmp/base/base.spec
        rpm --install /tmp/base/RPMS/*/*.rpm
    fi
    install_it() { rpm --install "$package"; }
    upgrade_it() { rpm --upgrade --force "$package"; }
    verify_it() { rpm --verify stx-builds; }
    remove_it() { rpm --erase stx-builds; }
    ;;
esac

# Installation: everything exists, and the service is neither started nor enabled.
install_it
verify_it
stx-builds --version
man -w stx-builds stx-builds-build 5 stx-builds.toml
fails systemctl is-enabled stx-builds
fails systemctl is-active stx-builds
[[ $(stat -c '%U:%G %a' /var/spool/stx-builds) == 'stx-builds:stx-build-team 3770' ]]
[[ $(stat -c '%U:%G %a' $conf) == 'root:root 644' ]]
systemd-analyze verify stx-builds.service
systemd-analyze security --threshold=30 --no-pager stx-builds.service

# With the installed configuration, the only error is the missing directory of the mirror; the rest are warnings.
fails stx-builds doctor --config $conf
[[ $(stx-builds doctor --config $conf || true) == *'/srv/mirror/starlingx does not exist'* ]]
fails systemctl start stx-builds
systemctl stop stx-builds
install -d -o stx-builds -g stx-builds /srv/mirror
stx-builds doctor --config $conf
systemctl start stx-builds
systemctl stop stx-builds

# Configuration: a distribution of one file.
useradd --groups stx-build-team alice
useradd mallory
install -d -o stx-builds /srv/upstream
runuser -u stx-builds -- git -c init.defaultBranch=master init -q /srv/upstream
echo hello > /srv/upstream/message
chown stx-builds /srv/upstream/message
runuser -u stx-builds -- git -C /srv/upstream add message
runuser -u stx-builds -- git -C /srv/upstream -c user.name=A -c user.email=a@example.org commit -q -m message
cp /files/recipe.toml /etc/stx-builds/small.toml
stx-builds recipe check /etc/stx-builds/small.toml
sed -i 's#^recipe = .*#recipe = "small.toml"#' $conf
printf '\n[[branch]]\nname = "master"\n' >> $conf
export STX_BUILDS_CONFIG=$conf
stx-builds daemon --check

# Start: the administrator enables and starts the service; `systemctl` returns when the service is ready.
systemctl enable --now stx-builds
systemctl is-active stx-builds
[[ -n $(systemctl show --value -p StatusText stx-builds) ]]
[[ $(stat -c '%U %a' /var/lib/stx-builds) == 'stx-builds 700' ]]
systemctl reload stx-builds

# Request: only members of the group can request a build.
fails runuser -u mallory -- stx-builds trigger master --reason mischief
runuser -u alice -- stx-builds trigger master --reason 'the first one'
until_true test -L /srv/mirror/starlingx/master/centos/latest_build
[[ $(cat /srv/mirror/starlingx/master/centos/latest_build/outputs/wheels/message.whl) == hello ]]
runuser -u alice -- stx-builds list
runuser -u stx-builds -- stx-builds --format json history | grep "\"uid\": $(id -u alice)"
# Members of the group see requests in the spool; other users see nothing.
runuser -u alice -- stx-builds history | grep 'the first one'
fails runuser -u mallory -- stx-builds history

# Upgrade: the service continues to run, and a changed configuration is kept.
pid=$(systemctl show --value -p MainPID stx-builds)
cp $conf /tmp/changed.toml
upgrade_it
[[ $(systemctl show --value -p MainPID stx-builds) == "$pid" ]]
systemctl is-enabled stx-builds
cmp $conf /tmp/changed.toml

# Removal: the service ends. Debian keeps the configuration until `purge`, rpm as `.rpmsave`; the mirror and the state always stay.
remove_it
fails systemctl is-active stx-builds
fails test -e /usr/bin/stx-builds
fails test -e "/proc/$pid"
case $kind in
deb)
    cmp $conf /tmp/changed.toml
    dpkg --purge stx-builds
    ;;
rpm) cmp $conf.rpmsave /tmp/changed.toml ;;
esac
fails test -e $conf
# Files that the administrator added are not removed.
test -e /etc/stx-builds/small.toml
test -e /var/lib/stx-builds/.service/ledger.sqlite
test -d /srv/mirror/starlingx/master/centos/latest_build/outputs
echo "the package lived"
