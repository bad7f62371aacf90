"""Writes delphes.root, physlite.root and objects.root with ROOT itself (PyPI root 6.40, and a C++ compiler), for uproot cannot write these layouts.

Three events of the same particles, their generated particles and weights: Delphes' split TClonesArrays, and the vectors of a
DAOD_PHYSLITE in MeV. Run it in this folder.
"""

import array
import math

import ROOT

TRACKS = [[(10.0, 0.5, 0.1, 0.13957), (20.0, -1.5, 2.0, 0.49368)], [], [(5.0, 2.0, -3.0, 0.0)]]
PHOTONS = [[(7.0, 1.0, 0.5)], [], [(3.0, -0.5, 1.5), (4.0, 0.25, -1.5)]]
HADRONS = [[], [], [(9.0, -2.5, 3.0)]]
WEIGHTS = [0.5, 1.0, 2.0]
#: PID, mother, mass, pt, eta, phi
GENERATED = [
    (25, -1, 125.0, 40.0, 0.5, 0.25),
    (5, 0, 4.75, 60.0, 1.0, 0.5),
    (-5, 0, 4.75, 50.0, -1.0, 2.5),
]


def fill(objects, rows, *names):
    """Objects of a TClonesArray."""
    for i, row in enumerate(rows):
        one = objects.ConstructedAt(i)
        for name, value in zip(names, row, strict=True):
            setattr(one, name, value)


def delphes():
    """Branches as Delphes' ExRootTreeWriter makes them."""
    file = ROOT.TFile("delphes.root", "RECREATE")
    tree = ROOT.TTree("Delphes", "Analysis tree")
    kinds = {"Event": "HepMCEvent", "Particle": "GenParticle", "EFlowTrack": "Track"}
    kinds |= {"EFlowPhoton": "Tower", "EFlowNeutralHadron": "Tower"}
    objects = {name: ROOT.TClonesArray(kind, 10) for name, kind in kinds.items()}
    sizes = {name: array.array("i", [0]) for name in kinds}
    for name in kinds:
        tree.Branch(name, objects[name], 64000)
        tree.Branch(f"{name}_size", sizes[name], f"{name}_size/I")
    for i in range(3):
        for each in objects.values():
            each.Clear()
        fill(objects["Event"], [(i, WEIGHTS[i])], "Number", "Weight")
        fill(objects["Particle"], GENERATED, "PID", "M1", "Mass", "PT", "Eta", "Phi")
        fill(objects["EFlowTrack"], TRACKS[i], "PT", "Eta", "Phi", "Mass")
        fill(objects["EFlowPhoton"], PHOTONS[i], "ET", "Eta", "Phi")
        fill(objects["EFlowNeutralHadron"], HADRONS[i], "ET", "Eta", "Phi")
        for name in kinds:
            sizes[name][0] = objects[name].GetEntriesFast()
        tree.Fill()
    tree.Write()
    file.Close()


def physlite():
    """Branches as in a DAOD_PHYSLITE, of flow elements and bosons only."""
    file = ROOT.TFile("physlite.root", "RECREATE")
    tree = ROOT.TTree("CollectionTree", "CollectionTree")
    numbers = {
        "runNumber": ("I", "i", 284500),
        "lumiBlock": ("I", "i", 7),
        "eventNumber": ("L", "l", 1000),
    }
    columns = {name: array.array(kind, [value]) for name, (kind, _, value) in numbers.items()}
    for name, (_, letter, _) in numbers.items():
        tree.Branch(f"EventInfoAuxDyn.{name}", columns[name], f"EventInfoAuxDyn.{name}/{letter}")
    charged, neutral = "GlobalChargedParticleFlowObjects", "GlobalNeutralParticleFlowObjects"
    floats = [
        f"{name}AuxDyn.{field}"
        for name in (charged, neutral)
        for field in ("pt", "eta", "phi", "m")
    ]
    floats += [f"TruthBosonAuxDyn.{field}" for field in ("px", "py", "pz", "e", "m")]
    lists = {
        name: ROOT.std.vector("float")() for name in (*floats, "EventInfoAuxDyn.mcEventWeights")
    }
    lists["TruthBosonAuxDyn.pdgId"] = ROOT.std.vector("int")()
    for name, values in lists.items():
        tree.Branch(name, values)
    for i in range(3):
        columns["eventNumber"][0] = 1000 + i
        rows = {name: [] for name in lists}
        rows["EventInfoAuxDyn.mcEventWeights"] = [WEIGHTS[i], 1.0]
        rows["TruthBosonAuxDyn.pdgId"] = [23, 25]
        for field, values in (
            ("px", [40e3, -40e3]),
            ("py", [0, 0]),
            ("pz", [0, 0]),
            ("m", [91e3, 124.5e3]),
        ):
            rows[f"TruthBosonAuxDyn.{field}"] = values
        rows["TruthBosonAuxDyn.e"] = [math.hypot(40e3, mass) for mass in (91e3, 124.5e3)]
        towers = [(*tower, 0.0) for tower in PHOTONS[i] + HADRONS[i]]
        for name, particles in ((charged, TRACKS[i]), (neutral, towers)):
            for pt, eta, phi, mass in particles:
                for field, value in (
                    ("pt", 1e3 * pt),
                    ("eta", eta),
                    ("phi", phi),
                    ("m", 1e3 * mass),
                ):
                    rows[f"{name}AuxDyn.{field}"].append(value)
        for name, values in lists.items():
            values.clear()
            for value in rows[name]:
                values.push_back(value)
        tree.Fill()
    tree.Write()
    file.Close()


def objects():
    """Tracks as whole objects of several classes, unsplit; and the split ones that are read instead."""
    file = ROOT.TFile("objects.root", "RECREATE")
    tree = ROOT.TTree("Events", "Events")
    vectors, clones = ROOT.std.vector("TLorentzVector")(), ROOT.TClonesArray("TLorentzVector", 10)
    structs, lists = ROOT.std.vector("Candidate")(), ROOT.Candidates()
    for name, branch in {"vectors": vectors, "structs": structs, "lists": lists}.items():
        tree.Branch(name, branch, 32000, 0)
    tree.Branch("clones", clones, 32000, 0)
    tree.Branch("split_clones", clones, 32000, 99)
    tree.Branch("split_structs", structs, 32000, 99)
    for tracks in TRACKS:
        vectors.clear()
        structs.clear()
        clones.Clear()
        lists.pt.clear()
        for i, (pt, eta, phi, mass) in enumerate(tracks):
            vector, struct = ROOT.TLorentzVector(), ROOT.Candidate()
            vector.SetPtEtaPhiM(pt, eta, phi, mass)
            vectors.push_back(vector)
            clones.ConstructedAt(i).SetPtEtaPhiM(pt, eta, phi, mass)
            struct.pt, struct.eta, struct.phi, struct.mass = pt, eta, phi, mass
            structs.push_back(struct)
            lists.pt.push_back(pt)
        tree.Fill()
    tree.Write()
    file.Close()


if __name__ == "__main__":
    assert ROOT.gROOT.ProcessLine(".L Delphes.C+") == 0
    assert ROOT.gROOT.ProcessLine(".L Objects.C+") == 0
    objects()
    delphes()
    physlite()
