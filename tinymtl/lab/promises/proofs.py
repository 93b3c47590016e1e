"""Why nothing can break a promise: two lines for every ✓ of the table, by the strategy's name in the registry."""

from __future__ import annotations

ALIKE = "The formula treats all tasks alike: in another order of the tasks its sums have the same terms."
EVERY_ONE = "No gₖ·v is negative, so their mean is not."
HULL = "v lies in the hull of the gₖ, whose shortest vector is p: ‖v‖ ≥ ‖p‖."
AT_MOST_LONGEST = "v = Σ wₖgₖ with w ≥ 0 and Σ wₖ = 1: ‖v‖ ≤ maxₖ‖gₖ‖."
CONE = "convex, and no gₖ·d of it is negative"
PUSHED = "The projection on the cone adds Σ zⱼgⱼ with z ≥ 0: every weight is at least 1/K, so ‖v‖ ≥ ‖p‖ Σ wₖ ≥ ‖p‖."
DISTANCE = (
    "If each gₖ moves by at most ε, each hull is within ε of the other. From p·p′ ≥ ‖p‖² − ε‖p‖ and "
    "p·p′ ≥ ‖p′‖² − ε‖p′‖ (the nearest point's inequality, twice): ‖p − p′‖² ≤ ε(‖p‖ + ‖p′‖)."
)
LOSSES_ALONE = "The weights do not depend on this step's gradients: v = Σ wₖgₖ is linear in them."
SUM_IS_K = "w > 0 with Σ wₖ = K: v is K times a vector of the hull, ‖v‖ ≥ K‖p‖."
AT_MOST_K = "w > 0 with Σ wₖ = K: ‖v‖ ≤ K maxₖ‖gₖ‖."
SMOOTH = "½αᵀGα − Σ φ(αₖ) is strictly convex, so its minimum moves smoothly with G."
WIDE_CONE = "The cone has inner points, so that it moves continuously with the gₖ, and with it the nearest point."
ROUND = "gₖ/‖gₖ‖ is continuous for gₖ ≠ 0."
MEETING = "The two branches meet: at the border between them nothing is added, and gⱼ ≠ 0."
UNITS = "Only the uₖ = gₖ/‖gₖ‖ enter, which do not change if a loss is multiplied by a number."

#: What is kept everywhere but at Pareto-stationary points.
ELSEWHERE: dict[str, dict[str, str]] = {
    "nash": {"continuous": SMOOTH},
    "fairgrad": {"continuous": SMOOTH},
    "upgrad": {"continuous": WIDE_CONE},
    "dualproj": {"continuous": WIDE_CONE},
    "cagrad": {"continuous": "The best v of the ball is unique, as g_w ≠ 0: it moves continuously with the gₖ."},
    "pcgrad": {"continuous": MEETING},
    "gradvac": {"continuous": MEETING},
    "db-mtl": {"continuous": ROUND},
    "ngdiff": {"continuous": ROUND},
}

