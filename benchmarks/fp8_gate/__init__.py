"""Decides which products of a UNet may be in 8-bit floats, by what becomes of the pictures."""
