//! bincode 2.0.1, `config::standard()`, through its crate.
