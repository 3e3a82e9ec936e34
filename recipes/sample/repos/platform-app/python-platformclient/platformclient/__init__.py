"""Reads what a StarlingX sample host says of itself."""


def read_release(lines):
    """The KEY="value" lines of /etc/platform/release as a dict."""
    pairs = (line.strip().split("=", 1) for line in lines if "=" in line)
    return {key: value.strip('"') for key, value in pairs}
