"""The maths from 2D to 3D, pure: tensors in, tensors out; imports naming and below."""
