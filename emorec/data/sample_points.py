"""Where the face of the sample set's photograph is, and how it moves.

Measured by hand, to about half a pixel, in scikit-image's `astronaut.png`
(512x512; x to the right, y down). Left and right are the picture's.
"""

from types import MappingProxyType

EXPRESSIONS = ("smile", "frown", "scowl", "gape")

# The cut-out: x0, y0, x1, y1 in the photograph. Every map below is in its
# coordinates; the measured points are in the photograph's.
CROP = (24, 6, 376, 350)
# The middle of the eyes and mouth, in the photograph: what is placed.
CENTRE = (224.0, 121.0)

# Head, collar and shoulders.
OUTLINE = (
    (276, 31), (260, 24), (248, 18), (237, 16), (227, 16), (212, 21),
    (207, 20), (193, 29), (185, 38), (174, 43), (163, 51), (156, 58),
    (153, 68), (155, 98), (157, 104), (167, 115), (170, 117), (171, 123),
    (174, 129), (182, 132), (182, 141), (185, 150), (172, 148), (156, 150),
    (142, 157), (131, 167), (124, 178), (119, 187), (113, 188), (114, 203),
    (103, 215), (90, 227), (76, 235), (61, 251), (54, 267), (44, 282),
    (40, 294), (39, 306), (34, 315), (26, 350), (357, 350), (357, 323),
    (356, 302), (352, 287), (345, 272), (340, 262), (318, 242), (303, 233),
    (299, 219), (289, 203), (276, 189), (255, 173), (256, 163), (264, 149),
    (266, 137), (275, 134), (290, 117), (296, 107), (300, 92), (299, 72),
    (296, 58), (286, 40),
)  # fmt: skip
HAIR = (
    (276, 31), (248, 18), (227, 14), (193, 27), (174, 41), (156, 56),
    (151, 68), (153, 98), (166, 117), (180, 118), (181, 105), (184, 90),
    (186, 72), (190, 76), (200, 80), (220, 80), (235, 82), (250, 87),
    (263, 90), (268, 95), (271, 110), (269, 130), (290, 119), (302, 92),
    (298, 58), (286, 38),
)  # fmt: skip
# Centre and radius of the helmet that is drawn behind the head.
HELMET = (226, 112)
HELMET_RADIUS = 100
COLLAR_TOP = 178  # below it, what is saturated is the suit
INNER_MOUTH = (
    (203, 139), (211, 141.5), (222, 143), (233, 143), (244, 140.5),
    (238, 145), (233, 148), (222, 149), (211, 147), (205, 142),
)  # fmt: skip
FOLDS = (
    ((209, 122), (203, 129), (198, 133), (196, 139)),
    ((238, 122), (244, 131), (249, 137), (250, 142)),
)
BROWS = (
    ((190, 90), (198, 88), (206, 89), (213, 92.5)),
    ((238, 93.5), (246, 92.5), (254, 92), (262, 96)),
)
FURROWS = (((219, 90), (221, 101)), ((231, 91), (229, 102)))

# Landmarks of the face.
POINTS = MappingProxyType(
    {
        "brow_l0": (190, 90), "brow_l1": (201, 88), "brow_l2": (213, 92.5),
        "brow_r0": (262, 96), "brow_r1": (250, 92), "brow_r2": (238, 93.5),
        "eye_l_out": (191, 101), "eye_l_in": (213, 102),
        "eye_l_up": (202, 96), "eye_l_low": (203, 106),
        "eye_r_out": (259, 104), "eye_r_in": (236, 105),
        "eye_r_up": (246, 98.5), "eye_r_low": (246, 108.5),
        "nose_top": (224, 107), "nose_tip": (223, 127),
        "nose_l": (212, 130), "nose_r": (236, 131),
        "corner_l": (202, 138.5), "corner_r": (246, 140),
        "lip_up_l": (212, 139), "lip_up": (223, 140), "lip_up_r": (234, 140),
        "in_up_l": (211, 142), "in_up": (222, 143.5), "in_up_r": (233, 143.5),
        "in_low_l": (211, 147), "in_low": (222, 149.5),
        "in_low_r": (233, 148.5),
        "lip_low_l": (211, 151), "lip_low": (222, 156),
        "lip_low_r": (234, 152.5),
        "chin": (224, 179), "jaw_l": (188, 158), "jaw_r": (258, 158),
        "jaw_l_low": (203, 173), "jaw_r_low": (245, 173),
        "cheek_l": (190, 125), "cheek_r": (258, 127),
        "side_l": (181, 118), "side_r": (269, 118),
    }
)  # fmt: skip
# Points that never move: hair, collar and the corners of the cut-out.
FIXED = (
    (192, 74), (224, 77), (256, 83), (155, 70), (190, 30), (235, 16),
    (285, 40), (300, 80), (170, 121), (278, 133), (186, 190), (222, 194),
    (255, 190), (140, 160), (290, 200), (24, 6), (376, 6), (24, 350),
    (200, 350), (376, 350), (24, 180), (376, 180),
)  # fmt: skip

