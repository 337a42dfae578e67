"""Published points on the QM9 fronts, as read off the papers' figures; none of them is measured here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Published:
    """One curve of a paper: 1,024 samples, novel by the raw strings (``upstream``).

    The reading is good to 3 molecules and 0.01. The papers plot no point with fewer than 50 novel molecules.

    Args:
        property: whose mean it is; asked for above its 90th percentile.
        guidance: cfg, or cbg, which for AR is FUDGE.
        method: as the paper has it.
        steps: T; None for AR.
        points: (novel, mean) by growing scale.
    """

    property: str
    guidance: str
    method: str
    steps: int | None
    points: tuple[tuple[int, float], ...]


_R, _Q = "ring_count", "qed"
# fmt: off
#: UDLM: arXiv 2412.10193 (AR, MDLM, UDLM); ReMDM: arXiv 2503.00307; ProSeCo: arXiv 2602.11590.
CURVES: tuple[Published, ...] = (
    Published(_R, "cfg", "AR", None, ((190, 4.53), (217, 4.76), (213, 4.81), (138, 4.75), (78, 4.83))),
    Published(_R, "cfg", "MDLM", 32, ((274, 4.52), (215, 4.85), (145, 5.01), (98, 5.10), (60, 5.26))),
    Published(_R, "cfg", "MDLM", 64, ((288, 4.58), (244, 4.85), (173, 4.96), (127, 5.04), (83, 5.14))),
    Published(_R, "cfg", "MDLM", 128, ((309, 4.58), (261, 4.86), (191, 5.02), (135, 5.05), (94, 5.06))),
    Published(_R, "cfg", "ReMDM", 32, ((273, 4.64), (236, 4.95), (163, 5.05), (103, 5.27), (80, 5.13))),
    Published(_R, "cfg", "ReMDM", 64, ((318, 4.61), (289, 4.99), (239, 5.05), (147, 4.99), (95, 5.22))),
    Published(_R, "cfg", "ReMDM", 128, ((348, 4.53), (305, 4.82), (297, 4.96), (206, 5.10), (147, 5.16))),
    Published(_R, "cfg", "UDLM", 32, ((277, 4.54), (229, 4.76), (216, 4.88), (211, 4.86), (209, 4.84))),
    Published(_R, "cfg", "UDLM", 64, ((256, 4.52), (226, 4.83))),
    Published(_R, "cfg", "UDLM", 128, ((251, 4.58), (225, 4.75))),
    Published(_R, "cfg", "ProSeCo", 32, ((423, 4.57), (403, 4.80), (390, 5.23), (297, 5.45), (262, 5.44))),
    Published(_R, "cfg", "ProSeCo", 128, ((466, 4.51), (456, 4.86), (358, 5.27), (354, 5.34), (325, 5.50))),
    Published(_R, "cbg", "FUDGE", None, ((221, 4.46), (239, 4.70), (266, 4.80), (241, 4.87), (104, 4.90))),
    Published(_R, "cbg", "ReMDM", 32, ((334, 4.69), (75, 5.36))),
    Published(_R, "cbg", "ReMDM", 64, ((408, 4.61), (332, 5.10))),
    Published(_R, "cbg", "ReMDM", 128, ((400, 4.53), (444, 4.85), (247, 5.33), (123, 5.63), (92, 5.30))),
    Published(_R, "cbg", "UDLM", 128, ((285, 4.24), (346, 4.66), (363, 4.71), (394, 4.77), (414, 4.83))),
    Published(_Q, "cfg", "MDLM", 128, ((179, .568), (153, .594), (120, .600), (103, .599), (87, .597))),
    Published(_Q, "cfg", "ReMDM", 128, ((175, .568), (157, .594), (114, .602), (102, .602), (96, .582))),
    Published(_Q, "cfg", "ProSeCo", 128, ((212, .570), (203, .594), (204, .602), (184, .599), (162, .588))),
    Published(_Q, "cbg", "FUDGE", None, ((113, .561), (91, .589), (89, .580), (75, .598))),
    Published(_Q, "cbg", "MDLM", 32, ((171, .563), (139, .582), (117, .585))),
    Published(_Q, "cbg", "UDLM", 32, ((135, .528), (120, .568), (97, .582), (78, .595), (64, .609))),
)
# fmt: on
#: Samples of each published point.
SAMPLES = 1024


def curves(name: str, guidance: str | None = None) -> list[Published]:
    """The curves of a property, of one kind of guidance where one is named."""
    return [each for each in CURVES if each.property == name and guidance in (None, each.guidance)]
