"""A network in ONNX as a function of a jet's constituents, evaluated by onnxruntime.

The bits of a jet's score depend on the jet alone: there is one thread, jets are padded to a length
that follows from their number of constituents, and blocks have a fixed size.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from djservice.core.regular import irregular
from djservice.core.typing import Floats
from djservice.core.urls import is_url
from djservice.errors import InputError, MissingPackageError
from djservice.objectives.particle_variables import Source, columns_of
from djservice.objectives.preprocessing import Preprocessing, read_preprocessing
from djservice.objectives.score_formula import formula_of

#: Jets that a network gets at once; the last block is filled up.
BLOCK = 32
#: Largest size of a model and of its preprocessing, in bytes. A run sends them with each task.
LARGEST_MODEL, LARGEST_PREPROCESSING = 32_000_000, 1_000_000


@dataclass(frozen=True, eq=False)
class OnnxTagger:
    """Score of jets by a network.

    It can be sent to other processes, which each make a session on first use.

    Attributes
    ----------
    path, model
        Name of the file in messages, and its content.
    preprocessing
        Inputs of the network.
    output
        Label, number of a column, or formula of labels; the score.
    fingerprint
        Hashes of the two files, and the output.
    """

    path: str
    model: bytes = field(repr=False)
    preprocessing: Preprocessing = field(repr=False)
    output: str | int
    fingerprint: str

    def __call__(self, jets: Any, particles: Any) -> Floats:
        """Score of jets, shape (jet,), from their constituents.

        Raises
        ------
        InputError
            If a score is not finite, or the network cannot be evaluated.
        """
        scores, rooms = np.empty(len(jets)), self.rooms(particles.count)
        source = Source(jets, particles)
        inputs = self.preprocessing.arrays(source, self.names())
        for room in np.unique(rooms):
            rows = np.flatnonzero(rooms == room)
            for start in range(0, len(rows), BLOCK):
                block = rows[start : start + BLOCK]
                filled = np.resize(block, BLOCK)  # repeats jets
                feeds = {
                    name: np.ascontiguousarray(array[filled, :, :room])
                    for name, array in inputs.items()
                }
                scores[block] = self.scores(feeds)[: len(block)]
        bad = np.flatnonzero(~np.isfinite(scores))
        if len(bad):
            event = particles.events.name(int(particles.event[bad[0]]))
            raise InputError(
                f"{self.path}: the score {self.output!r} is {scores[bad[0]]} for a jet of "
                f"{particles.count[bad[0]]} constituents in {event}, and not finite for {len(bad)} "
                f"of {len(scores)} jets. Check the preprocessing and the output."
            )
        return scores

    def rooms(self, counts: Any) -> Any:
        """Length to which each jet is padded: the least length times a power of two."""
        least, most = self.preprocessing.least, self.preprocessing.most
        if self.fixed_length():
            return np.full(len(counts), most)
        doublings = np.ceil(np.log2(np.maximum(counts / least, 1.0)))
        return np.minimum(least * 2 ** doublings.astype(np.int64), most)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the particles that the network reads."""
        inputs = self.preprocessing.inputs
        return columns_of(variable.name for name in self.names() for variable in inputs[name])

    def names(self) -> tuple[str, ...]:
        """Inputs of the network."""
        return tuple(put.name for put in session(self.model, self.path).get_inputs())

    def fixed_length(self) -> bool:
        """Whether an input of the network has a fixed number of constituents."""
        puts = session(self.model, self.path).get_inputs()
        return any(isinstance(put.shape[-1], int) for put in puts)

    def scores(self, feeds: dict[str, Any]) -> Floats:
        """Scores of a block of jets."""
        values = outputs_of(self.model, self.path, feeds)
        score = formula_of(self.output, self.preprocessing.labels, values.shape[1])
        with np.errstate(all="ignore"):
            return score(values.astype(np.float64))

    def _check_alone(self, sizes: Mapping[str, int], room: int) -> None:
        """Refuse a network whose score of a jet depends on the other jets of its block."""
        random = np.random.default_rng(1)
        jets = {
            name: random.normal(size=(BLOCK, number, room)).astype(np.float32)
            for name, number in sizes.items()
        }
        others = {name: values.copy() for name, values in jets.items()}
        for values in others.values():
            values[1:] *= 3.0
        before, after = (outputs_of(self.model, self.path, values)[0] for values in (jets, others))
        if not np.allclose(before, after, rtol=1e-3, atol=1e-5, equal_nan=True):
            raise InputError(
                f"{self.path}: the score of a jet depends on the other jets that are evaluated "
                "with it, as in dynamic quantisation or a batch normalisation that still trains. "
                "Export the network for inference, without dynamic quantisation."
            )

    def check(self) -> None:
        """Refuse a network that the preprocessing or the output does not fit, before any work.

        Raises
        ------
        InputError
            If an input has another name, type or shape, or if there is no such output.
        """
        prepared = self.preprocessing
        for put in session(self.model, self.path).get_inputs():
            if put.name not in prepared.inputs:
                raise InputError(
                    f"{self.path}: the preprocessing has no input {put.name!r} of the network, only "
                    f"{', '.join(prepared.inputs)}."
                )
            expected = (BLOCK, len(prepared.inputs[put.name]), prepared.most)
            fits = len(put.shape) == 3 and all(
                not isinstance(size, int) or size == number
                for size, number in zip(put.shape, expected, strict=True)
            )
            if not fits or put.type != "tensor(float)":
                raise InputError(
                    f"{self.path}: input {put.name!r} is {put.type} of shape {put.shape}, expected "
                    f"tensor(float) of shape (jet, variable, constituent), {expected} here. "
                    "Export the network with a free number of jets."
                )
        for room in sorted({int(x) for x in self.rooms(np.array([1, prepared.most]))}):
            sizes = {name: len(prepared.inputs[name]) for name in self.names()}
            values = outputs_of(
                self.model,
                self.path,
                {name: np.ones((BLOCK, n, room), np.float32) for name, n in sizes.items()},
            )
            self._check_alone(sizes, room)
            labels = prepared.labels
            if labels and isinstance(self.output, str) and len(labels) != values.shape[1]:
                raise InputError(
                    f"{self.path}: the network has {values.shape[1]} outputs, and the preprocessing "
                    f"names {len(labels)}: {', '.join(labels)}. Give the number of a column."
                )
            formula_of(self.output, labels, values.shape[1])


