#!/usr/bin/env python3
"""Chargeable weight of a parcel, as the carriers bill it.

The packing tables at Depot North and Depot South run this for every parcel
that has been measured. Usage:

    volume_weight.py 60 40 35 4.2

with length, width and height in centimetres and the weight in kilograms.
"""

import math
import sys

# Cubic centimetres that count as one kilogram. The carriers agreed on 5,000
# for the year; express parcels that fly are billed with 4,000.
DIVISOR_ROAD = 5000
DIVISOR_AIR = 4000

# The bill goes up in steps of half a kilogram.
STEP_KG = 0.5

# Longest side plus girth. Above this the sorting belt refuses the parcel and
# the carrier takes a belt surcharge of 11.40 euros (bill line SORT-X).
BELT_LIMIT_CM = 300
BELT_SURCHARGE_EUR = 11.40

# Bulky goods, as on the page about delivery options.
BULKY_LENGTH_CM = 175
BULKY_WEIGHT_KG = 31.5


def chargeable(length, width, height, weight, air=False):
    """The larger of weight and volume weight, rounded up to the next step."""
    divisor = DIVISOR_AIR if air else DIVISOR_ROAD
    volume_weight = length * width * height / divisor
    return math.ceil(max(weight, volume_weight) / STEP_KG) * STEP_KG


def belt_size(length, width, height):
    """Longest side plus the girth around the other two."""
    longest, *others = sorted((length, width, height), reverse=True)
    return longest + 2 * sum(others)


def is_bulky(length, width, height, weight):
    return max(length, width, height) > BULKY_LENGTH_CM or weight > BULKY_WEIGHT_KG


def main(arguments):
    if len(arguments) != 4:
        # Exit code 2 makes the packing table beep twice: measure again.
        print("length width height weight", file=sys.stderr)
        return 2
    length, width, height, weight = (float(word.replace(",", ".")) for word in arguments)
    if is_bulky(length, width, height, weight):
        # Exit code 3 sends the parcel to lane 9, where two people pack.
        print("bulky: lane 9")
        return 3
    print(f"road {chargeable(length, width, height, weight):.1f} kg")
    print(f"air  {chargeable(length, width, height, weight, air=True):.1f} kg")
    if belt_size(length, width, height) > BELT_LIMIT_CM:
        print(f"belt surcharge {BELT_SURCHARGE_EUR:.2f} EUR (SORT-X)")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
