"""FlowMM on a small Qwen2.5-VL with seeded weights: the prompt's cache to a fifth, then decoding from it.

What it says means nothing. With a published checkpoint: model = dict(type="decoder", folder="path/to/Qwen2.5-VL-3B-Instruct").
"""

model = dict(
    type="decoder",
    config=dict(
        model_type="qwen2_5_vl",
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=320,
        rms_norm_eps=1e-6,
        rope_theta=10000.0,
        rope_scaling=dict(type="mrope", mrope_section=[4, 6, 6]),
        tie_word_embeddings=False,
        image_token_id=300,
        vision_start_token_id=301,
        vision_end_token_id=302,
        eos_token_id=303,
        vision_config=dict(
            hidden_size=64,
            intermediate_size=128,
            depth=2,
            num_heads=4,
            patch_size=14,
            spatial_merge_size=2,
            temporal_patch_size=2,
            window_size=56,
            fullatt_block_indexes=[1],
            out_hidden_size=128,
        ),
    ),
)
seed = 0
input = dict(prompt=128, new_tokens=32, images=[(112, 112), (112, 168)])
reduction = dict(
    flowmm=dict(budget=0.2, flow=[False, True, True, False], protect=4, proxies=16, keep_recent=4),
)
