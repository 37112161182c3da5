"""How the codec is started so that it does not collapse: rescaled convolutions, k-means codebooks, dead codes revived.

At the stock initialisation the latent of a SEANet hardly varies in time and training ends with one code in use.
"""

import torch

CONVOLUTIONS = (torch.nn.Conv1d, torch.nn.ConvTranspose1d)
EMA_DECAY = 0.995
DEAD_SHARE = 0.03  # a code used less than this share of its fair count is dead; use is never even, 0.5 would kill all


@torch.no_grad()
def rescale_convolutions(network: torch.nn.Module, wav: torch.Tensor) -> None:
    """Give every convolution unit output on a real batch [B, 1, T], in the order of the pass, and zero biases.

    LSUV without the orthogonal start (Mishkin and Matas 2015). The last one gets the level of the sound instead.
    """
    modules = [m for half in (network.encoder, network.decoder) for m in half.modules() if isinstance(m, CONVOLUTIONS)]
    level = wav.std()

    def rescale(module, inputs, output):
        scale = (level if module is modules[-1] else 1.0) / output.std().clamp_min(1e-8)
        module.weight.mul_(scale)
        return output * scale

    hooks = []
    for module in modules:
        torch.nn.init.zeros_(module.bias)
        hooks.append(module.register_forward_hook(rescale))
    network.decoder(network.encoder(wav))
    for hook in hooks:
        hook.remove()


@torch.no_grad()
def start_codebooks(quantizer, latents: torch.Tensor, generator: torch.Generator, iterations: int = 10) -> None:
    """K-means codebooks on latents [N, D], residual by residual.

    Raises ValueError if there are fewer latents than codes.
    """
    residual = latents.float()
    for layer in quantizer.layers:
        book = layer.codebook
        bins = book.embed.shape[0]
        if len(residual) < bins:
            raise ValueError(f"{len(residual)} latents cannot start {bins} codes; use more or longer crops")
        centres = residual[_draw(len(residual), bins, generator, residual.device)]
        for _ in range(iterations):
            codes = nearest(residual, centres)
            sums, counts = _sums(residual, codes, bins)
            unused = counts == 0
            centres = sums / counts.clamp_min(1.0)[:, None]
            centres[unused] = residual[_draw(len(residual), int(unused.sum()), generator, residual.device)]
        codes = nearest(residual, centres)
        _, counts = _sums(residual, codes, bins)
        book.embed.copy_(centres)
        book.cluster_size.copy_(counts.clamp_min(1.0) / len(residual))  # share of all latents; EMA_DECAY follows it
        book.embed_avg.copy_(centres * book.cluster_size[:, None])
        residual = residual - centres[codes]


@torch.no_grad()
def quantize(quantizer, latents: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """All codes [Q, N] of latents [N, D], and what each codebook was given, Q residuals [N, D]."""
    residual, codes, residuals = latents.float(), [], []
    for layer in quantizer.layers:
        residuals.append(residual)
        codes.append(nearest(residual, layer.codebook.embed))
        residual = residual - layer.codebook.embed[codes[-1]]
    return torch.stack(codes), residuals


@torch.no_grad()
def update_codebooks(quantizer, codes: torch.Tensor, residuals: list[torch.Tensor], generator: torch.Generator) -> int:
    """Move each code towards the mean of what it was chosen for (EMA), and put dead codes on random residuals.

    Returns the number of codes that were replaced.
    """
    replaced = 0
    for layer, chosen, residual in zip(quantizer.layers, codes, residuals):
        book, bins = layer.codebook, layer.codebook.embed.shape[0]
        sums, counts = _sums(residual, chosen, bins)
        book.cluster_size.lerp_(counts / len(residual), 1 - EMA_DECAY)
        book.embed_avg.lerp_(sums / len(residual), 1 - EMA_DECAY)
        dead = book.cluster_size < DEAD_SHARE / bins
        count = min(int(dead.sum()), len(residual))
        if count:
            dead = dead.nonzero()[:count, 0]
            book.cluster_size[dead] = 1.0 / bins
            book.embed_avg[dead] = residual[_draw(len(residual), count, generator, residual.device)] / bins
            replaced += count
        book.embed.copy_(book.embed_avg / book.cluster_size[:, None])
    return replaced


def nearest(vectors: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Index [N] of the nearest of the centres [K, D] to each vector [N, D]."""
    return (vectors @ centres.T - 0.5 * centres.pow(2).sum(1)).argmax(dim=1)


def _sums(vectors, codes, bins):
    sums = torch.zeros(bins, vectors.shape[1], device=vectors.device).index_add_(0, codes, vectors)
    return sums, torch.bincount(codes, minlength=bins).float()


def _draw(size, count, generator, device):
    return torch.randperm(size, generator=generator)[:count].to(device)
