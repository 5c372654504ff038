"""Make the two hospitals' files of the demo from the original data; the same bytes every time.

    python -m tools.make_demo_data [FOLDER]          FOLDER is examples/demo/data unless given

Each patient gets a pseudonym. Hospital A has the measurements and hospital B the diagnoses; each leaves out some
patients and has an order of its own, so that only a join brings them together again. Who is left out and the order of
the rest follow from hashes of the pseudonym, never from a random number.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).resolve().parent.parent / "examples" / "demo" / "data"
ORIGINAL = DATA / "original" / "breast_cancer.csv"

MEASURES = (
    *("radius", "texture", "perimeter", "area", "smoothness"),
    *("compactness", "concavity", "concave_points", "symmetry", "fractal_dimension"),
)
FEATURES = tuple(f"{measure}_{kind}" for kind in ("mean", "se", "worst") for measure in MEASURES)
DIAGNOSES = {"0": "malignant", "1": "benign"}

# One patient in so many is unknown to each hospital.
LEFT_OUT = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """One line of the original, with a pseudonym; numbers stay the text that they were."""

    pseudonym: str
    features: tuple[str, ...]
    diagnosis: str


def read_patients(original: Path) -> Iterator[Patient]:
    """The patients of the original file, whose first line is only about the file itself."""
    for number, line in enumerate(original.read_text("ascii").splitlines()[1:]):
        *features, target = line.split(",")
        if len(features) != len(FEATURES):
            raise ValueError(f"line {number + 2}: got {len(features)} features, want {len(FEATURES)}")
        pseudonym = _hash("pseudonym", str(number)).hex()[:12]
        yield Patient(pseudonym=f"p-{pseudonym}", features=tuple(features), diagnosis=DIAGNOSES[target])


def known_to(hospital: str, patients: Sequence[Patient]) -> list[Patient]:
    """The patients that a hospital knows, in its own order."""
    known = [patient for patient in patients if _hash(hospital, "knows", patient.pseudonym)[0] % LEFT_OUT]
    return sorted(known, key=lambda patient: _hash(hospital, "order", patient.pseudonym))


def make(folder: Path) -> None:
    """Write both hospitals' files and the digests of all three into `folder`."""
    patients = list(read_patients(ORIGINAL))
    features = [[patient.pseudonym, *patient.features] for patient in known_to("hospital-a", patients)]
    diagnoses = [[patient.pseudonym, patient.diagnosis] for patient in known_to("hospital-b", patients)]
    files = {
        "hospital-a/features.csv": _csv(["patient", *FEATURES], features),
        "hospital-b/diagnoses.csv": _csv(["patient", "diagnosis"], diagnoses),
        "original/breast_cancer.csv": ORIGINAL.read_bytes(),
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    digests = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items()]
    (folder / "SHA256SUMS").write_text("".join(digests))


def _csv(names: Sequence[str], rows: Sequence[Sequence[str]]) -> bytes:
    return "".join(",".join(row) + "\n" for row in (names, *rows)).encode("ascii")


def _hash(*parts: str) -> bytes:
    return hashlib.sha256("/".join(("twocvm demo", *parts)).encode()).digest()


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else DATA)
