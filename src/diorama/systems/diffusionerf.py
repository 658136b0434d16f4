"""DiffusioNeRF (arXiv 2302.12231): fit a field to few photos; where there are none, follow geometry and a prior.

grad log p(field | photos) = grad log p(photos | field) + grad log p(field): the photometric term is the first, and the
second is what geometry (section 3 of the spec) and a prior over RGBD patches (section 2) know. Without a prior this is
the paper's geometric baseline, and with the further terms of preset `few` our own.
Numbers marked [paper] or [code] are of the spec; all others are ours.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diorama.cameras.rays import Rays
from diorama.cameras.rotations import rotate
from diorama.data.pixels import PixelBatch, PixelPool
from diorama.fields.hashgrid import HashField, cosine_window
from diorama.kernels.resample import outer_bound
from diorama.priors import geometry
from diorama.priors.guide import PriorConfig, gradient_norms, guide_of
from diorama.priors.patches import between_photos
from diorama.priors.photometric import over, with_gain
from diorama.priors.prior import Prior
from diorama.priors.sampled import SampledConfig, SampledPool, SampledViews, area_error, mean_of_trusted
from diorama.priors.schedule import Ramp, constant
from diorama.rendering.render import (
    Background,
    RayRendering,
    SamplingConfig,
    background_colour,
    render_in_pieces,
    render_rays,
)
from diorama.rendering.sampling import ray_limits
from diorama.streams import stream


@dataclass(frozen=True)
class CoarseToFine:
    """(a) Hash levels open one after another; colours do not depend on direction until all are open."""

    enabled: bool = False
    start_levels: float = 4.0
    """Levels open at the start."""
    until: float = 0.5
    """Share of the run at which all are open."""


@dataclass(frozen=True)
class Smoothness:
    """(f) Edge-aware smoothness of inverse depth on patches seen from poses between the photos."""

    weight: Ramp = constant(0.0)
    patches: int = 8
    size: int = 8
    """Pixels a side."""
    every: int = 4
    """Steps between two patches (the weight is multiplied by it)."""
    spacing: float = 2.0
    """Distance of a patch's pixels, in pixels of the photo."""


@dataclass(frozen=True)
class LossConfig:
    """The terms of the fit; every weight is per ray (a mean over the batch)."""

    must_hit: Ramp = constant(0.0)
    """(1 - opacity)^2; the published sum over 1,024 rays at 1e-3 [code] is about 1.0 here."""
    frustum: Ramp = constant(0.0)
    """Weight in places fewer than two cameras see."""
    frustum_near_only: bool = False
    """Count only places nearer than the near-field limit (rings and rooms)."""
    near_field: Ramp = constant(0.0)
    """(c) Weight closer than half of the view's first-percentile depth."""
    distortion: Ramp = constant(0.0)
    distortion_metric: bool = False
    """Distances in metres divided by the ray's depth [paper] instead of normalised distance (d)."""
    distortion_cutoff: float = 0.0
    """Rays below it are left alone (1e-3 [code])."""
    entropy: Ramp = constant(0.0)
    """(e) On rays with opacity above 0.5."""
    depth: Ramp = constant(0.0)
    """(g) Robust inverse depth against stereo."""
    table_decay: float = 0.0
    """(b) Mean square of every level of the tables. Source: Zip-NeRF (arXiv 2304.06706), section 4."""
    density_decay: float = 0.0
    """Sum of squares of the density MLP's parameters (1e-7 [code])."""
    interlevel: float = 1.0
    """The proposal's own loss."""
    exposure_decay: float = 1e-2
    """Mean square of the photos' log-gains."""
    smoothness: Smoothness = Smoothness()


