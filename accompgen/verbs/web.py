"""The page: `web`."""

import sys

from accompgen.verbs.shared import add_engine, add_model, print_path, remark

SHARED = (
    "Everybody in your network can open this page now, at the address of this machine. There is no password: whoever opens it "
    "can record, upload, and keep this machine busy. Stop it with Ctrl-C."
)


def add_web(verbs):
    parser = verbs.add_parser(
        "web",
        help="a page to sing into",
        description="Opens a page on this machine: record or upload a voice, hear the band, change it, download all of it.",
    )
    parser.add_argument("--port", metavar="N", type=int, default=7860, help="(default: 7860)")
    parser.add_argument(
        "--share-host", action="store_true", help="let other machines of your network open the page, too; it has no password"
    )
    parser.add_argument("--open", action="store_true", help="open it in your browser")
    add_model(parser)
    add_engine(parser)
    parser.set_defaults(run=run_web, parser=parser)


def run_web(args) -> int:
    if not 1 <= args.port <= 65535:
        args.parser.error(f"--port {args.port}: expected 1 to 65535")
    from accompgen.generation import pipeline
    from accompgen.web.serve import check, end_as_by_ctrl_c, open_page, wait_for_ever

    end_as_by_ctrl_c()
    check(args.port, args.share_host)
    model = pipeline.load(args.checkpoint, args.device, engine=args.engine)
    with open_page(model, args.port, args.share_host) as address:
        print_path(address)
        if args.share_host:
            print(SHARED, file=sys.stderr)
        remark(args, "Ctrl-C ends it and removes what was uploaded and made.")
        if args.open:
            import webbrowser

            webbrowser.open(address)
        wait_for_ever()
    return 0
