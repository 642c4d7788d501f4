"""report.html of a bundle of several graphs: what they are, what was compared, what the cache costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2 import Environment

from edgeexport.bundle import Bundle
from edgeexport.verify.compare import Comparison

__all__ = ["build_report"]

_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{{ m.name }}</title><style>
body{font-family:system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1c1c1c;background:#fff}
table{border-collapse:collapse;margin:1rem 0}td,th{border-bottom:1px solid #ccc;padding:.3rem .7rem;text-align:left}
td.n{text-align:right}</style></head><body><h1>{{ m.name }}</h1><p>{{ m.description }}</p>
<p>{{ m.weights.statement }}. Target {{ m.target }}, {{ m.precision }}.</p>
<h2>Graphs</h2><table><tr><th>graph</th><th>opset</th><th>inputs</th><th>outputs</th><th>million multiply-accumulates
(computed)</th><th>weights, MB</th><th>TensorRT-RTX</th></tr>
{% for g in m.graphs %}<tr><td>{{ g.name }}.onnx</td><td>{{ g.opset }}</td><td class="n">{{ g.inputs|length }}</td>
<td class="n">{{ g.outputs|length }}</td><td class="n">{{ "%.2f"|format(g.macs / 1e6) if g.opset <= 20 else "not counted"
}}</td>
<td class="n">{{ "%.2f"|format(g.weight_bytes / 1e6) }}</td>
<td>{{ m.checks.get("tensorrt_rtx." ~ g.name, m.checks.tensorrt_rtx).status }}</td></tr>{% endfor %}</table>
<h2>Cache</h2><p>{{ p.cache_bytes_per_token }} bytes per token; {{ p.slots }} of {{ p.length }} places are kept, and
{{ p.new_tokens }} new tokens have room.</p><table><tr><th>budget</th><th>slots</th><th>cache, MB (computed)</th>
<th>ms per token (predicted: weights and cache read once, fastest power mode)</th></tr>
{% for c in m.cache_costs %}<tr><td>{{ "%.0f"|format(c.share * 100) }} %</td><td class="n">{{ c.slots }}</td>
<td class="n">{{ "%.3f"|format(c.cache_bytes / 1e6) }}</td>
<td class="n">{{ "%.4f"|format(c.predicted_ms) if c.predicted_ms is not none else "unknown" }}</td></tr>{% endfor %}</table>
<h2>Comparisons</h2><table><tr><th>check</th><th>reference</th><th>on</th><th>result</th></tr>
{% for c in comparisons %}<tr><td>{{ c.check }}</td><td>{{ c.reference }}</td><td>{{ c.images|join(", ") }}</td>
<td>{{ c.status }}{% if c.reason %}: {{ c.reason }}{% endif %}</td></tr>{% endfor %}</table></body></html>
"""


def build_report(bundle: Bundle, comparisons: Sequence[Comparison]) -> str:
    """The page as text; self-contained."""
    told: dict[str, Any] = dict(bundle.manifest)
    return (
        Environment(autoescape=True).from_string(_PAGE).render(m=told, p=bundle.prompt, comparisons=comparisons) + "\n"
    )
