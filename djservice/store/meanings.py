"""Units and meaning of every array of a store, as its attributes ``units`` and ``long_name``."""

from __future__ import annotations

from typing import Any

#: What tells an event in the input, with their dtypes: names of NanoAOD, the number of the file in the
#: attribute inputs, and the entry in it.
IDENTITY = {"run": "i8", "luminosityBlock": "i8", "event": "u8", "file": "i4", "entry": "i8"}
#: Units that are those of the observable, or those that the text of a matrix gives.
OF_OBSERVABLE = "observable"
_MOMENTS = {
    "loss": ("", "loss, or minus what is maximised"),
    "gradient": ("", "derivative of the loss in R"),
    "mean": (OF_OBSERVABLE, "mean of the observable over accepted trees of all events"),
    "sd": (OF_OBSERVABLE, "standard deviation of the observable over accepted trees of all events"),
    "event_mean": (OF_OBSERVABLE, "mean of the observable over the accepted trees of the event"),
}
#: Units and long name of an array of this name, in whatever store.
MEANINGS = {
    **_MOMENTS,
    **{
        f"{name}_error": (units, f"standard error of the {text}")
        for name, (units, text) in _MOMENTS.items()
    },
    "event_error": (OF_OBSERVABLE, "standard error of event_mean from the trees of the event"),
    "event_accepted": ("1", "accepted trees of the event"),
    "loss_tree_error": ("", "part of loss_error that comes from the trees"),
    "gradient_tree_error": ("", "part of gradient_error that comes from the trees"),
    "acceptance": ("1", "fraction of trees that pass the cuts"),
    "cpu": ("us", "CPU time of a tree"),
    "contents": ("1", "expected weight of the events in a bin of the observable"),
    "contents_error": ("1", "standard error of contents"),
    "group": ("1", "number of the merged bin that holds the bin"),
    "iteration": ("1", "number of the iteration"),
    "learning_rate": ("1", "learning rate of the optimiser"),
    "seconds": ("s", "wall time of the iteration"),
    "trees": ("1", "trees per event"),
    "state_share": ("1", "share of the state baseline in the control variate"),
    "parameters": ("1", "learned parameters"),
    "parameters_average": ("1", "running average of the learned parameters"),
    "gradients": ("", "derivatives of the loss in the learned parameters"),
    "gradients_error": ("", "standard errors of gradients"),
    "radius": ("1", "jet radius R"),
    "radius_average": ("1", "running geometric mean of R"),
    "rigidity": ("1", "rigidity alpha"),
    "start": ("1", "R at which a descent begins"),
    "ends": ("1", "R at which the descent from each start ends"),
    "left": ("1", "1 for an event that stays at the global R"),
    "agree": ("1", "1 where the descents of the event agree to 10 %"),
    "key": ("1", "identity of the event, the key of its random draws"),
    "weight": ("1", "weight of the event, normalised if its dataset is"),
    "truth": ("GeV", "true mass of the event, or the number of its class"),
    "run": ("1", "run number"),
    "luminosityBlock": ("1", "luminosity block"),
    "event": ("1", "event number"),
    "file": ("1", "number of the input file in the attribute inputs"),
    "entry": ("1", "entry of the event in its file"),
    "distance": (OF_OBSERVABLE, "distance of two jets or events"),
    "place": ("1", "place of the jet in its event, in falling pT"),
    "pt": ("GeV", "sum of the pT of the particles"),
    "particles": ("1", "number of particles"),
    "value": ("1", "energy mover's distance of unit weights to the fitted shape"),
    "uniform": ("1", "share of the even part"),
    "centre_rapidity": ("1", "rapidity of the centre of the prong"),
    "centre_phi": ("rad", "azimuth of the centre of the prong"),
    "prong_radius": ("1", "radius of the prong; of an ellipse that of a disk of the same area"),
    "eccentricity": ("1", "sqrt(1 - b^2 / a^2) of the half-axes of the prong"),
    "angle": ("rad", "angle of the longer axis from the rapidity axis, towards azimuth"),
    "prong_pt": ("GeV", "pT of the jet of the prong, by which prongs are ordered"),
    "prong_rapidity": ("1", "rapidity of the jet of the prong"),
    "prong_phi": ("rad", "azimuth of the jet of the prong"),
    "prong_mass": ("GeV", "mass of the jet of the prong"),
    "part_weight": ("1", "share of the part of the prong in the shape"),
    "lund": ("1", "sums of the Lund plane of the leading jets"),
    "version": ("1", "number of the version of the events: 0 as they are, then each augmentation"),
    "version_loss": ("", "loss of a version of the events"),
    "version_gradient": ("", "derivative in R of the loss of a version of the events"),
    "version_loss_tree_error": ("", "part of the error of version_loss that comes from the trees"),
    "version_gradient_tree_error": (
        "",
        "part of the error of version_gradient that comes from the trees",
    ),
    # of a cache of input files
    "column": ("", "further column of the particles, in the units of the file"),
    "rapidity": ("1", "rapidity of the particle"),
    "phi": ("rad", "azimuth of the particle"),
    "mass": ("GeV", "mass of the particle"),
    "offsets": ("1", "first particle of each event, and the number of particles"),
    "luminosity_block": ("1", "luminosity block"),
    "pdg_id": ("1", "PDG code"),
}


def attributes_of(name: str, units: str) -> dict[str, Any]:
    """The attributes of an array."""
    of_quarks = name.startswith("quarks_")
    name = name.removeprefix("quarks_")
    kind, text = MEANINGS["column" if name.startswith("column_") else name]
    text = f"of the generated quarks: {text}" if of_quarks else text
    return {"units": (units or "1") if kind == OF_OBSERVABLE else kind or "1", "long_name": text}
