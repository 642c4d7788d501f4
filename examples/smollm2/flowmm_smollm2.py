"""SmolLM2-135M-Instruct, as `python -m examples.smollm2.wheel` writes it: a prompt of 2048 places to a fifth.

Text alone, so that flow is not at stake.
"""

model = dict(type="decoder", folder="../../work_dirs/evidence/SmolLM2-135M-Instruct-Q4_1")
input = dict(prompt=2048, new_tokens=64)
reduction = dict(flowmm=dict(budget=0.2, flow=[True] * 30, protect=205, proxies=16))
