"""Makes `facts/hugging_face.json`: key names, shapes and answers of Hugging Face transformers' own models, tiny and seeded.

    pip install transformers
    python tests/hosts/hugging_face_facts.py

The tests need the file alone, not transformers.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path

import torch
from torch import Tensor

FACTS = Path(__file__).with_name("facts") / "hugging_face.json"
SIZES = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=64, patch_size=16)
SHOWN = 12


def drawn(key: str, shape: list[int]) -> Tensor:
    """Values that depend on the key alone, of a size at which everything has a say."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:6], "big")
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.2


def image() -> Tensor:
    """(2, 3, 64, 64)."""
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def main() -> None:
    """Writes the facts."""
    import transformers as hf
    from safetensors.torch import load_file

    wide = dict(**SIZES, intermediate_size=64)
    mlp = dict(**SIZES, mlp_ratio=2)
    models = {
        "vit": (hf.ViTForImageClassification(hf.ViTConfig(**wide, num_labels=10)), "logits"),
        "deit": (hf.DeiTForImageClassificationWithTeacher(hf.DeiTConfig(**wide, num_labels=10)), "logits"),
        "dinov2": (hf.Dinov2Model(hf.Dinov2Config(**mlp)), "pooler_output"),
        "dinov2 giant": (hf.Dinov2Model(hf.Dinov2Config(**mlp, use_swiglu_ffn=True)), "pooler_output"),
        "dinov2 registers": (hf.Dinov2WithRegistersModel(hf.Dinov2WithRegistersConfig(**mlp)), "pooler_output"),
        "dinov3": (hf.DINOv3ViTModel(hf.DINOv3ViTConfig(**wide, num_register_tokens=4)), "pooler_output"),
        "dinov3 huge": (
            hf.DINOv3ViTModel(hf.DINOv3ViTConfig(**wide, num_register_tokens=4, use_gated_mlp=True, hidden_act="silu")),
            "pooler_output",
        ),
        "siglip": (hf.SiglipVisionModel(hf.SiglipVisionConfig(**wide)), "pooler_output"),
        "clip": (hf.CLIPVisionModel(hf.CLIPVisionConfig(**wide)), "pooler_output"),
        "clip projection": (
            hf.CLIPVisionModelWithProjection(hf.CLIPVisionConfig(**wide, projection_dim=16)),
            "image_embeds",
        ),
    }
    facts = {}
    for name, (model, output) in models.items():
        with tempfile.TemporaryDirectory() as folder:
            model.eval().save_pretrained(folder)
            stored = load_file(Path(folder, "model.safetensors"))
            config = json.loads(Path(folder, "config.json").read_text())
            shapes = {key: list(value.shape) for key, value in stored.items()}
            from safetensors.torch import save_file

            save_file({key: drawn(key, shape) for key, shape in shapes.items()}, Path(folder, "model.safetensors"))
            loaded = type(model).from_pretrained(folder).eval()
        with torch.no_grad():
            answer = getattr(loaded(pixel_values=image()), output)
        facts[name] = {
            "transformers": hf.__version__,
            "config": {key: config[key] for key in ("model_type", "hidden_act")},
            "shapes": shapes,
            "output": output,
            "values": [[round(value, 6) for value in row] for row in answer[:, :SHOWN].tolist()],
        }
    FACTS.parent.mkdir(exist_ok=True)
    FACTS.write_text(json.dumps(facts, indent=0) + "\n")


if __name__ == "__main__":
    main()
