"""``djservice --cite``: what to cite, as BibTeX."""

from __future__ import annotations

import click

#: The software and the papers that it builds on, as in CITATION.cff.
BIBTEX = """\
@software{djservice,
  title   = {djservice: differentiable jet clustering as a distributed batch service},
  author  = {{The djservice authors}},
  version = {VERSION},
}

% The random clustering, Qanti-kT:
@article{Kahawala:2013sba,
  title         = {Jet Sampling: Improving Event Reconstruction through Multiple Interpretations},
  author        = {Kahawala, Dilani and Krohn, David and Schwartz, Matthew D.},
  journal       = {JHEP},
  volume        = {06},
  pages         = {006},
  year          = {2013},
  eprint        = {1304.2394},
  archivePrefix = {arXiv},
}

% Qjets, on which it builds:
@article{Ellis:2012sn,
  title         = {Qjets: A Non-Deterministic Approach to Tree-Based Jet Substructure},
  author        = {Ellis, Stephen D. and Hornig, Andrew and Roy, Tuhin S. and Krohn, David and
                   Schwartz, Matthew D.},
  journal       = {Phys. Rev. Lett.},
  volume        = {108},
  pages         = {182003},
  year          = {2012},
  eprint        = {1201.1914},
  archivePrefix = {arXiv},
}

% The algorithm that it becomes for large rigidity:
@article{Cacciari:2008gp,
  title         = {The anti-$k_t$ jet clustering algorithm},
  author        = {Cacciari, Matteo and Salam, Gavin P. and Soyez, Gregory},
  journal       = {JHEP},
  volume        = {04},
  pages         = {063},
  year          = {2008},
  eprint        = {0802.1189},
  archivePrefix = {arXiv},
}
"""


def cite(context: click.Context, _option: click.Parameter, chosen: bool) -> None:
    """Print the citation and end, if the option is there."""
    if chosen:
        from importlib.metadata import version

        click.echo(BIBTEX.replace("VERSION", version("djservice")))
        context.exit()
