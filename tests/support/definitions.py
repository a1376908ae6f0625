"""A protocol as a file."""

BASE = """
summary = "a test"
backbone = "someone/model"
deviations = ["one", "two"]

[network]
decoder = "unetr"
features = 8
window = [8, 16, 16]
patch_depth = "spacing"
drop_path = 0.1
freeze = false

[augment]
flip = 0.5
turn = 0.2
degrees = 15
zoom = [0.9, 1.1]
intensity = 0.2
brightness = 0.1
gamma = [0.8, 1.2]
noise = 0.05

[loss]
dice = 1
cross_entropy = 1
focal = 0
background = false

[train]
steps = 100
batch = 4
dice_group = 2
foreground = 0.5
windows_per_case = 4
learning_rate = 1e-3
layer_decay = 0.75
weight_decay = 0.05
schedule = "cosine"
warmup_ratio = 0.1
clip = 1.0
precision = "bf16"
validate_every = 50
validation_cases = 4
select = "last"
checkpoint_every = 50

[evaluation]
overlap = 0.5
batch = 2
"""


def write(base, name, text):
    path = base.with_name(f"{name}.toml")
    path.write_text(text)
    return str(path)
