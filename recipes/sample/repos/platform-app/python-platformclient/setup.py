"""Packaging of the platform's client."""

from setuptools import setup

setup(
    name="platformclient",
    version="1.0.0",
    description="Reads the release of a StarlingX sample host",
    url="https://www.starlingx.io/",
    license="Apache-2.0",
    python_requires=">=3.6",
    packages=["platformclient"],
    entry_points={"console_scripts": ["platform = platformclient.shell:main"]},
)
