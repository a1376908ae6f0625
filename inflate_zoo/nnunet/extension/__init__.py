"""The folder that `nnUNet_extTrainer` names: nnU-Net imports all modules in it."""
