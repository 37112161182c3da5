"""Other people's decoding loops, as their users call them: x-transformers, Hugging Face's Llama and MusicGen's decoder.

Llama is there once more as its users make it quick on a CPU: with a cache of fixed size, a step compiled by torch. MusicGen's
loop cannot have that cache (transformers 5.23), and x-transformers has none.

A peer has the width, layers, heads and vocabulary of the stage it stands beside; x-transformers and Llama group their queries
where it does, MusicGen cannot. All have the same number of weights in their blocks, 16 D^2 a layer without groups:
x-transformers and Llama a gated feed-forward of inner width 4 D, MusicGen a plain one of 4 D and attention to a text. The rows
are the two of guidance; MusicGen alone combines them, the others sample from both.
"""

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from bench_report import wait

from accompgen.config import StageConfig

COMPILED = "Llama, compiled"
TOP_K, TEMPERATURE, GUIDANCE, TEXT_TOKENS = 250, 0.9, 3.0, 16


@dataclass(frozen=True)
class Peer:
    """A model and how it decodes."""

    name: str
    network: torch.nn.Module
    generate: Callable[[int, int, int, Callable], None]  # prompt positions, steps, songs, what to call at every step
    unread: torch.nn.Module  # embeddings, of which a step reads a row
    cache_width: int  # values that a position of a row has in the cache
    compiled: bool = False  # half a minute for every shape

    def bytes_per_step(self, positions: float, songs: int) -> float:
        """Bytes of the weights that a step reads, and of the keys and values of `positions` earlier positions."""
        unread = {id(parameter) for parameter in self.unread.parameters()}
        read = [parameter for parameter in self.network.parameters() if id(parameter) not in unread]
        return sum(p.nbytes for p in read) + 2 * songs * positions * self.cache_width * read[0].element_size()


class Ticks:
    """Counts the steps of one decoding and times the first and the last, each after all work before it is done."""

    def __init__(self, device: str, expected: int):
        self.device, self.expected, self.count, self.first, self.last = device, expected, 0, None, None

    def __call__(self, *_):
        self.count += 1
        if self.count == 1:
            self.first = wait(self.device)
        elif self.count == self.expected:
            self.last = wait(self.device)

    @property
    def per_second(self) -> float:
        """Ticks a second between the first and the last. Raises RuntimeError if it did not tick as often as expected."""
        if self.last is None or self.count != self.expected:
            raise RuntimeError(f"{self.count} steps were counted where {self.expected} were expected")
        return (self.expected - 1) / (self.last - self.first)


class Remembered:
    """A method whose first call of a decoding, the one that reads the prompt, is answered with a copy of the last answer.

    Only the steps behind it are timed, and on a CPU reading a prompt of 32 rows again for every repeat would take minutes.
    """

    def __init__(self, owner, method: str):
        self.answers, self.key = {}, None
        real = getattr(owner, method)

        @functools.wraps(real)
        def remembered(*args, **kwargs):
            if self.key is None:
                return real(*args, **kwargs)
            key, self.key = self.key, None
            if key not in self.answers:
                self.answers = {key: real(*args, **kwargs)}  # the one before is not asked for again
            return copy.deepcopy(self.answers[key])

        setattr(owner, method, remembered)

    def begin(self, *key) -> None:
        """The next call is the first of a decoding; `key` says of which."""
        self.key = key


def peers(config: StageConfig, vocab: int, positions: int, device: str) -> list[Peer]:
    """The peers of a stage's decoder in float32, with random weights, for sequences of up to `positions`.

    Raises ImportError where x-transformers is missing.
    """
    makers = {"x-transformers": _xtransformers, "Llama": _llama, "MusicGen": _musicgen}
    if device == "cpu":
        makers[COMPILED] = functools.partial(_llama, compiled=True)
    built = []
    for name, make in makers.items():
        kv_heads = config.heads if name == "MusicGen" else config.kv_heads or config.heads
        network, generate, unread = make(config.width, config.layers, config.heads, kv_heads, vocab, positions, device)
        network.eval().requires_grad_(False).to(device)
        if device == "cpu" and name != COMPILED:
            generate = _remembering(generate, Remembered(network, "forward"), network)
        cache_width = 2 * config.layers * config.width * kv_heads // config.heads
        built.append(Peer(name, network, generate, unread, cache_width, name == COMPILED))
    return built


