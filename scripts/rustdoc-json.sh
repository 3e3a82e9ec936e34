#!/usr/bin/env bash
# rustdoc with the options that are not stable yet, its JSON among them. They are allowed here, not in the environment of cargo:
# there they would run the build scripts of dependencies that look for them, and compile those anew.
RUSTC_BOOTSTRAP=1 exec rustdoc "$@"
