"""Where nnU-Net finds the trainer: it takes this folder's modules for ones of their own."""

from inflate_zoo.nnunet.trainer import nnUNetTrainerInflated

__all__ = ["nnUNetTrainerInflated"]
