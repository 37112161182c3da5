"""A discriminator beside a decoder's other losses, as EnCodec was trained (arXiv 2210.13438): for machines that can pay."""

import torch

from accompgen.tokens.noise import with_phases
from accompgen.training.balancer import LossBalancer
from accompgen.training.discriminator import Discriminator, discriminator_loss, feature_loss, generator_loss


class Adversary:
    """The discriminator, its optimizer and the balance of all losses.

    Args:
        config: with discriminator, adversarial_weight, matching_weight, tone_weight, seed, and the discriminator's
            learning rate and share of the steps.
    """

    def __init__(self, config, device):
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed + 1)
            self.discriminator = Discriminator(config.discriminator).to(device)
        rate = config.discriminator_learning_rate
        self.optimizer = torch.optim.AdamW(self.discriminator.parameters(), rate, betas=(0.5, 0.9))
        self.balancer = LossBalancer()
        self.weights = {
            "energy": 1.0,
            "tone": config.tone_weight,
            "peaks": config.peak_weight,
            "adversarial": config.adversarial_weight,
            "features": config.matching_weight * config.adversarial_weight,
        }

    def losses(self, network, said, wav, random, generator) -> dict:
        """`adversarial` and `features` of what was said of crops wav [B, 2, T] (middle, side).

        First, in some of the steps, the discriminator learns from them.
        """
        config = self.config
        tone, pan, level = network.parts(said)
        noise = with_phases(level.transpose(1, 2), generator)
        middle, side = (
            network.tone(spectrum, config.model.sample_rate)
            + network.noise(noise[:, index])
            for index, spectrum in enumerate((tone, tone * pan))
        )
        margin = config.margin * config.model.hop_samples
        fake = torch.stack([middle + side, middle - side], dim=1)[..., margin:-margin]
        real = torch.stack([wav[:, 0] + wav[:, 1], wav[:, 0] - wav[:, 1]], dim=1)[..., margin:-margin]
        if random.random() < config.discriminator_share:
            loss = discriminator_loss(self.discriminator(real), self.discriminator(fake.detach()))
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
        with torch.no_grad():
            truth = self.discriminator(real)
        judged = self.discriminator(fake)
        return {"adversarial": generator_loss(judged), "features": feature_loss(truth, judged)}

    def backward(self, losses: dict, said: torch.Tensor) -> None:
        """Backpropagate the losses, balanced, through what was said."""
        self.balancer.backward(losses, said, self.weights)

    def state_dict(self) -> dict:
        """What a resumed training needs."""
        return {name: part.state_dict() for name, part in self._parts()}

    def load_state_dict(self, state: dict) -> None:
        """The reverse of `state_dict`."""
        for name, part in self._parts():
            part.load_state_dict(state[name])

    def _parts(self):
        return ("discriminator", self.discriminator), ("optimizer", self.optimizer), ("balancer", self.balancer)
