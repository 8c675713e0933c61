"""Sizes of the learned model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """Widths and depths of the networks.

    Attributes:
        encoder_dim: hidden width of the encoder.
        encoder_layers: layers of the encoder, the last included.
        mlp_dim: hidden width of all other networks.
        latent_dim: size of the latent state.
        ensemble_size: members of the value ensemble.
    """

    encoder_dim: int
    encoder_layers: int
    mlp_dim: int
    latent_dim: int
    ensemble_size: int


SIZES: dict[int, ModelSize] = {
    1: ModelSize(encoder_dim=256, encoder_layers=2, mlp_dim=384, latent_dim=128, ensemble_size=2),
    5: ModelSize(encoder_dim=256, encoder_layers=2, mlp_dim=512, latent_dim=512, ensemble_size=5),
    19: ModelSize(encoder_dim=1024, encoder_layers=3, mlp_dim=1024, latent_dim=768, ensemble_size=5),
    48: ModelSize(encoder_dim=1792, encoder_layers=4, mlp_dim=1792, latent_dim=768, ensemble_size=5),
    317: ModelSize(encoder_dim=4096, encoder_layers=5, mlp_dim=4096, latent_dim=1376, ensemble_size=8),
}
"""The published sizes by their millions of parameters (TD-MPC2, appendix)."""