def outputs_of(model: bytes, path: str, feeds: dict[str, Any]) -> Any:
    """First output of a network, shape (jet, column).

    Raises
    ------
    InputError
        If the network cannot be evaluated, or has another shape.
    """
    try:
        values = np.asarray(session(model, path).run(None, feeds)[0])
    except InputError:
        raise
    except Exception as error:  # onnxruntime has many
        shapes = ", ".join(f"{name} {array.shape}" for name, array in feeds.items())
        message = " ".join(str(error).split())
        raise InputError(
            f"{path}: the network cannot be evaluated on {shapes}: {message[:500]}."
        ) from None
    jets = len(next(iter(feeds.values())))
    if values.ndim == 1:
        values = values[:, np.newaxis]
    if values.ndim != 2 or len(values) != jets or values.dtype.kind != "f":
        raise InputError(
            f"{path}: the network gives {values.dtype} of shape {values.shape} for {jets} jets, "
            f"expected numbers of shape ({jets}, column)."
        )
    return values


@functools.lru_cache(maxsize=8)
def session(model: bytes, path: str) -> Any:
    """The session of a model in this process.

    Raises
    ------
    MissingPackageError
        If onnxruntime is not installed.
    InputError
        If it is no ONNX model that onnxruntime takes.
    """
    try:
        import onnxruntime
    except ImportError:
        raise MissingPackageError(
            "the observable 'onnx' needs onnxruntime: pip install 'djservice[onnx]', here and on "
            "the workers."
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # A model in one file has no data beside it; those of another would be looked for in the
    # working directory.
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", os.devnull
    )
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has many
        message = " ".join(str(error).split())
        raise InputError(
            f"{path}: expected an ONNX model in one file, found {message[:500]}."
        ) from None
    if not session.get_inputs() or not session.get_outputs():
        raise InputError(f"{path}: expected a network with inputs and outputs, found none.")
    return session


def read_tagger(model: str, preprocess: str, output: str | int) -> OnnxTagger:
    """A tagger from two files.

    Raises
    ------
    InputError
        If a file is missing, too large or no such file, or they do not fit together.
    MissingPackageError
        If onnxruntime is not installed.
    """
    network = _content("model", model, LARGEST_MODEL)
    inputs = _content("preprocess", preprocess, LARGEST_PREPROCESSING)
    digest = ", ".join(hashlib.sha256(content).hexdigest() for content in (network, inputs))
    prepared = read_preprocessing(inputs, str(preprocess))
    tagger = OnnxTagger(str(model), network, prepared, output, f"{digest}, output {output!r}")
    tagger.check()
    return tagger


def _content(key: str, path: str, largest: int) -> bytes:
    if not isinstance(path, (str, os.PathLike)) or is_url(str(path)):
        raise InputError(f"{key} is {path!r}, expected the path of a local file.")
    other = irregular(path)
    if other:
        raise InputError(f"{key}: expected a file at {path}, found {other}.")
    try:
        size = os.stat(path).st_size
        if not 0 < size <= largest:
            raise InputError(
                f"{key}: {path} has {size:,} bytes, expected at most {largest:,}, and not 0."
            )
        with open(path, "rb") as file:
            return file.read(largest)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{key}: {path} cannot be read: {reason}. Check the path.") from None
