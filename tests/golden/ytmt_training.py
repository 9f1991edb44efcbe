"""Golden checks of YTMT's losses, discriminators and training steps; `test_ytmt.py` runs them."""

import re

import torch
from fixtures import GoldenFile
from torch import nn
from ytmt_recipe import OUTPUT, fill, filled_vgg, system_of

from dereflect.methods.ytmt.criteria import Criteria
from dereflect.nn import losses
from dereflect.nn.discriminator import PatchDiscriminator, VggDiscriminator
from dereflect.nn.vgg import Vgg19


def check_gan(file: GoldenFile) -> None:
    for match in file.matching(r"(n\d+)\.(sgan|rsgan|rasgan)\.(D|G)"):
        real, fake = file.take(f"{match[1]}.logit_real"), file.take(f"{match[1]}.logit_fake")
        loss = losses.discriminator_loss if match[3] == "D" else losses.generator_loss
        file.compare(match[0], loss(match[2], real, fake), rtol=1e-5, atol=1e-7)
    for match in file.matching(r"(disc_vgg|disc_patch)\.(\w+)\.logits"):
        network = VggDiscriminator() if match[1] == "disc_vgg" else PatchDiscriminator()
        fill(network, int(file.metadata["disc_seed"]), "disc")
        file.compare(match[0], network(file.take(f"{match[2]}.x")), atol=OUTPUT)


PERCEPTUAL_WEIGHTS = (1 / 2.6, 1 / 4.8, 1 / 3.7, 1 / 5.6, 10 / 1.5)


def check_losses(file: GoldenFile) -> None:
    vgg = filled_vgg(file.metadata["vgg_seed"])
    for case in file.groups():
        T, R = (file.take(f"{case}.pred_{layer}").requires_grad_() for layer in "TR")
        true_T, true_R, blended = (file.take(f"{case}.{name}") for name in ("target_T", "target_R", "I"))
        file.compare(f"{case}.perceptual.weights", torch.tensor(PERCEPTUAL_WEIGHTS), rtol=1e-6)
        file.compare(
            f"{case}.perceptual.layer_l1", torch.stack(losses.perceptual_terms(vgg, T, true_T)), rtol=1e-5
        )
        values = {
            "exclusion": losses.exclusion_loss(T, R),
            "exclusion_level1": losses.exclusion_loss(T, R, levels=1),
            "exclusion_R_zero": losses.exclusion_loss(T, torch.zeros_like(R)),
            "exclusion_T_zero": losses.exclusion_loss(torch.zeros_like(T), R),
            "gradient": losses.gradient_loss(T, true_T),
            "pixel_T": losses.pixel_loss(T, true_T, 0.3, 0.6),
            "pixel_R_unscaled": losses.pixel_loss(R, true_R, 0.3, 0.6),
            "recons_unscaled": losses.reconstruction_loss(T, R, blended),
            "perceptual": losses.perceptual_loss(vgg, T, true_T, PERCEPTUAL_WEIGHTS),
        }
        for name, value in values.items():
            file.compare(f"{case}.{name}", value, rtol=1e-5)
            for layer, tensor in (("dT", T), ("dR", R)):
                if (key := f"{case}.{name}.{layer}") in file:
                    (gradient,) = torch.autograd.grad(value, tensor, retain_graph=True)
                    file.compare_norm(key, gradient, 5e-3 if name == "perceptual" else 1e-3)


CODE_STAGE_ONE = Criteria(
    transmission_mse=0.3,
    transmission_gradient=0.6,
    reflection_mse=0.45,
    reflection_gradient=0.9,
    reconstruction=0.2,
    perceptual_transmission=0.1,
    perceptual_reflection=0,
    perceptual_levels=PERCEPTUAL_WEIGHTS,
    exclusion=1,
    exclusion_form="code",
    exclusion_levels=3,
    adversarial=0.01,
    adversarial_kind="rasgan",
    adversarial_from_epoch=20,
    fakes=["transmission"],
)
CODE_STAGE_TWO = CODE_STAGE_ONE.model_copy(
    update={
        "transmission_mse": 3.0,
        "transmission_gradient": 6.0,
        "reflection_mse": 3.0,
        "reflection_gradient": 6.0,
        "reconstruction": 0,
        "adversarial_from_epoch": 0,
        "fakes": ["transmission", "reflection"],
    }
)
TERM_NAMES = {
    "loss_icnn_pixel": "pixel_transmission",
    "loss_rcnn_pixel": "pixel_reflection",
    "loss_icnn_vgg": "perceptual_transmission",
    "loss_exclu": "exclusion",
    "loss_recons": "reconstruction",
}


def check_train_step(file: GoldenFile) -> None:
    # In float64: rounding moves gradients through rectifiers and maxima by more than is allowed.
    meta = file.metadata
    vgg = fill(Vgg19(), int(meta["vgg_seed"]), "vgg").double()
    judge = fill(VggDiscriminator(), int(meta["disc_seed"]), "disc").double()
    seeds = {"stage1": [meta["seed"]], "stage2": [meta["seed"], meta["stage2_seed"]]}
    for case, stage in sorted({(m[1], m[2]) for m in file.matching(r"(n\d+)\.(stage\d)\..*")}):
        system = system_of(meta["network"], vgg, seeds[stage]).double()
        network = system.stage2 or system.stage1
        system.stage1.requires_grad_(stage == "stage1")
        criteria = CODE_STAGE_ONE if stage == "stage1" else CODE_STAGE_TWO
        true = {
            name: file.take(f"{case}.{letter}").double()
            for name, letter in (("blended", "I"), ("transmission", "T"), ("reflection", "R"))
        }
        T, R = system(true["blended"])
        made = {"transmission": T, "reflection": R}
        key = f"{case}.{stage}"
        file.compare(f"{key}.pred_T", T, atol=OUTPUT)
        file.compare(f"{key}.pred_R", R, atol=OUTPUT)

        loss_D = criteria.discriminator_term(judge, made, true)
        # Stored before its factor, whereas its gradients include it.
        file.compare(f"{key}.loss_D", loss_D / criteria.adversarial, rtol=1e-5)
        judge.zero_grad()
        loss_D.backward()
        for match in file.matching(rf"{key}\.D\.(.+)\.grad"):
            file.compare_norm(match[0], judge.get_parameter(match[1]).grad, 5e-3)

        terms = criteria.generator_terms(made, true, vgg)
        for theirs, ours in TERM_NAMES.items():
            if ours in terms:
                file.compare(f"{key}.{theirs}", terms[ours], rtol=1e-5)
        adversarial = criteria.adversarial_term(judge, made, true)
        file.compare(f"{key}.loss_G_GAN", adversarial, rtol=1e-5)
        loss_G = torch.stack([*terms.values(), adversarial]).sum()
        file.compare(f"{key}.loss_G", loss_G, rtol=1e-5)
        network.zero_grad()
        loss_G.backward()
        compare_gradients(file, f"{key}.grad.", network)


def compare_gradients(file: GoldenFile, prefix: str, network: nn.Module) -> None:
    for match in file.matching(re.escape(prefix) + r"(.+?)(\.norm|\[0:2,::25\])?"):
        gradient = network.get_parameter(match[1]).grad
        if match[2] == ".norm":
            file.compare(match[0], gradient.norm(), rtol=5e-3)
        else:
            file.compare_norm(match[0], gradient[0:2, ::25] if match[2] else gradient, 5e-3)
