"""Named configurations: every backbone of the poster's Table 1, and Lite-SAM itself.

The printed MACs of the table cannot all follow from the printed widths (a PoolFormer-S12 has
14.8 GMACs at 640, not 45.2); the widths and parameters are taken at their word. (Four times our
MACs, that is stages at strides 2 to 16, would come near some rows: 4.4 against 4.2 printed for
PoolFormer-S12-Tiny, 10.0 against 10.9 for LiteViT; but 59 for PoolFormer-S12.)
"""

from __future__ import annotations

from litesam_bench.lite_sam.litevit import LiteViTConfig, MspmConfig, PoolMixerConfig
from litesam_bench.lite_sam.model import LiteSamConfig

_DIMS = (64, 96, 128, 256)

BACKBONES: dict[str, LiteViTConfig] = {
    "poolformer-s12": LiteViTConfig(
        (64, 128, 320, 512), mixer=PoolMixerConfig(), embed_kernel=3, mlp_ratio=4.0
    ),
    "poolformer-s12-tiny": LiteViTConfig(
        (32, 64, 96, 128), mixer=PoolMixerConfig(), embed_kernel=3, mlp_ratio=1.75
    ),
    "litevit-block2": LiteViTConfig(_DIMS, mixer=MspmConfig(local_group=32, kernels=())),
    "litevit-block3": LiteViTConfig(_DIMS, mixer=MspmConfig(kernels=(11,), first_pool=4)),
    "litevit-block4": LiteViTConfig(_DIMS, mixer=MspmConfig(local_group=0, kernels=(9, 9, 9))),
    "litevit": LiteViTConfig(_DIMS),
    "litevit-2x": LiteViTConfig((96, 128, 192, 384)),
    "litevit-3x": LiteViTConfig((128, 160, 256, 512)),
}
"""The rows of Table 1, in its order.

Decision (ours): the drawings of blocks (2) to (4) are not available; the rows are the steps from
no pooling to the final module at the printed parameters: (2) only the local convolution, with
groups of 32; (3) the local convolution and one pooled branch, by 4; (4) pooling at three scales
without the local convolution; (5) both. The printed 11.9 M of PoolFormer-S12 contain its
classification head of 0.51 M, which a segmenter does not have. PoolFormer-S12-Tiny's parameters
at its printed widths need MLPs of ratio 1.75 where PoolFormer-S12 has 4.
"""

LITE_SAM = LiteSamConfig(vit=BACKBONES["litevit"])
"""The model of the poster's other tables; the same weights serve inputs of 640 and 1024."""
