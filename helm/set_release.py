"""A release's numbers in the chart: `set_release.py VERSION REPOSITORY DIGEST` writes the image into values.yaml.

`set_release.py --check VERSION` only says whether the package, the chart and its image all have this version; both do.
Exit code 2 where they do not, or where values.yaml has no such lines.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "helm" / "stowage"


def versions() -> dict[str, str]:
    """Every place that names the version, and what it says."""
    chart = (CHART / "Chart.yaml").read_text()
    return {
        "pyproject.toml": tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"],
        "Chart.yaml version": re.findall(r'(?m)^version: "?([^"\n]+)"?$', chart)[0],
        "Chart.yaml appVersion": re.findall(r'(?m)^appVersion: "?([^"\n]+)"?$', chart)[0],
    }


def with_image(values: str, repository: str, digest: str) -> str:
    """values.yaml with our image's repository and digest; ValueError unless each is there, once, to be replaced."""
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise ValueError(f"{digest!r} is no digest")
    head, image, rest = re.split(r"(?m)^(image:\n(?:(?:  .*)?\n)*)", values, maxsplit=1)
    for key, new in (("repository", repository.lower()), ("digest", digest)):
        image, changed = re.subn(rf"(?m)^  {key}: .*$", f"  {key}: {new}", image)
        if changed != 1:
            raise ValueError(f"values.yaml has {changed} lines image.{key}")
    return head + image + rest


def main(arguments: list[str]) -> int:
    """Check, and write; the exit code."""
    version = arguments[-1] if arguments[:1] == ["--check"] else arguments[0]
    wrong = {place: found for place, found in versions().items() if found != version}
    if wrong:
        print(f"the release is {version}, but " + ", ".join(f"{p} says {f}" for p, f in wrong.items()), file=sys.stderr)
        return 2
    if arguments[0] != "--check":
        _, repository, digest = arguments
        file = CHART / "values.yaml"
        file.write_text(with_image(file.read_text(), repository, digest))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
