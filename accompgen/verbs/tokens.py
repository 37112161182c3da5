"""Sound and tokens: `encode`, `decode`."""

from pathlib import Path

from accompgen.stages import ACOUSTIC, SEMANTIC
from accompgen.verbs.shared import (
    FORMATS_READ,
    add_model,
    add_out,
    for_each,
    refuse_same_names,
)


def add_encode(verbs):
    parser = verbs.add_parser("encode", help="sound -> tokens", description="Writes <name>.safetensors for each sound.")
    parser.add_argument("sounds", metavar="SOUND", nargs="+", type=Path, help=f"{FORMATS_READ}; channels are averaged")
    add_out(parser, "where to write (default: here)", default=Path("."))
    parser.add_argument("--tokenizer", choices=(ACOUSTIC, SEMANTIC), default=ACOUSTIC, help="(default: acoustic)")
    parser.add_argument("--codebooks", metavar="Q", type=int, help="acoustic codebooks (default: as many as the stages use)")
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    add_model(parser)
    parser.set_defaults(run=run_encode, parser=parser)


def run_encode(args) -> int:
    refuse_same_names(args.parser, args.sounds)
    from accompgen.tokens.files import encode_file
    from accompgen.tokens.load import load_tokenizer

    tokenizer = load_tokenizer(args.checkpoint, args.tokenizer, args.device, args.codebooks)
    return for_each(args.sounds, lambda path: [encode_file(path, args.out, tokenizer, args.force)])


def add_decode(verbs):
    parser = verbs.add_parser("decode", help="acoustic tokens -> sound", description="Writes <name>.wav for each file.")
    parser.add_argument("tokens", metavar="TOKENS", nargs="+", type=Path, help="a .safetensors file that `encode` wrote")
    add_out(parser, "where to write (default: here)", default=Path("."))
    parser.add_argument("--codebooks", metavar="Q", type=int, help="decode the first Q codebooks alone (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the noise that a decoder draws (default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    add_model(parser)
    parser.set_defaults(run=run_decode, parser=parser)


def run_decode(args) -> int:
    refuse_same_names(args.parser, args.tokens)
    from accompgen.device import choose_device
    from accompgen.tokens.files import decode_file
    from accompgen.tokens.load import load_player

    decoder = load_player(args.checkpoint, choose_device(args.device))
    return for_each(args.tokens, lambda path: [decode_file(path, args.out, decoder, args.codebooks, args.force, args.seed)])