def xtransformers_decoder(width, layers, heads, kv_heads, vocab, positions):
    """x-transformers' language model of blocks like ours: QK-norm, T5 bias, GEGLU, RMSNorm."""
    try:
        from x_transformers import Decoder, TransformerWrapper
    except ImportError as error:
        raise ImportError("the peers need x-transformers: pip install 'accompgen[reference]'") from error
    blocks = Decoder(
        dim=width, depth=layers, heads=heads, attn_kv_heads=kv_heads, attn_dim_head=width // heads, attn_qk_norm=True,
        attn_qk_norm_dim_scale=True, rel_pos_bias=True, ff_glu=True, use_rmsnorm=True,
    )  # fmt: skip
    return TransformerWrapper(num_tokens=vocab, max_seq_len=positions, attn_layers=blocks, use_abs_pos_emb=False)


def _xtransformers(width, layers, heads, kv_heads, vocab, positions, device):
    network = xtransformers_decoder(width, layers, heads, kv_heads, vocab, positions)
    from x_transformers import AutoregressiveWrapper
    from x_transformers.autoregressive_wrapper import top_k

    def generate(prompt, steps, songs, tick):
        def keep(logits):
            tick()
            return top_k(logits, k=min(TOP_K, vocab))

        ids = torch.randint(vocab, (2 * songs, prompt), device=device)
        loop.generate(ids, steps, temperature=TEMPERATURE, filter_logits_fn=keep, cache_kv=True)

    loop = AutoregressiveWrapper(network)
    return network, generate, network.token_emb


def _llama(width, layers, heads, kv_heads, vocab, positions, device, compiled=False):
    from transformers import CompileConfig, LlamaConfig, LlamaForCausalLM

    sizes = dict(hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=4 * width)
    sizes |= dict(num_key_value_heads=kv_heads)
    ends = dict(bos_token_id=None, eos_token_id=None, pad_token_id=None)
    network = LlamaForCausalLM(LlamaConfig(vocab_size=vocab, max_position_embeddings=positions, **sizes, **ends))

    settings = {}
    if compiled:
        settings = dict(cache_implementation="static", compile_config=CompileConfig(fullgraph=False, mode="default"))
        settings["compile_config"]._compile_all_devices = True  # by itself it compiles on GPUs alone

    def generate(prompt, steps, songs, tick):
        ids = torch.randint(vocab, (2 * songs, prompt), device=device)
        network.generate(ids, attention_mask=torch.ones_like(ids), **_settings(steps, tick, vocab), **settings)

    return network, generate, network.model.embed_tokens


def _musicgen(width, layers, heads, _, vocab, positions, device):
    from transformers import MusicgenDecoderConfig, MusicgenForCausalLM

    sizes = dict(hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, ffn_dim=4 * width, num_codebooks=4)
    pad = dict(pad_token_id=vocab, bos_token_id=vocab, dropout=0.0, is_decoder=True, add_cross_attention=True)
    network = MusicgenForCausalLM(MusicgenDecoderConfig(vocab_size=vocab, max_position_embeddings=positions, **sizes, **pad))
    network.generation_config.decoder_start_token_id = vocab

    def generate(prompt, steps, songs, tick):
        ids = torch.randint(vocab, (4 * songs, prompt), device=device)
        text = torch.randn(2 * songs, TEXT_TOKENS, width, device=device, dtype=network.dtype)
        settings = _settings(steps, tick, vocab) | dict(guidance_scale=GUIDANCE, num_return_sequences=1)
        network.generate(ids, encoder_hidden_states=text, **settings)

    return network, generate, network.model.decoder.embed_tokens


def _settings(steps, tick, vocab):
    from transformers import LogitsProcessorList

    def count(ids, scores):
        tick()
        return scores

    sampling = dict(do_sample=True, top_k=min(TOP_K, vocab), temperature=TEMPERATURE)
    return sampling | dict(max_new_tokens=steps, logits_processor=LogitsProcessorList([count]))


def _remembering(generate, memory, network):
    def run(prompt, steps, songs, tick):
        memory.begin(prompt, songs, next(network.parameters()).dtype)
        generate(prompt, steps, songs, tick)

    return run
