"""From a line of text to a verb. Nothing heavy is imported before the verb is known."""

import difflib
import importlib
import inspect
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import diorama
from diorama.cli.failures import explain


@dataclass(frozen=True)
class Verb:
    """One word of the command line and the module that answers it with `Options` and `command(options) -> int`."""

    module: str
    does: str
    example: str


VERBS = {
    "reconstruct": Verb("diorama.pipelines.reconstruct", "photos to a scene", "diorama reconstruct photos/ -o scene"),
    "generate": Verb(
        "diorama.pipelines.generate", "new scenes from a seed alone", "diorama generate gibr -n 8 -o scenes"
    ),
    "render": Verb(
        "diorama.pipelines.render",
        "a scene to a film, frames or depth",
        "diorama render scene --path orbit -o orbit.mp4",
    ),
    "export": Verb(
        "diorama.pipelines.export", "a scene to a mesh, points or posed views", "diorama export scene -o scene.glb"
    ),
    "view": Verb("diorama.pipelines.view", "a scene, live in the browser", "diorama view scene"),
    "evaluate": Verb(
        "diorama.pipelines.evaluate", "a scene against held-out photos, or a protocol", "diorama evaluate scene"
    ),
    "pose": Verb("diorama.pipelines.pose", "bare photos to cameras", "diorama pose photos/ -o posed"),
    "worlds": Verb(
        "diorama.pipelines.worlds",
        "a contact sheet of procedural scenes",
        "diorama worlds --kind room -n 16 -o sheet.png",
    ),
    "train": Verb(
        "diorama.pipelines.train",
        "data to the weights of a prior",
        "diorama train patch-prior --budget 20m -o runs/p",
    ),
    "demo": Verb("diorama.pipelines.demo", "the whole road on a scene in the box", "diorama demo"),
    "doctor": Verb("diorama.pipelines.doctor", "what this machine can do, what is missing", "diorama doctor"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 our fault, 2 something the user can mend, 130 stopped."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return run(words)
    except BaseException as error:
        message, code = explain(error, words)
        if message:
            print(message, file=sys.stderr)
        return code


def run(words: Sequence[str]) -> int:
    """Do what the words say; errors pass through."""
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if words[0] in ("-V", "--version", "version"):
        print(f"diorama {diorama.__version__}")
        return 0
    word, rest = words[0], list(words[1:])
    if word not in VERBS:
        print(unknown(word), file=sys.stderr)
        return 2
    module = importlib.import_module(VERBS[word].module)
    import tyro

    options = tyro.cli(module.Options, args=rest, prog=f"diorama {word}", description=described(word, module.Options))
    return int(module.command(options))


def overview() -> str:
    """What `diorama --help` prints."""
    width = max(map(len, VERBS))
    reach = max(len(verb.does) for verb in VERBS.values())
    lines = [f"  {word:<{width}}  {verb.does:<{reach}}  {verb.example}" for word, verb in VERBS.items()]
    return "\n".join(
        [
            "diorama: 3D scenes from a few photos, or from none.",
            "",
            "usage: diorama VERB [options]",
            "",
            *lines,
            "",
            "`diorama VERB --help` lists the options of a verb. No verb overwrites anything without --force.",
            "Exit codes: 0 done, 2 something to mend in what was given, 1 a fault of diorama itself.",
        ]
    )


def unknown(word: str) -> str:
    """What is said to a verb that does not exist."""
    close = difflib.get_close_matches(word.lstrip("-").lower(), VERBS, n=2, cutoff=0.6)
    advice = f"Did you mean {' or '.join(f'`diorama {verb}`' for verb in close)}? " if close else ""
    return f"diorama: there is no verb `{word}`. {advice}There are: {', '.join(VERBS)}. See `diorama --help`."


def described(word: str, options: type) -> str:
    """The text at the top of `diorama VERB --help`."""
    about = inspect.getdoc(options) or ""
    if not about or about.startswith(f"{options.__name__}("):
        about = VERBS[word].does[0].upper() + VERBS[word].does[1:] + "."
    return f"{about}\n\nExample: {VERBS[word].example}"


if __name__ == "__main__":
    sys.exit(main())