# Where the landmarks go, in pixels from where the photograph, which smiles, has
# them; a landmark that is not named stays. Every clip starts at `REST`.
REST = MappingProxyType(
    {
        "corner_l": (5, 8), "corner_r": (-5, 7.5),
        "lip_up_l": (2, 5), "lip_up": (0, 3.5), "lip_up_r": (-2, 4.5),
        "in_up_l": (2, 5.5), "in_up": (0, 4), "in_up_r": (-1, 4),
        "in_low_l": (2, 2), "in_low": (0, -0.5), "in_low_r": (-1, 0.5),
        "lip_low_l": (2, 1.5), "lip_low": (0, -1), "lip_low_r": (-1, 0.5),
    }
)  # fmt: skip
MOVES = MappingProxyType(
    {
        "smile": {
            "corner_l": (-4, -4), "corner_r": (4, -4),
            "lip_up_l": (-2, -1), "lip_up_r": (2, -1),
            "in_up_l": (-2, -1), "in_up_r": (2, -1), "in_up": (0, 0),
            "in_low_l": (-2, 1), "in_low": (0, 3.5), "in_low_r": (2, 1),
            "lip_low_l": (-2, 1), "lip_low": (0, 3), "lip_low_r": (2, 1),
            "eye_l_low": (0, -1.5), "eye_r_low": (0, -1.5),
            "brow_l1": (0, -2), "brow_r1": (0, -2),
        },
        "frown": {
            "corner_l": (3, 15), "corner_r": (-3, 14),
            "lip_up_l": (2, 6), "lip_up": (0, 1.5), "lip_up_r": (-2, 5.5),
            "in_up_l": (2, 7), "in_up": (0, 2.5), "in_up_r": (-1, 6),
            "in_low_l": (2, 3.5), "in_low": (0, -2), "in_low_r": (-1, 2.5),
            "lip_low_l": (2, 4), "lip_low": (0, -1), "lip_low_r": (-1, 3),
            "brow_l2": (2, -6), "brow_r2": (-2, -6),
            "brow_l0": (0, 3), "brow_r0": (0, 3),
            "eye_l_up": (0, 1.5), "eye_r_up": (0, 1.5),
        },
        "scowl": {
            "corner_l": (2, 7), "corner_r": (-2, 6),
            "lip_up_l": (-1, -3), "lip_up": (0, -3), "lip_up_r": (1, -3),
            "in_up_l": (-2, -1.5), "in_up": (0, -2.5), "in_up_r": (2, -2),
            "in_low_l": (-2, 7), "in_low": (0, 4), "in_low_r": (2, 5),
            "lip_low_l": (-2, 8), "lip_low": (0, 4), "lip_low_r": (2, 7),
            "nose_l": (-2, -2.5), "nose_r": (2, -2.5),
            "brow_l2": (3, 7), "brow_r2": (-3, 7),
            "brow_l1": (1, 3.5), "brow_r1": (-1, 3.5),
            "brow_l0": (0, -2), "brow_r0": (0, -2),
            "eye_l_up": (0, 2.5), "eye_r_up": (0, 2.5),
            "eye_l_low": (0, -1.5), "eye_r_low": (0, -1.5),
        },
        "gape": {
            "corner_l": (5, 9), "corner_r": (-5, 8),
            "lip_up_l": (3, 2.5), "lip_up": (0, 1), "lip_up_r": (-3, 2),
            "in_up_l": (4, 4), "in_up": (0, 1), "in_up_r": (-3, 3),
            "in_low_l": (4, 11), "in_low": (0, 11), "in_low_r": (-3, 10),
            "lip_low_l": (4, 12), "lip_low": (0, 11), "lip_low_r": (-4, 11),
            "chin": (0, 6), "jaw_l_low": (1, 4), "jaw_r_low": (-1, 4),
            "jaw_l": (1, 2), "jaw_r": (-1, 2),
            "brow_l0": (0, -4), "brow_l1": (0, -7), "brow_l2": (0, -6),
            "brow_r0": (0, -5), "brow_r1": (0, -7), "brow_r2": (0, -6),
            "eye_l_up": (0, -2.5), "eye_r_up": (0, -2.5),
            "eye_l_low": (0, 1.5), "eye_r_low": (0, 1.5),
        },
    }
)  # fmt: skip
# The expressions that keep the photograph's teeth.
TEETH = ("smile", "scowl")
