"""Language neurons: ``lensloc lape`` record, identify, perplexity, generate, steer."""

import typer

from lensloc.cli.commands import add
from lensloc.cli.neurons.driving import steer_command
from lensloc.cli.neurons.identifying import identify_command
from lensloc.cli.neurons.measuring import generate_command, perplexity_command
from lensloc.cli.neurons.recording import record_command

lape_app = typer.Typer(
    no_args_is_help=True, help="Find the neurons of every language, switch them off, clamp them."
)
add(
    lape_app, "record", record_command,
    "lape record --max-tokens 20000 --out counts.safetensors",
    "lape record --corpus en=texts/en --corpus de=texts/de --out counts.safetensors",
)  # fmt: skip
add(
    lape_app, "identify", identify_command,
    "lape identify counts.safetensors --permutations 1000 --out neurons.safetensors",
)  # fmt: skip
add(
    lape_app, "perplexity", perplexity_command,
    "lape perplexity neurons.safetensors --control-units random:3 --plot matrix.html",
)  # fmt: skip
add(
    lape_app, "generate", generate_command,
    "lape generate neurons.safetensors --prompts de=prompts.txt --out answers.json",
)  # fmt: skip
add(
    lape_app, "steer", steer_command,
    "lape steer neurons.safetensors --asked en --toward de --level 0.95 --out steering.json",
)  # fmt: skip
