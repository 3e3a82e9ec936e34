"""The command `platform`: prints the release of the platform."""

import sys

from platformclient import read_release

RELEASE = "/etc/platform/release"


def main():
    try:
        with open(RELEASE, encoding="utf-8") as lines:
            print(read_release(lines)["SW_VERSION"])
    except (OSError, KeyError) as error:
        sys.exit(f"platform: {RELEASE}: {error}")