@dataclass(frozen=True)
class DiffusioNeRFConfig:
    """One fit."""

    rays: int = 1024
    one_photo_per_step: bool = False
    """All rays of a step from one photo [code]."""
    background: Background = "none"
    coarse_to_fine: CoarseToFine = CoarseToFine()
    sampling: SamplingConfig = SamplingConfig()
    losses: LossConfig = LossConfig()
    prior: PriorConfig = PriorConfig()
    """How a prior is asked, if the fit is given one."""
    sampled: SampledConfig = SampledConfig()
    """How loudly views speak that a generative model imagined, if the fit is given any."""
    anneal: float = 0.1
    """Share of the run in which the proposal is flattened. Source: mip-NeRF 360, section C."""
    exposure: bool = False
    """Fit a log-gain per photo and channel."""
    pose_after: float | None = None
    """Share of the run after which poses are refined too; None leaves them alone."""


@dataclass(frozen=True)
class FitFrame:
    """What the fit knows of the scene's size, in metres of the normalised frame.

    near: first-percentile depth of each view. sphere: radius of the ball that holds everything, None when unbounded.
    """

    near: Float[Tensor, "view"]
    median_depth: float
    sphere: float | None


FEWEST_RAYS = 32
"""Rays at a time below which less memory does not help."""


