"""Time and memory of MusicGen's and STAGE's published sizes, with random weights.

    python tools/bench_single_stage.py [--seconds 10] [--no-context]

Prints a line for each part: the T5 (t5-base's size), the codec both ways, the model's first columns,
a step of it under guidance, and the peak of the process's memory.
"""

import argparse
import resource
import time

import torch

from accompgen.config import SingleStageConfig
from accompgen.generation.decode import decode, decoding_dtype, prepare_for_decoding
from accompgen.generation.sampling import Sampling
from accompgen.model.single_stage import TEXT, SingleStageLM
from accompgen.stages import single_stage
from accompgen.tokens.acoustic import AcousticTokenizer
from accompgen.tokens.encodec import OtherCodecConfig, build_network

SAMPLING = Sampling(temperature=1.0, top_k=250, top_p=1.0, guidance=3.0)


def timed(name, work):
    """Run `work`, print how long it took, and return what it gave and the seconds."""
    started, used = time.perf_counter(), time.process_time()
    found = work()
    seconds = time.perf_counter() - started
    print(
        f"{name}: {seconds:.2f} s, {time.process_time() - used:.2f} s of processor time", flush=True
    )
    return found, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="of a window (default: 10)")
    parser.add_argument("--no-context", action="store_true", help="MusicGen instead of STAGE")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    device, codec_size = args.device, OtherCodecConfig()
    print(
        f"{device}, {torch.get_num_threads()} threads, weights of steps in {decoding_dtype(device)}"
    )
    with torch.inference_mode():
        codec = AcousticTokenizer(codec_size, build_network(codec_size).to(device))
        for layer in codec.network.quantizer.layers:
            torch.nn.init.normal_(layer.codebook.embed)
        wav = 0.1 * torch.randn(1, round(args.seconds * codec.sample_rate))
        codes, _ = timed(
            f"codec, {args.seconds:g} s of sound to codes", lambda: codec.encode(wav).cpu()
        )
        timed("codec, back to sound", lambda: codec.decode(codes))
        states, _ = timed("text, 12 pieces", lambda: _text_states(device))
    sizes = SingleStageConfig(context=not args.no_context)
    graph = single_stage(
        ("drums",),
        sizes.bins,
        sizes.codebooks,
        codec_size.frame_hz,
        context=sizes.context,
        prompt_share=0.4,
    )
    row = graph.stage("drums")
    model = SingleStageLM(sizes, graph.stream("drums"), tuple(map(graph.stream, row.context))).to(
        device
    )
    model, _ = timed("model, made ready", lambda: prepare_for_decoding(model, in_place=True))
    heard = {name: codes for name in row.context}
    prefix_ids, frames, marks = {TEXT: states}, codes.shape[-1], []
    _, seconds = timed(
        f"model, {args.seconds:g} s",
        lambda: decode(
            model, heard, frames, SAMPLING, [torch.Generator().manual_seed(0)],
            progress=lambda *_: marks.append(time.perf_counter()), prefix_ids=prefix_ids,
        ),
    )  # fmt: skip
    step = (marks[-1] - marks[0]) / (len(marks) - 1)
    print(
        f"model, a step: {1000 * step:.1f} ms; before the first: {seconds - step * len(marks):.2f} s"
    )
    print(
        f"{seconds / args.seconds:.1f} s of work a second of a stem, its windows' prompts and the codec left out"
    )
    print(f"memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB at most")


def _text_states(device):
    """States of 12 pieces by an encoder of t5-base's size, as `decode` takes them."""
    from transformers import T5Config, T5EncoderModel

    network = (
        T5EncoderModel(T5Config(d_model=768, d_kv=64, d_ff=3072, num_layers=12, num_heads=12))
        .to(device)
        .eval()
    )
    return network(input_ids=torch.arange(3, 15, device=device)[None]).last_hidden_state.flatten(1)


if __name__ == "__main__":
    main()
