"""What a file of weights is, by the names in it: for messages about files in the wrong place. Light."""

from __future__ import annotations

import re
from collections.abc import Iterable

LOOKS = (
    (r"lora_(unet|te|transformer)|\.lora_(up|down|A|B|linear_layer)\b|\.lora\.(up|down)\.", "a LoRA",
     "The node lora takes it."),
    (r"^(control_model|controlnet_|input_hint_block)", "a ControlNet", "The node load_controlnet takes it."),
    (r"^(string_to_param|emb_params|clip_[lg]$)", "a textual inversion", "The node textual_inversion takes it."),
    (r"double_blocks\.", "a checkpoint of Flux", ""),
    (r"joint_blocks\.", "a checkpoint of Stable Diffusion 3", ""),
    (r"^(first_stage_model\.|vae\.)?(encoder|decoder)\.(conv_in|mid|mid_block)\.", "a VAE",
     "The node load_vae takes it."),
    (r"^(model\.0\.weight|model\.1\.sub|conv_first\.|body\.\d+\.(rdb|weight))", "a net that enlarges pictures",
     "The node load_upscaler takes it."),
    (r"^(text_model|transformer\.resblocks|text_projection)", "a text encoder alone", ""),
    (r"^(down_blocks|conv_in|time_embedding)\b", "a network of a diffusers folder",
     "Name the folder with its model_index.json."),
    (r"(^|\.)(input_blocks|output_blocks)\.", "a U-Net alone",
     "Name a checkpoint that holds text encoder and VAE too."),
)  # fmt: skip
"""By a part of a name: what it is, and the way out. The first that fits."""


def looks_like(names: Iterable[str]) -> tuple[str, str]:
    """Say what a file with weights of these names is, and what takes it."""
    known = list(names)
    for pattern, what, way in LOOKS:
        if any(re.search(pattern, name) for name in known):
            return what, way
    first = f' ("{known[0]:.60}" ...)' if known else ""
    return f"a file with {len(known)} weights of something else{first}", ""
