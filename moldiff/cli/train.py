"""`moldiff train`: train a configuration and leave a model."""

from __future__ import annotations

from typing import Annotated

import typer

Config = Annotated[str, typer.Argument(help="A shipped configuration's name, or a path to a .yaml.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="data.path=FILE out=DIR max_steps=N seed=N ..."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint in out.")]

InitFrom = Annotated[
    str | None,
    typer.Option("--init-from", metavar="MODEL", help="Start from a bundled model, or from one in a folder."),
]


def train(
    config: Config, overrides: Overrides = None, resume: Resume = False, init_from: InitFrom = None
) -> int:
    """Train a model, or a classifier that guides one: leaves model.safetensors and card.json in its folder.

    data.path names a data file, a data set, or a token file, as data prepare takes and makes them. With
    --init-from the model starts as a copy of another, and what CONFIG leaves out of network, process,
    conditions and sampling is taken from that. A classifier takes the vocabulary of MODEL, which
    it is to guide, and where it is as wide its first blocks.
    """
    from moldiff.config import load

    settings = load(config, overrides or ())

    import logging

    from moldiff.training import fit, intake

    # Lightning's remarks on hardware and products are no news of this run; its warnings still come.
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    published = fit.run(settings, resume, print, init_from)
    if intake.launched():
        return 0
    facts = published.card.training
    classifier = published.card.kind == "classifier"
    nll = facts["heldout_nats_per_row" if classifier else "heldout_nats_per_token"]
    what = "loss {:.4f} nats a row" if classifier else "bound {:.4f} nats a token"
    print(
        f"wrote {settings.out}: {published.card.parameters:,} parameters, {facts['steps']} steps, "
        f"{facts['tokens']:,} tokens" + ("" if nll is None else ", held-out " + what.format(nll))
    )
    if classifier:
        first = published.card.conditions[0]
        asked = f"{first.mean:.3g}" if first.kind == "numeric" else "high"
        target = f"--target {first.name}={asked}"
        guidance = "fudge" if settings.process.name == "autoregressive" else "cbg"
        print(f"next: moldiff generate MODEL --guidance {guidance} --classifier {settings.out} {target}")
    else:
        print(f"next: moldiff generate {settings.out} -n 100")
    return 0
