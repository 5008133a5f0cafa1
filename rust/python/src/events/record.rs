//! What all native dataclasses share: immutability, repr, equality, hash, copying and pickling ([`methods`]).
//!
//! The methods know a class's fields by its `__match_args__` alone; `dataclasses.fields` and the rest of the protocol
//! come from `__dataclass_fields__`, which the package sets at import. Besides, a class names its fields in its struct,
//! in what makes and views it, and in both signatures of its `new`; `construct` and `slots` have their number.
mod methods;

use pyo3::prelude::*;

#[pyclass(subclass, frozen, module = "daemoneye_eventbus._native", name = "_Record")]
pub(crate) struct Record;
