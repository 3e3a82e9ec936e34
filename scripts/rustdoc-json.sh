#!/usr/bin/env bash
# Runs rustdoc with unstable options, such as its JSON output. They are allowed here, not in the environment of cargo: there, the
# build scripts of dependencies that check for them would run again, and the dependencies would be recompiled.
RUSTC_BOOTSTRAP=1 exec rustdoc "$@"
