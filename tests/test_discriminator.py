"""The discriminator: its shapes, its losses by hand, and that it learns to hear clicks."""

import pytest
import torch

from accompgen.config import ConfigError
from accompgen.training.discriminator import (
    Discriminator,
    DiscriminatorConfig,
    discriminator_loss,
    feature_loss,
    generator_loss,
)

SMALL = DiscriminatorConfig(filters=4, windows=(128, 64))
FRAME = 320  # samples


def make(config=SMALL):
    torch.manual_seed(0)
    return Discriminator(config)


def noise(batch=4, samples=1600, seed=0):
    return 0.1 * torch.randn(batch, 1, samples, generator=torch.Generator().manual_seed(seed))


def clicked(wav):
    """The same with impulses at two places of each frame."""
    wav = wav.clone()
    for place in (10, 185):
        wav[..., place::FRAME] -= 0.6
    return wav


@pytest.mark.parametrize("channels, judged", [(1, 6), (2, 3)])
def test_every_window_has_logits_and_four_layers_of_features(channels, judged):
    discriminator = make(DiscriminatorConfig(filters=5, windows=(256, 64), channels=channels))
    told = discriminator(torch.randn(3, 2, 1000))
    assert len(told) == 2
    for (logits, features), window in zip(told, (256, 64)):
        frames = 1 + (1000 - window) // (window // 4)
        bins = [window // 2, window // 4, window // 8, window // 16]
        expected = [(judged, 5, frames, count) for count in bins]
        assert [tuple(feature.shape) for feature in features] == expected
        assert logits.shape == (judged, 1, frames, window // 16)


def test_the_published_sizes():
    discriminator = make(DiscriminatorConfig())
    assert len(discriminator.scales) == 5
    layers = [*discriminator.scales[0].layers, discriminator.scales[0].judge]
    inner = 3 * [(32, 32, 3, 8)]
    assert [tuple(layer.weight.shape) for layer in layers] == [(32, 2, 3, 8), *inner, (1, 32, 3, 3)]
    assert [layer.dilation for layer in layers] == [(1, 1), (1, 1), (2, 1), (4, 1), (1, 1)]
    assert [layer.stride for layer in layers] == [(1, 1), (1, 2), (1, 2), (1, 2), (1, 1)]
    # weight norm: the filters' lengths are numbers of their own
    layers[1].parametrizations.weight.original0.data.fill_(2.0)
    torch.testing.assert_close(layers[1].weight.flatten(1).norm(dim=1), torch.full((32,), 2.0))


def test_alone_each_channel_is_judged_as_if_there_were_no_other_and_stacked_it_is_not():
    wav = torch.cat([noise(), noise(seed=1)], dim=1)
    changed = torch.stack([wav[:, 0], 2 * wav[:, 1]], dim=1)
    for channels, same in ((1, True), (2, False)):
        discriminator = make(DiscriminatorConfig(filters=4, windows=(64,), channels=channels))
        step = 2 // channels  # of the rows that hear the left channel
        before, after = (discriminator(sound)[0][0][::step] for sound in (wav, changed))
        assert torch.equal(before, after) == same


def test_the_gradient_reaches_every_sample_and_every_weight():
    discriminator, wav = make(), noise().requires_grad_()
    generator_loss(discriminator(wav)).backward()
    assert (wav.grad[..., 64:-64] != 0).all()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in discriminator.parameters())


def test_it_learns_to_tell_clicks_from_noise():
    discriminator = make(DiscriminatorConfig(filters=4, windows=(256, 64)))
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=1e-2, betas=(0.5, 0.9))
    losses = []
    for step in range(60):
        real, fake = noise(samples=960, seed=step), clicked(noise(samples=960, seed=1000 + step))
        loss = discriminator_loss(discriminator(real), discriminator(fake))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(2, abs=0.1) and max(losses[-3:]) < 0.75 * losses[0]
    unheard = noise(samples=960, seed=5000)
    with torch.no_grad():
        for (real, _), (fake, _) in zip(discriminator(unheard), discriminator(clicked(unheard))):
            # of every item: the least real noise is taken for more real than the most real clicks
            assert real.mean((1, 2, 3)).min() > fake.mean((1, 2, 3)).max() + 0.2
        losses = [generator_loss(discriminator(wav)) for wav in (unheard, clicked(unheard))]
        assert losses[0] < losses[1]


def test_hinge_losses_by_hand():
    def says(*numbers):
        return [(torch.tensor([float(number)]), []) for number in numbers]

    assert discriminator_loss(says(2, 1), says(-1, -3)) == 0
    assert discriminator_loss(says(0, 1), says(0.5, -1)) == pytest.approx((1 + 1.5) / 2)
    assert generator_loss(says(2, 1)) == 0 and generator_loss(says(0, -2)) == pytest.approx(2)


def test_feature_loss_is_relative_and_its_target_has_no_gradient():
    discriminator, wav = make(), noise()
    for name, parameter in discriminator.named_parameters():
        if name.endswith("bias"):
            parameter.data.zero_()  # then features grow as the sound does
    real = discriminator(wav)
    assert feature_loss(real, discriminator(wav)) == 0
    assert feature_loss(real, discriminator(3 * wav)).item() == pytest.approx(2, rel=1e-4)
    loud = feature_loss(discriminator(10 * wav), discriminator(30 * wav))
    assert loud.item() == pytest.approx(2, rel=1e-4), "the level of both does not matter"
    target, made = noise().requires_grad_(), noise(seed=1).requires_grad_()
    feature_loss(discriminator(target), discriminator(made)).backward()
    assert target.grad is None and made.grad.abs().sum() > 0


def test_bad_sizes_and_sounds_are_named():
    windows = [dict(windows=sizes) for sizes in ((), (8,), (130,))]
    for values in (dict(filters=0), *windows, dict(channels=3)):
        with pytest.raises(ConfigError, match=next(iter(values))):
            DiscriminatorConfig(**values)
    with pytest.raises(ValueError, match=r"shape \(2, 800\); expected \[B, C, T\]"):
        make()(torch.zeros(2, 800))
    with pytest.raises(ValueError, match="C a multiple of 2"):
        make(DiscriminatorConfig(filters=1, windows=(64,), channels=2))(torch.zeros(2, 1, 800))
    with pytest.raises(ValueError, match="sound has 100 samples; expected 128, a window"):
        make()(torch.zeros(2, 1, 100))
