//! What all native dataclasses share: immutability, repr, equality, hash, copying and pickling ([`methods`]).
//!
//! Field names come from the class's `__match_args__`, so a class states them once. `dataclasses.fields` and the rest
//! of the protocol come from `__dataclass_fields__`, which the package sets at import.
mod methods;

use pyo3::prelude::*;

#[pyclass(subclass, frozen, module = "daemoneye_eventbus._native", name = "_Record")]
pub(crate) struct Record;