PROOFS: dict[str, dict[str, str]] = {
    "averaged": {
        "order of the tasks": ALIKE,
        "linear": "v = Σ gₖ/K is linear in every gₖ.",
        "stops only at Pareto": HULL,
        "bounded": AT_MOST_LONGEST,
        "continuous": "v = Σ gₖ/K is linear in every gₖ.",
        "mean falls": "v = g₀, and g₀·g₀ ≥ 0.",
    },
    "mgda": {
        "raises no loss": "v + t(gₖ − v) is in the hull for 0 ≤ t ≤ 1 and never shorter than v. Its squared length "
        "grows at t = 0 by 2(gₖ − v)·v, which is therefore ≥ 0: gₖ·v ≥ ‖v‖².",
        "order of the tasks": "The hull, and so its shortest vector, does not depend on the order of the gₖ.",
        "stops only at Pareto": "v = p.",
        "stops at all Pareto": "v = p, and p = 0 there.",
        "bounded": "Each gₖ is in the hull, and v is its shortest vector: ‖v‖ ≤ minₖ‖gₖ‖.",
        "task twice": "The hull, and so its shortest vector, stays the same.",
        "continuous": DISTANCE,
        "mean falls": EVERY_ONE,
    },
    "mgda-ub": {
        "order of the tasks": "The hull of the ∇_Z Lₖ, and so its shortest vector u, does not depend on their order; "
        "v = (∂Z/∂θ)ᵀu.",
        "stops only at Pareto": "v = Σ αₖ∇_θLₖ with MGDA-UB's α, which is on the simplex. " + HULL,
        "bounded": AT_MOST_LONGEST,
        "task twice": "The hull of the ∇_Z Lₖ, and so its shortest vector u, stays the same; v = (∂Z/∂θ)ᵀu.",
        "continuous": "v = (∂Z/∂θ)ᵀu, and u is MGDA's v for the ∇_Z Lₖ, which is continuous.",
    },
    "nash": {
        "raises no loss": "gₖ·v = (Gα)ₖ = 1/αₖ > 0; if there is no solution, v = 0.",
        "order of the tasks": ALIKE,
        "unit: direction": "If gₖ becomes c·gₖ, αₖ/c solves the equations again: αₖgₖ stays, and so does v.",
        "unit: step": "If gₖ becomes c·gₖ, αₖ/c solves the equations again: αₖgₖ stays, and so does v.",
        "stops only at Pareto": "‖v‖² = Σ αₖ(Gα)ₖ = Σ αₖ/αₖ = K, and there is a solution if p ≠ 0: then "
        "½αᵀGα − Σ log αₖ grows in every direction α ≥ 0.",
        "bounded": "‖v‖² = Σ αₖ(Gα)ₖ = Σ αₖ/αₖ = K, or v = 0.",
        "mean falls": EVERY_ONE,
    },
    "fairgrad": {
        "raises no loss": "gₖ·v = (Gα)ₖ = αₖ^(−1/2) > 0; if there is no solution, v = 0.",
        "order of the tasks": ALIKE,
        "stops only at Pareto": "For ‖gₖ‖ ≤ 1, αₖ^(−1/2) = gₖ·v ≤ ‖v‖. So ‖v‖² = Σ αₖ(Gα)ₖ = Σ αₖ^(1/2) ≥ K/‖v‖: "
        "‖v‖ ≥ K^(1/3).",
        "mean falls": EVERY_ONE,
    },
    "upgrad": {
        "raises no loss": f"v is a mean of vectors of the cone {{d: gₖ·d ≥ 0 for all k}}, which is {CONE}.",
        "order of the tasks": ALIKE,
        "linear": "Longer gradients do not change the cone, and a projection on a cone has π(cg) = cπ(g) for c > 0: "
        "v = Σ cₖπ(gₖ)/K.",
        "stops only at Pareto": PUSHED,
        "bounded": "A projection on a cone makes nothing longer: ‖v‖ ≤ Σ ‖gₖ‖/K.",
        "mean falls": EVERY_ONE,
    },
    "dualproj": {
        "raises no loss": f"v is in the cone {{d: gₖ·d ≥ 0 for all k}}, which is {CONE}.",
        "order of the tasks": ALIKE,
        "stops only at Pareto": PUSHED,
        "bounded": "A projection on a cone makes nothing longer: ‖v‖ ≤ ‖g₀‖.",
        "mean falls": EVERY_ONE,
    },
    "cagrad": {
        "order of the tasks": ALIKE,
        "stops only at Pareto": "Every weight is at least 1/K: ‖v‖ ≥ ‖p‖ Σ αₖ ≥ ‖p‖.",
        "bounded": "‖v − g₀‖ ≤ c‖g₀‖: ‖v‖ ≤ (1 + c)‖g₀‖.",
        "mean falls": "‖v − g₀‖ ≤ c‖g₀‖: g₀·v ≥ ‖g₀‖² − c‖g₀‖² ≥ 0, as c = 0.4.",
    },
    "pcgrad": {
        "order of the tasks": "v is the mean over all orders.",
        "linear": "What gᵢ loses against gⱼ depends on the direction of gⱼ alone and grows with gᵢ: v(cg) = Σ cᵢgᵢ′.",
        "stops only at Pareto": "gᵢ′ = gᵢ + Σ zⱼgⱼ with z ≥ 0: all weights are at least 1, so ‖v‖ ≥ K‖p‖.",
        "bounded": "Every projection makes gᵢ′ shorter: ‖v‖ ≤ Σ ‖gₖ‖.",
    },
    "config": {
        "order of the tasks": ALIKE,
        "linear": "û depends on the directions of the gₖ alone: v = (Σ gₖ·û) û is linear in their lengths.",
        "bounded": "|gₖ·û| ≤ ‖gₖ‖: ‖v‖ ≤ Σ ‖gₖ‖.",
        "mean falls": "g₀·v = (Σ gₖ·û)(g₀·û) = (Σ gₖ·û)²/K ≥ 0.",
    },
    "aligned": {
        "order of the tasks": "σG^(−1/2) is a function of the matrix G: its rows and columns change places as the "
        "tasks do, and w = 1/K for all.",
        "bounded": "v = σQᵀw, where Q has orthonormal rows or fewer: ‖v‖ ≤ σ‖w‖, with σ ≤ √K maxₖ‖gₖ‖ and ‖w‖ = 1/√K.",
        "mean falls": "g₀·v = wᵀGα = σ wᵀG^(1/2)w, and G^(1/2) has no negative eigenvalue.",
    },
    "sdmgrad": {
        "order of the tasks": ALIKE,
        "stops only at Pareto": HULL,
        "bounded": AT_MOST_LONGEST,
        "continuous": "v is the shortest vector of the hull of (g₀λ + gₖ)/(1 + λ). " + DISTANCE,
        "mean falls": "g₀ is in the set of which v is the shortest vector: as for MGDA, g₀·v ≥ ‖v‖².",
    },
    "db-mtl": {
        "order of the tasks": ALIKE,
        "unit: direction": "Only gₖ/‖gₖ‖ and ‖gₖ‖/Lₖ enter, which do not change if a loss is multiplied by a number.",
        "unit: step": "Only gₖ/‖gₖ‖ and ‖gₖ‖/Lₖ enter, which do not change if a loss is multiplied by a number.",
        "stops only at Pareto": "v = m Σ gₖ/‖gₖ‖ with m ≥ maxₖ‖gₖ‖ / maxₖLₖ: ‖v‖ ≥ m‖p‖ Σ 1/‖gₖ‖ ≥ K‖p‖/maxₖLₖ (losses "
        "of 1,000 and more are out of the question here).",
    },
    "ngdiff": {
        "order of the tasks": ALIKE,
        "unit: direction": UNITS,
        "unit: step": UNITS,
        "stops only at Pareto": "v = Σ gₖ/‖gₖ‖ is Σ 1/‖gₖ‖ times a vector of the hull: "
        "‖v‖ ≥ ‖p‖ Σ 1/‖gₖ‖ ≥ K‖p‖/maxₖ‖gₖ‖.",
        "bounded": "K vectors of length 1: ‖v‖ ≤ K.",
    },
    "gradvac": {
        "order of the tasks": "v is the mean over all orders.",
        "linear": "How much of gⱼ is added to gᵢ depends on cosines and grows with gᵢ alone: v(cg) = Σ cᵢgᵢ′.",
        "stops only at Pareto": "gᵢ′ = gᵢ + Σ zⱼgⱼ, and z ≥ 0 since the cosine is below its target: all weights are at "
        "least 1, so ‖v‖ ≥ K‖p‖.",
    },
    "gradnorm": {
        "order of the tasks": ALIKE,
        "linear": LOSSES_ALONE,
        "stops only at Pareto": SUM_IS_K,
        "bounded": AT_MOST_K,
        "continuous": LOSSES_ALONE,
    },
    "uncertainty": {
        "order of the tasks": ALIKE,
        "linear": LOSSES_ALONE,
        "continuous": LOSSES_ALONE,
    },
    "slaw": {
        "order of the tasks": ALIKE,
        "linear": LOSSES_ALONE,
        "stops only at Pareto": SUM_IS_K,
        "bounded": AT_MOST_K,
        "continuous": LOSSES_ALONE,
    },
    "famo": {
        "order of the tasks": ALIKE,
        "linear": LOSSES_ALONE,
        "stops only at Pareto": HULL,
        "bounded": AT_MOST_LONGEST,
        "continuous": LOSSES_ALONE,
    },
    "dwa": {
        "order of the tasks": ALIKE,
        "linear": LOSSES_ALONE,
        "stops only at Pareto": SUM_IS_K,
        "bounded": AT_MOST_K,
        "continuous": LOSSES_ALONE,
    },
    "dtp": {
        "order of the tasks": ALIKE,
        "linear": LOSSES_ALONE,
        "continuous": LOSSES_ALONE,
    },
    "rlw": {
        "order of the tasks": "v is the mean over all draws, which is g₀.",
        "linear": LOSSES_ALONE,
        "stops only at Pareto": HULL,
        "bounded": AT_MOST_LONGEST,
        "continuous": LOSSES_ALONE,
        "mean falls": "On average v = g₀, and g₀·g₀ ≥ 0.",
    },
    "gls": {
        "order of the tasks": ALIKE,
        "unit: direction": "w ∝ 1/Lₖ: wₖgₖ stays, but for a factor that all share.",
        "linear": LOSSES_ALONE,
        "stops only at Pareto": "Σ wₖ = GLS·mean(1/Lₖ) ≥ 1 (a geometric mean is at least the harmonic one): ‖v‖ ≥ ‖p‖.",
        "continuous": LOSSES_ALONE,
    },
    "stch": {
        "order of the tasks": ALIKE,
        "linear": LOSSES_ALONE,
        "stops only at Pareto": "w ≥ 0 with Σ wₖ = 1/K: ‖v‖ ≥ ‖p‖/K.",
        "bounded": "w ≥ 0 with Σ wₖ = 1/K: ‖v‖ ≤ maxₖ‖gₖ‖/K.",
        "continuous": LOSSES_ALONE,
    },
}  # fmt: skip
