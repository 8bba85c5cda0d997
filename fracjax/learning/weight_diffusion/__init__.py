"""How the parameters of a network diffuse while it learns, beside simpler explanations."""
