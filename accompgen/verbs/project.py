"""A song as a project for a DAW: `project`."""

from pathlib import Path

from accompgen.verbs.shared import add_out, for_each, refuse_same_names, remark


def add_project(verbs):
    parser = verbs.add_parser(
        "project",
        help="a song as a project that a DAW opens",
        description="Writes a folder for each song: <name>.dawproject, which Bitwig Studio, Studio One and Cubase open, and "
        "for other DAWs the same sounds, MIDI with tempo map and markers, chords and a click.",
    )
    parser.add_argument("songs", metavar="SONG.json", nargs="+", type=Path, help="what `generate` wrote beside the sound")
    parser.add_argument("--vocal", metavar="FILE", type=Path, help="its recording (default: where it was)")
    add_out(parser, "where to make the folder <name>.project (default: beside the song)")
    parser.add_argument("--bit-depth", choices=("16", "24", "32f"), help="of the sounds (default: as the song's)")
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    parser.add_argument("--quiet", action="store_true", help="no remarks on stderr, only errors")
    parser.set_defaults(run=run_project, parser=parser)


def run_project(args) -> int:
    if args.vocal and len(args.songs) > 1:
        args.parser.error("--vocal goes with one song; call once for each")
    if args.out:
        refuse_same_names(args.parser, args.songs)
    from accompgen.audio import AudioError, check_folder, make_folder, write_files
    from accompgen.export.project import project_files, sections_of
    from accompgen.files import short_name
    from accompgen.generation.song import SUBTYPES, read_song, recording_of

    def work(path):
        song = read_song(path)
        vocal = recording_of(song, args.vocal)
        folder = (args.out or path.parent) / f"{short_name(song.name)}.project"
        check_folder(folder)
        try:
            sections = sections_of(song, vocal)
        except ImportError:
            sections = []
            remark(args, f"{path}: without markers of sections, which librosa hears: pip install 'accompgen[eval]'")
        if others := song.report.get("others"):
            gain = song.report["levels"]["vocal_gain_db"]
            remark(args, f"{path}: {others['file']}, which plays along, is not in it; in the mix it has {gain:+.1f} dB")
        bits = args.bit_depth or song.report["files"].get("bit_depth") or "24"
        files = {folder / name: data for name, data in project_files(song, vocal, sections, SUBTYPES[bits]).items()}
        for file in files:
            if file.exists() and not args.force:
                raise AudioError(f"{file} exists; choose another folder, or --force to replace it")
        for place in {file.parent for file in files}:
            make_folder(place)
        write_files(files)
        return files

    return for_each(args.songs, work)