class DiffusioNeRF(nn.Module):
    """The fit of one scene: answers `losses(step)`, and renders."""

    prior_scale: Tensor
    """Measured loudness of the prior; 0 before the first measurement. Neither this nor the next is there without a
    prior."""
    prior_ratios: Tensor
    """What each measurement left: the prior's gradient over the photos', before `PriorConfig.weight`; 0 where nothing
    was measured."""
    at_once: int | None
    """Rays that are rendered at a time; None: all of them, as long as memory suffices."""

    def __init__(
        self,
        config: DiffusioNeRFConfig,
        field: HashField,
        pool: PixelPool,
        frame: FitFrame,
        steps: int,
        seed: int,
        prior: Prior | None = None,
        sampled: SampledViews | None = None,
    ) -> None:
        super().__init__()
        self.config, self.field, self.pool, self.frame = config, field, pool, frame
        self.steps, self.seed = steps, seed
        self.device = field.table.device
        self.cameras, self.near = pool.cameras.to(self.device), frame.near.to(self.device)
        views = len(pool.cameras)
        self.log_gain = nn.Parameter(torch.zeros(views, 3)) if config.exposure else None
        self.pose_shift = nn.Parameter(torch.zeros(views, 6)) if config.pose_after is not None else None
        self.guide = guide_of(prior, config.prior, pool.views, steps)
        if self.guide is not None:
            self.register_buffer("prior_scale", torch.tensor(0.0))
            self.register_buffer("prior_ratios", torch.zeros(-(-steps // self.guide.config.between_measurements)))
        self.sampled = None if sampled is None else SampledPool(sampled, config.sampled)
        self.at_once: int | None = None

    # The algorithm, step by step -------------------------------------------------------------------------------

    def losses(self, step: int) -> dict[str, Tensor]:
        """All terms at one step, weighted, ready to be summed."""
        config, terms = self.config, self.config.losses
        self.open_levels(step)
        batch = self.pool.draw(config.rays, stream(self.seed, "pixels", step), config.one_photo_per_step).to(
            self.device
        )
        rays = self.refined(batch, step)
        samples = stream(self.seed, "samples", step)
        background = background_colour(config.background, config.rays, samples, batch.colour)
        seen = self.render(rays, samples, background, step)
        losses = self.photometric(seen, batch, background)
        losses |= self.geometric(seen, batch, rays, step)
        losses |= self.smooth(step)
        losses |= self.unseen(step, losses["photometric"])
        losses |= self.imagined(step)
        if terms.density_decay:
            decay = torch.stack([p.square().sum() for p in self.field.density_head.parameters()]).sum()
            losses["density_decay"] = terms.density_decay * decay
        return losses

    def photometric(self, seen: RayRendering, batch: PixelBatch, background: Tensor) -> dict[str, Tensor]:
        """The photos, and the proposal that follows the field."""
        render = seen.colour
        losses = {}
        if self.log_gain is not None:
            gain = self.log_gain - self.log_gain.mean(0)
            render = with_gain(render, gain[batch.view])
            losses["exposure"] = self.config.losses.exposure_decay * self.log_gain.square().mean()
        target = over(batch.colour, batch.coverage, background)
        error = (render - target).square().mean(-1)
        losses["photometric"] = (error * batch.usable).sum() / batch.usable.sum().clamp_min(1.0)
        if self.field.proposal is not None and self.config.losses.interlevel:
            fractions, weights = seen.coarse
            bound = outer_bound(seen.fractions.detach(), seen.weights.detach(), fractions, weights)
            losses["interlevel"] = self.config.losses.interlevel * bound.mean()
        return losses

    def geometric(self, seen: RayRendering, batch: PixelBatch, rays: Rays, step: int) -> dict[str, Tensor]:
        """The terms that know nothing of this scene but what scenes look like, and the stereo depth."""
        terms, steps = self.config.losses, self.steps
        losses = {}
        limit = 0.5 * self.near[batch.view] / rays.cosine.detach()
        if weight := terms.must_hit.at(step, steps):
            losses["must_hit"] = weight * geometry.must_hit(seen.opacity).mean()
        if weight := terms.near_field.at(step, steps):
            losses["near_field"] = weight * geometry.near_field(seen.weights, seen.edges, limit).mean()
        if weight := terms.frustum.at(step, steps):
            losses["frustum"] = weight * self.outside(seen, rays, limit, 2).mean()
        if weight := terms.distortion.at(step, steps):
            losses["distortion"] = weight * self.spread(seen).mean()
        if weight := terms.entropy.at(step, steps):
            losses["entropy"] = weight * (geometry.entropy(seen.weights) * (seen.opacity.detach() > 0.5)).mean()
        if (weight := terms.depth.at(step, steps)) and self.pool.depth is not None:
            error = geometry.inverse_depth_error(
                seen.weights, seen.edges, rays.cosine.detach(), batch.depth, batch.confidence, self.frame.median_depth
            )
            losses["depth"] = weight * error.mean()
        return losses

    def outside(self, seen: RayRendering, rays: Rays, limit: Tensor, wanted: int) -> Float[Tensor, "ray"]:
        """Weight in places that fewer than `wanted` cameras see; nearer than `limit` only, where the config says so."""
        terms = self.config.losses
        middle = 0.5 * (seen.edges[:, 1:] + seen.edges[:, :-1])
        points = rays.origins[:, None] + rays.directions[:, None] * middle[..., None]
        count = geometry.seen_by(points.detach().reshape(-1, 3), self.cameras, self.config.sampling.near)
        weights = seen.weights
        if terms.frustum_near_only:
            weights = weights * (middle < limit[:, None])
        return geometry.frustum(weights, count.reshape(middle.shape), wanted)

    def spread(self, seen: RayRendering) -> Float[Tensor, "ray"]:
        """How far apart the light was stopped; rays below the cutoff count as done.

        Metres are divided by the ray's depth with its gradient: were it held fixed, drawing all light nearer would pay.
        """
        terms = self.config.losses
        if terms.distortion_metric:
            spread = geometry.distortion(seen.weights, seen.edges) / seen.distance.clamp_min(1e-3)
        else:
            spread = geometry.distortion(seen.weights, seen.fractions)
        return spread * (spread > terms.distortion_cutoff)

    def unseen(self, step: int, photometric: Tensor) -> dict[str, Tensor]:
        """An RGBD patch from near a photo, or out of one: the prior's gradient, and geometry on its rays.

        Source: spec, section 2. The stream of random numbers is the patches' own.
        """
        guide = self.guide
        if guide is None or not guide.speaks_at(step):
            return {}
        config, terms = guide.config, self.config.losses
        generator = stream(self.seed, "prior patch", step)
        patch = guide.sampler.draw(generator)
        rays = patch.rays.to(self.device)
        backdrop = background_colour(self.config.background, 1, generator, rays.origins).expand(len(rays), 3)
        sampling = self.config.sampling
        sampling = replace(sampling, coarse=config.coarse or sampling.coarse, fine=config.fine)
        seen = self.render(rays, None, backdrop, step, sampling)
        solid = seen.weights[:, :-1] if sampling.last_opaque else seen.weights
        depth = seen.distance * rays.cosine
        loss = guide.loss(patch, seen.colour, depth, solid.sum(-1), backdrop, step, generator)
        losses = {"prior": config.every * guide.weight(step) * self.loudness(step, photometric, loss) * loss}
        per_ray = config.every * config.geometry / self.config.rays  # a sum over rays, in units of the photos' mean
        if weight := terms.distortion.at(step, self.steps) * per_ray:
            losses["patch_distortion"] = weight * self.spread(seen).sum()
        if weight := terms.frustum.at(step, self.steps) * per_ray:
            limit = 0.5 * self.near[patch.view] / rays.cosine
            losses["patch_frustum"] = weight * self.outside(seen, rays, limit, config.frustum_wanted).sum()
        return losses

    def loudness(self, step: int, photometric: Tensor, prior: Tensor) -> float:
        """Factor on the prior's loss; 1, or such that its gradient is the wanted share of the photos' (smoothed).

        The share is met where the prior is loudest: in the tables, the density head or the colour head. Photos pull on
        the heads much more than on the tables, so over all of them together a prior could seem faint that rules there.
        """
        config = self.config.prior
        if config.gradient_share is None or self.guide is None:
            return 1.0
        known = float(self.prior_scale)
        due = step % config.between_measurements == 0 and not self.guide.settled(step)
        if known > 0 and not due:
            return known
        field = self.field
        parts = [[field.table], [*field.density_head.parameters()], [*field.colour_head.parameters()]]
        ours, theirs = gradient_norms(prior, parts), gradient_norms(photometric, parts)
        ratio = max(own / max(other, 1e-30) for own, other in zip(ours, theirs, strict=True))
        if ratio == 0:
            return known
        found = config.gradient_share / ratio
        scale = found if known == 0 else known**config.smoothing * found ** (1.0 - config.smoothing)
        self.prior_scale.fill_(scale)
        self.prior_ratios[step // config.between_measurements] = scale * ratio
        return scale

    def measurements(self) -> list[tuple[int, float, float]]:
        """Of each measurement of the prior's loudness: step, tau, and the prior's gradient over the photos'."""
        if self.guide is None:
            return []
        config = self.guide.config
        steps = [number * config.between_measurements for number in range(len(self.prior_ratios))]
        found = zip(steps, self.prior_ratios.tolist(), strict=True)
        return [(step, config.tau.at(step, self.steps), ratio) for step, ratio in found if ratio > 0]

    def imagined(self, step: int) -> dict[str, Tensor]:
        """Views that a generative model sampled: colour where no photograph shows the surface, depth where none has
        stereo; see `priors.sampled`."""
        pool = self.sampled
        if pool is None or not pool.speaks_at(step, self.steps):
            return {}
        config, generator = pool.config, stream(self.seed, "sampled views", step)
        batch = pool.draw(step, self.steps, generator).to(self.device)
        rays = batch.rays
        behind: Background = "white" if pool.views.cut_out else self.config.background
        background = background_colour(behind, len(rays), generator, rays.origins)
        seen = self.render(rays, generator, background, step)
        rays_a_pixel = config.side**2
        losses = {}
        if weight := config.weight.at(step, self.steps) * config.every:
            losses["sampled"] = weight * area_error(seen.colour, batch, rays_a_pixel)
        if weight := pool.depth.at(step, self.steps) * config.every:
            depth, trust = (part.repeat_interleave(rays_a_pixel) for part in (batch.depth, batch.depth_trust))
            error = geometry.inverse_depth_error(
                seen.weights, seen.edges, rays.cosine, depth, trust, self.frame.median_depth
            )
            losses["sampled_depth"] = weight * mean_of_trusted(error, trust)
        return losses

    def smooth(self, step: int) -> dict[str, Tensor]:
        """Smoothness of inverse depth on patches from poses between two photos."""
        smoothness = self.config.losses.smoothness
        weight = smoothness.weight.at(step, self.steps) * smoothness.every
        if not weight or step % smoothness.every:
            return {}
        generator = stream(self.seed, "patches", step)
        between = between_photos(self.pool.cameras, smoothness.patches, smoothness.size, smoothness.spacing, generator)
        rays = between.to(self.device)
        background = background_colour(self.config.background, len(rays.origins), generator, rays.origins)
        out = self.render(rays, generator, background, step)
        shape = (smoothness.patches, smoothness.size, smoothness.size)
        depth = (out.distance * rays.cosine).reshape(shape)
        rough = geometry.smoothness(depth, out.colour.reshape(*shape, 3), self.frame.median_depth)
        return {"smoothness": weight * rough.mean()}

    def after_backward(self, step: int) -> None:
        """The decay of the tables, level by level, added to their gradients in place."""
        del step
        if decay := self.config.losses.table_decay:
            for module in (self.field, self.field.proposal):
                if module is None or module.table.grad is None:
                    continue
                layout, features = module.layout, module.table.shape[1]
                for offset, size in zip(layout.offsets, layout.sizes, strict=True):
                    part = slice(offset, offset + size)
                    scale = 2.0 * decay / (size * features)
                    module.table.grad[part].add_(module.table.detach()[part], alpha=scale)

    # What the steps are made of ----------------------------------------------------------------------------------

    def open_levels(self, step: int) -> None:
        """Open hash levels and harmonics for a step; everything is open once the schedule has ended."""
        schedule, field = self.config.coarse_to_fine, self.field
        progress = step / max(self.steps, 1)
        if not schedule.enabled or progress >= schedule.until:
            field.level_weights, field.open_degree = None, field.config.sh_degree
            return
        levels = field.config.grid.levels
        field.level_weights = cosine_window(levels, schedule.start_levels, progress, schedule.until).to(self.device)
        field.open_degree = 0

    def refined(self, batch: PixelBatch, step: int) -> Rays:
        """The batch's rays under the refined poses; rotation vectors and shifts act in the world."""
        after = self.config.pose_after
        if self.pose_shift is None or after is None or step < after * self.steps:
            return batch.rays
        shift = self.pose_shift[batch.view]
        turned = rotate(batch.rays.directions, shift[:, :3])
        return Rays(batch.rays.origins + shift[:, 3:] * self.frame.median_depth, turned, batch.rays.cosine)

    def use_less_memory(self) -> str | None:
        """Render half as many rays at a time from now on: says so, or None where that is no longer possible."""
        patch = 0 if self.guide is None else self.guide.prior.encoding.window.size**2
        before = self.at_once or max(self.config.rays, patch)
        if before < 2 * FEWEST_RAYS:
            return None
        self.at_once = before // 2
        return f"{self.at_once} rays are rendered at a time from now on, instead of {before}"

    def render(
        self,
        rays: Rays,
        generator: torch.Generator | None,
        background: Tensor,
        step: int | None = None,
        sampling: SamplingConfig | None = None,
    ) -> RayRendering:
        """Render rays of the normalised frame."""
        sampling = sampling or self.config.sampling
        near, far = ray_limits(rays, sampling.near, sampling.far, self.frame.sphere)
        anneal = 1.0
        if step is not None and self.config.anneal > 0:
            progress = min(step / max(self.steps * self.config.anneal, 1.0), 1.0)
            anneal = 10.0 * progress / (9.0 * progress + 1.0)
        if self.at_once is None or len(rays) <= self.at_once:
            return render_rays(self.field, rays, near, far, sampling, background, generator, anneal)
        return render_in_pieces(
            self.field, rays, near, far, sampling, background, generator, anneal, at_once=self.at_once
        )
