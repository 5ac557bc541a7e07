"""PBS's commands on the model. Begin with `commands`; `words` has PBS's names for what the model holds."""
