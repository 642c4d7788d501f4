"""The needle model, trained here: three pictures, a text, and a question; its cache to a fifth."""

model = dict(type="decoder", folder="model")
input = dict(prompt=56, new_tokens=4, images=[(56, 56), (56, 56), (56, 56)])
reduction = dict(flowmm=dict(budget=0.2, flow=[False, True, True, True], protect=4, proxies=4))
