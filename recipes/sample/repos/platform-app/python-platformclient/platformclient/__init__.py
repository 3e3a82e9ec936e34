"""Reads the release of a StarlingX sample host."""


def read_release(lines):
    """The KEY="value" lines of /etc/platform/release as a dict."""
    pairs = (line.strip().split("=", 1) for line in lines if "=" in line)
    return {key: value.strip('"') for key, value in pairs}
